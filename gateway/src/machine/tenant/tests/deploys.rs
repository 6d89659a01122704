//! A company is let in, and its deploys by either strategy.

use super::*;

#[test]
fn a_company_is_let_in() {
    let mut script = Script::serving();
    script.view(State::Running, "");
    assert_eq!(script.tenant.view().pid, Some(1001));
    assert!(!script.tenant.busy());
    script.then(overlap("a"), &[]);
    assert_eq!(script.tenant.deadline(), None);
}

#[test]
fn a_first_start_with_a_migration_migrates_before_it_spawns() {
    let mut script = Script::new();
    script.then(hold("a"), &["open 1", "publish"]).then(opened(1), &["run 1 migrate", "publish"]);
    script.then(done(1, Task::Migrate), &["spawn 1#1"]);
}

#[test]
fn a_first_start_migrates_whatever_the_strategy_and_a_deploy_by_overlap_never_does() {
    let migrating = |digest| Event::Want(Wish::Run { plan: plan(digest, Strategy::Overlap, true) });
    let mut script = Script::new();
    script.then(migrating("a"), &["open 1", "publish"]).then(opened(1), &["run 1 migrate", "publish"]);
    script.then(done(1, Task::Migrate), &["spawn 1#1"]).then(spawned(1), &["publish"]);
    script.then(healthy(1, 1), &["publish"]).applied(&["ok: generation 1 serves"]);
    script.then(migrating("b"), &["open 2"]).then(opened(2), &["spawn 2#1", "publish"]);
}

#[test]
fn a_deploy_by_overlap_is_new_before_old() {
    let mut script = Script::serving();
    script.then(overlap("b"), &["open 2"]).view(State::Running, "generation 2 is being prepared");
    script.then(opened(2), &["spawn 2#1", "publish"]).route("serve 1 [1!1 2]");
    script.then(spawned(2), &["publish"]).route("serve 1 [1!1 2?1]");
    script.then(healthy(2, 1), &["publish"]).route("serve 2 [1 2!1]");
    // Both gates are open until every proxy knows, and until then people are told of the old one.
    script.then(idle(1), &[]);
    assert_eq!(script.tenant.view().generation, Some(GenerationId(1)));
    script.applied(&["ok: generation 2 serves", "publish"]).route("serve 2 [1x 2!1]");
    assert_eq!(script.tenant.view().generation, Some(GenerationId(2)));
    script.applied(&[]);
    script.then(idle(1), &["stop 1"]).then(exited(1, 1), &["kill 1"]);
    script.then(gone(1, 1), &["close 1", "publish"]).route("serve 2 [2!1]").view(State::Running, "");
}

#[test]
fn what_never_ends_on_the_old_one_is_cut_at_the_deadline_counted_from_when_the_gates_are_closed() {
    let mut script = Script::serving();
    script.then(overlap("b"), &["open 2"]).then(opened(2), &["spawn 2#1", "publish"]).then(spawned(2), &["publish"]);
    script.then(healthy(2, 1), &["publish"]).applied(&["ok: generation 2 serves", "publish"]);
    script.wait(1000).then(Event::Timer, &[]).applied(&[]);
    script.wait(41).then(Event::Timer, &[]).wait(1).then(Event::Timer, &["stop 1"]);
}

#[test]
fn idle_before_applied_is_not_enough_and_not_forgotten() {
    let mut script = Script::serving();
    script.then(overlap("b"), &["open 2"]).then(opened(2), &["spawn 2#1", "publish"]).then(spawned(2), &["publish"]);
    script.then(healthy(2, 1), &["publish"]).applied(&["ok: generation 2 serves", "publish"]);
    script.then(idle(1), &[]).applied(&["stop 1"]);
}

#[test]
fn a_new_generation_that_is_never_healthy_leaves_the_old_one_serving_and_says_why() {
    let mut script = Script::serving();
    script.then(overlap("b"), &["open 2"]).then(opened(2), &["spawn 2#1", "publish"]).wait(100).then(Event::Timer, &[]);
    script.then(spawned(2), &["publish"]);
    let seen = worker::Event::Unhealthy { attempt: 1, reason: "GET /healthz: 500".into() };
    script.then(of(2, seen), &[]).wait(20).then(Event::Timer, &["stop 2", "publish"]).route("serve 1 [1!1 2x]");
    script.then(exited(2, 1), &["kill 2"]);
    let why = "generation 2 was not healthy within 20 s: GET /healthz: 500; generation 1 still serves";
    script.then(gone(2, 1), &["close 2", &format!("not ok: {why}"), "publish"]).route("serve 1 [1!1]");
    script.view(State::Running, why);
    // Not tried again for the same wish, but for another, or on demand.
    script.then(overlap("b"), &[]).then(Event::Timer, &[]);
    script.then(Event::Deploy, &["open 3"]);
}

#[test]
fn a_new_generation_that_ends_three_times_is_given_up() {
    let mut script = Script::serving();
    script.then(overlap("b"), &["open 2"]).then(opened(2), &["spawn 2#1", "publish"]);
    for attempt in 1..3 {
        script.then(spawned(2), &["publish"]).then(exited(2, attempt), &["kill 2", "publish"]);
        script.then(gone(2, attempt), &[]).time(&[&format!("spawn 2#{}", attempt + 1)]);
    }
    script.then(spawned(2), &["publish"]).then(exited(2, 3), &["kill 2", "publish"]);
    let why = "generation 2 ended 3 times before it was healthy: exit status 3; generation 1 still serves";
    script.then(gone(2, 3), &["close 2", &format!("not ok: {why}"), "publish"]).view(State::Running, why);
}

#[test]
fn a_deploy_without_a_port_changes_nothing() {
    let mut script = Script::serving();
    script.then(overlap("b"), &["open 2"]);
    let why = "generation 2 got no port: all are taken; generation 1 still serves";
    let failed = Event::OpenFailed { generation: GenerationId(2), reason: "all are taken".into() };
    script.then(failed, &[&format!("not ok: {why}")]).route("serve 1 [1!1]");
}

#[test]
fn a_deploy_by_hold_never_has_two_live_generations() {
    let mut script = Script::serving();
    script.then(hold("b"), &["open 2"]).then(opened(2), &["publish"]).route("hold [1x 2]");
    script.view(State::Holding, "generation 1 ends its requests; generation 2 follows");
    script.then(idle(1), &[]).applied(&["stop 1"]).then(exited(1, 1), &["kill 1"]);
    script.then(gone(1, 1), &["run 2 snapshot"]).then(done(2, Task::Snapshot), &["run 2 migrate"]);
    script.view(State::Holding, "migrating for generation 2");
    script.then(done(2, Task::Migrate), &["spawn 2#1"]).then(spawned(2), &["publish"]).route("hold [1x 2?1]");
    script.then(healthy(2, 1), &["close 1", "publish"]).route("serve 2 [2!1]");
    script.applied(&["ok: generation 2 serves"]);
}
