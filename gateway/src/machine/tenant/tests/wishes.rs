//! Wishes that overtake each other.

use super::*;

#[test]
fn the_newest_wish_wins() {
    let mut script = Script::serving();
    script.then(overlap("b"), &["open 2"]).then(opened(2), &["spawn 2#1", "publish"]).then(spawned(2), &["publish"]);
    script.then(overlap("c"), &["not ok: superseded by a newer request", "stop 2", "publish"]);
    script.route("serve 1 [1!1 2x]").then(exited(2, 1), &["kill 2"]);
    script.then(gone(2, 1), &["close 2", "open 3", "publish"]);
}

#[test]
fn wished_back_to_what_serves_the_rollout_is_called_off() {
    let mut script = Script::serving();
    script.then(overlap("b"), &["open 2"]);
    script.then(overlap("a"), &["not ok: superseded by a newer request"]);
    script.then(opened(2), &["close 2", "ok: generation 1 has these settings already"]).route("serve 1 [1!1]");
}

#[test]
fn wished_back_while_the_old_one_drains_its_gate_is_opened_again() {
    let mut script = Script::serving();
    script.then(hold("b"), &["open 2"]).then(opened(2), &["publish"]).route("hold [1x 2]");
    let told = ["not ok: superseded by a newer request", "close 2", "ok: generation 1 serves again", "publish"];
    script.then(overlap("a"), &told).route("serve 1 [1!1]");
}

#[test]
fn an_operator_stops_and_starts() {
    let mut script = Script::serving();
    script.then(stop(StopReason::Operator), &["publish"]).route("stopped [1x]");
    script.view(State::Stopped, "stopped by an operator; what is in flight ends first");
    script.then(Event::Deploy, &["not ok: acme is not running: start it instead"]);
    script.applied(&[]).wait(31).then(Event::Timer, &[]).wait(1).then(Event::Timer, &["stop 1"]);
    script.then(exited(1, 1), &["kill 1"]).then(gone(1, 1), &["close 1", "ok: acme is stopped", "publish"]);
    script.route("stopped []").view(State::Stopped, "stopped by an operator");
    script.then(overlap("a"), &["open 2", "publish"]);
}

#[test]
fn a_stop_that_is_called_off_while_it_drains_opens_the_gate_again() {
    let mut script = Script::serving();
    script.then(stop(StopReason::Operator), &["publish"]).route("stopped [1x]").applied(&[]);
    let told = ["not ok: superseded by a newer request", "ok: generation 1 serves again", "publish"];
    script.then(overlap("a"), &told).route("serve 1 [1!1]");
    let reopening = script.tenant.revision();
    // An idle that was said before the gate was open again is not about what has come in since.
    script.then(stop(StopReason::Operator), &["publish"]).then(idle(1), &[]).then(applied(reopening), &[]);
    script.applied(&[]).then(idle(1), &["stop 1"]);
    // What is being stopped is not waited for.
    script.then(overlap("a"), &["not ok: superseded by a newer request", "open 2", "publish"]);
}

#[test]
fn a_stop_that_is_called_off_for_other_settings_serves_by_the_old_ones_meanwhile() {
    let mut script = Script::serving();
    script.then(stop(StopReason::Operator), &["publish"]);
    script.then(overlap("b"), &["not ok: superseded by a newer request", "open 2", "publish"]).route("serve 1 [1!1]");

    let mut script = Script::serving();
    script.then(stop(StopReason::Operator), &["publish"]);
    script.then(hold("b"), &["not ok: superseded by a newer request", "open 2", "publish"]).route("hold [1x]");
    script.then(opened(2), &["publish"]).then(idle(1), &[]).applied(&["stop 1"]).then(exited(1, 1), &["kill 1"]);
    script.then(gone(1, 1), &["run 2 snapshot"]);
}

#[test]
fn changed_times_are_taken_over_without_a_new_generation() {
    let mut script = Script::serving();
    let mut changed = plan("a", Strategy::Overlap, false);
    (changed.drain_timeout, changed.stop_timeout) = (Duration::from_secs(3), Duration::from_secs(1));
    script.then(Event::Want(Wish::Run { plan: changed }), &[]);
    script.then(stop(StopReason::Operator), &["publish"]).applied(&[]).wait(5).then(Event::Timer, &["stop 1"]);
    script.wait(1).then(Event::Timer, &["kill 1"]);
}

#[test]
fn a_removed_tenant_drains_for_ten_seconds_and_is_gone() {
    let mut script = Script::serving();
    script.then(stop(StopReason::Removed), &["publish"]).applied(&[]).wait(10).then(Event::Timer, &["stop 1"]);
    script.then(exited(1, 1), &["kill 1"]);
    script.then(gone(1, 1), &["close 1", "ok: acme is stopped", "gone", "publish"]);
}

#[test]
fn a_stop_reaches_a_worker_in_backoff_and_one_that_is_being_opened() {
    let mut script = Script::serving();
    script.then(exited(1, 1), &["kill 1", "publish"]).then(gone(1, 1), &[]);
    script.then(stop(StopReason::Suspended), &["publish"]).route("suspended [1x]");
    script.applied(&["close 1", "ok: acme is stopped", "publish"]).route("suspended []");

    let mut script = Script::new();
    script.then(overlap("a"), &["open 1", "publish"]);
    script.then(stop(StopReason::Operator), &["not ok: superseded by a newer request", "publish"]);
    script.then(opened(1), &["close 1", "ok: acme is stopped"]);
}

/// Serving, told to sleep, and the gate is closed everywhere.
fn falling_asleep() -> Script {
    let mut script = Script::serving();
    script.then(stop(StopReason::Sleep), &["publish"]).route("hold [1x]");
    script.view(State::Sleeping, "idle; the next request starts it; what is in flight ends first");
    script
}

#[test]
fn one_that_sleeps_holds_visitors_and_starts_with_what_is_wanted_then() {
    let mut script = falling_asleep();
    script.then(idle(1), &[]).applied(&["stop 1"]).then(exited(1, 1), &["kill 1"]);
    script.then(gone(1, 1), &["close 1", "ok: acme is asleep", "publish"]).route("hold []");
    script.view(State::Sleeping, "idle; the next request starts it").then(stop(StopReason::Sleep), &[]);
    script.then(overlap("b"), &["open 2"]).view(State::Starting, "").then(opened(2), &["spawn 2#1", "publish"]);
    script.then(spawned(2), &["publish"]).route("hold [2?1]").then(healthy(2, 1), &["publish"]).route("serve 2 [2!1]");
}

#[test]
fn one_that_is_called_before_its_gate_has_closed_or_drained_serves_on_as_if_nothing_had_been() {
    // Before the proxies have closed the gate, after they have, and while something is in flight still.
    for told in [&[][..], &["applied"]] {
        let mut script = falling_asleep();
        if !told.is_empty() {
            script.applied(&[]);
        }
        script
            .then(overlap("a"), &["not ok: superseded by a newer request", "ok: generation 1 serves again", "publish"]);
        script.route("serve 1 [1!1]").view(State::Running, "");
        // An `Idle` that was under way is about the gate that was closed then.
        script.then(idle(1), &[]).route("serve 1 [1!1]");
    }
}

#[test]
fn one_that_is_called_while_its_worker_is_being_stopped_gets_another_one() {
    for strategy in [Strategy::Overlap, Strategy::Hold] {
        let alone = strategy == Strategy::Hold;
        let wish = Event::Want(Wish::Run { plan: plan("a", strategy, false) });
        let mut script = falling_asleep();
        script.then(idle(1), &[]).applied(&["stop 1"]);
        script.then(wish, &["not ok: superseded by a newer request", "open 2"]).route("hold [1x]");
        if alone {
            // Never beside another one: it waits for its end.
            script.then(opened(2), &["publish"]).then(exited(1, 1), &["kill 1"]);
            script.then(gone(1, 1), &["close 1", "spawn 2#1", "publish"]);
        } else {
            script.then(opened(2), &["spawn 2#1", "publish"]).then(exited(1, 1), &["kill 1"]);
            script.then(gone(1, 1), &["close 1", "publish"]);
        }
        script.then(spawned(2), &["publish"]).then(healthy(2, 1), &["publish"]).route("serve 2 [2!1]");
    }
}

#[test]
fn a_new_wish_to_sleep_stops_one_that_is_still_waking() {
    let mut script = Script::new();
    script.then(stop(StopReason::Sleep), &["ok: acme is asleep", "publish"]).route("hold []");
    script.then(overlap("a"), &["open 1"]).then(opened(1), &["spawn 1#1", "publish"]);
    script
        .then(stop(StopReason::Operator), &["not ok: superseded by a newer request", "publish"])
        .route("stopped [1x]");
}

#[test]
fn without_a_port_a_first_start_is_tried_again() {
    let mut script = Script::new();
    script.then(overlap("a"), &["open 1", "publish"]);
    let failed = Event::OpenFailed { generation: GenerationId(1), reason: "all are taken".into() };
    let why = "generation 1 got no port: all are taken; it is tried again in 5 s";
    script.then(failed, &[&format!("not ok: {why}"), "publish"]).route("failed 5 []").view(State::Failed, why);
    script.time(&["open 2", "publish"]).route("hold []");
}
