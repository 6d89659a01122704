#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use super::*;
use crate::{
    machine::worker::Action as Do,
    model::{Digest, Strategy},
};

mod recall;

/// A tenant, a clock, and prose.
struct Script {
    tenant: Tenant,
    now: Now,
    next: u64,
    log: Vec<String>,
}

fn plan(digest: &str, strategy: Strategy, migrate: bool) -> RolloutPlan {
    RolloutPlan {
        digest: Digest(digest.into()),
        strategy,
        migrate,
        drain_timeout: Duration::from_secs(30),
        upgrade_timeout: Duration::from_secs(40),
        hold_timeout: Duration::from_secs(30),
        start_timeout: Duration::from_secs(20),
        stop_timeout: Duration::from_secs(10),
        failures: 3,
    }
}

fn overlap(digest: &str) -> Event {
    Event::Want(Wish::Run { plan: plan(digest, Strategy::Overlap, false) })
}

fn hold(digest: &str) -> Event {
    Event::Want(Wish::Run { plan: plan(digest, Strategy::Hold, true) })
}

fn stop(reason: StopReason) -> Event {
    Event::Want(Wish::Stop { reason })
}

fn applied(revision: u64) -> Event {
    Event::Applied { revision }
}

fn opened(generation: u64) -> Event {
    Event::Opened { generation: GenerationId(generation) }
}

fn idle(generation: u64) -> Event {
    Event::Idle { generation: GenerationId(generation) }
}

fn done(generation: u64, task: Task) -> Event {
    Event::TaskDone { generation: GenerationId(generation), task, result: Ok(()) }
}

fn undone(generation: u64, task: Task) -> Event {
    Event::TaskDone { generation: GenerationId(generation), task, result: Err("disk full".into()) }
}

fn of(generation: u64, event: worker::Event) -> Event {
    Event::Worker { generation: GenerationId(generation), event }
}

fn spawned(generation: u64) -> Event {
    of(generation, worker::Event::Spawned { pid: 1000 + generation as u32 })
}

fn healthy(generation: u64, attempt: u32) -> Event {
    of(generation, worker::Event::Healthy { attempt })
}

fn exited(generation: u64, attempt: u32) -> Event {
    of(generation, worker::Event::Exited { attempt, reason: "exit status 3".into() })
}

fn gone(generation: u64, attempt: u32) -> Event {
    of(generation, worker::Event::TreeGone { attempt })
}

impl Script {
    fn new() -> Self {
        let tenant = Tenant::new("acme".parse().unwrap(), 1);
        Self { tenant, now: Now::default(), next: 1, log: Vec::new() }
    }

    /// Generation 1, of digest `a`, serves; every proxy knows.
    fn serving() -> Self {
        let mut script = Self::new();
        script.then(overlap("a"), &["open 1", "publish"]).route("hold []");
        script.then(opened(1), &["spawn 1#1", "publish"]).route("hold [1]");
        script.then(spawned(1), &["publish"]).route("hold [1?1]");
        script.then(healthy(1, 1), &["publish"]).route("serve 1 [1!1]");
        script.applied(&["ok: generation 1 serves"]);
        script
    }

    /// Feeds an event and holds the actions, logs left out, to what is told.
    #[track_caller]
    fn then(&mut self, event: Event, told: &[&str]) -> &mut Self {
        let next = &mut self.next;
        let actions = self.tenant.on(event.clone(), self.now, &mut || {
            *next += 1;
            GenerationId(*next - 1)
        });
        self.log.push(format!("{event:?}"));
        let spelled: Vec<String> = actions.iter().filter_map(spell).collect();
        assert_eq!(spelled, told, "after {:#?}\n{:#?}", self.log, self.tenant);
        self
    }

    /// Every proxy has the newest route.
    #[track_caller]
    fn applied(&mut self, told: &[&str]) -> &mut Self {
        self.then(applied(self.tenant.revision()), told)
    }

    fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now = self.now + Duration::from_secs(seconds);
        self
    }

    #[track_caller]
    fn time(&mut self, told: &[&str]) -> &mut Self {
        self.now = self.tenant.deadline().expect("a deadline").max(self.now);
        self.then(Event::Timer, told)
    }

    /// `[1! 2?1 3x]`: 1 is probed as healthy, 2 as starting in attempt 1, 3's gate is closed.
    #[track_caller]
    fn route(&mut self, told: &str) -> &mut Self {
        let route = self.tenant.route();
        let serving = match route.serving {
            Serving::Serve { generation } => format!("serve {generation}"),
            Serving::Hold => "hold".into(),
            Serving::Failed { retry_after } => format!("failed {retry_after}"),
            Serving::Suspended => "suspended".into(),
            Serving::Stopped => "stopped".into(),
        };
        let backends: Vec<String> = route.backends.iter().map(spell_backend).collect();
        assert_eq!(format!("{serving} [{}]", backends.join(" ")), told);
        self
    }

    #[track_caller]
    fn view(&mut self, state: State, reason: &str) -> &mut Self {
        let view = self.tenant.view();
        assert_eq!((view.state, view.reason.as_str()), (state, reason));
        self
    }
}

fn spell_backend(backend: &Backend) -> String {
    let gate = if backend.open { "" } else { "x" };
    let probe = match backend.probe {
        None => String::new(),
        Some(Probing { starting, attempt }) => format!("{}{attempt}", if starting { "?" } else { "!" }),
    };
    format!("{}{gate}{probe}", backend.generation)
}

fn spell(action: &Action) -> Option<String> {
    Some(match action {
        Action::Open { generation } => format!("open {generation}"),
        Action::Worker { generation, action: Do::Spawn { attempt } } => format!("spawn {generation}#{attempt}"),
        Action::Worker { generation, action: Do::Stop } => format!("stop {generation}"),
        Action::Worker { generation, action: Do::Kill } => format!("kill {generation}"),
        Action::Worker { generation, action } => format!("unexpected {generation} {action:?}"),
        Action::Run { generation, task } => format!("run {generation} {task:?}").to_lowercase(),
        Action::Close { generation } => format!("close {generation}"),
        Action::Publish => "publish".into(),
        Action::Log { .. } => return None,
        Action::Settled { ok, message } => format!("{}: {message}", if *ok { "ok" } else { "not ok" }),
        Action::Gone => "gone".into(),
    })
}

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
fn what_was_asked_for_while_the_data_could_not_be_put_back_is_done_once_it_is() {
    let mut script = migrating();
    let why = "the migration failed: disk full; the snapshot could not be put back: disk full; it is tried again";
    script.then(undone(2, Task::Migrate), &["run 2 restore"]);
    script.then(undone(2, Task::Restore), &[&format!("not ok: {why}"), "publish"]);
    script.then(overlap("c"), &["run 2 restore", "publish"]);
    script.then(undone(2, Task::Restore), &[&format!("not ok: {why}"), "publish"]);
    script.time(&["run 2 restore", "publish"]);
    script.then(done(2, Task::Restore), &["close 2", "spawn 1#2", "open 3", "publish"]);
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

/// Generation 1 is parked, and generation 2 migrates.
fn migrating() -> Script {
    let mut script = Script::serving();
    script.then(hold("b"), &["open 2"]).then(opened(2), &["publish"]).then(idle(1), &[]).applied(&["stop 1"]);
    script.then(exited(1, 1), &["kill 1"]).then(gone(1, 1), &["run 2 snapshot"]);
    script.then(done(2, Task::Snapshot), &["run 2 migrate"]);
    script
}

#[test]
fn a_failed_migration_puts_the_data_back_and_starts_the_old_generation_again() {
    let mut script = migrating();
    script
        .then(undone(2, Task::Migrate), &["run 2 restore"])
        .then(done(2, Task::Restore), &["close 2", "spawn 1#2", "publish"]);
    script.route("hold [1]").then(spawned(1), &["publish"]).view(State::Holding, "");
    let why = "the migration failed: disk full; generation 1 serves again";
    script.then(healthy(1, 2), &[&format!("not ok: {why}"), "publish"]).route("serve 1 [1!2]");
    script.view(State::Running, why);
}

#[test]
fn a_new_generation_by_hold_that_crashes_is_stopped_before_the_data_is_put_back() {
    let mut script = migrating();
    script.then(done(2, Task::Migrate), &["spawn 2#1"]).then(spawned(2), &["publish"]).wait(20);
    script.then(Event::Timer, &["stop 2", "publish"]).then(exited(2, 1), &["kill 2"]);
    script.then(gone(2, 1), &["run 2 restore"]).then(done(2, Task::Restore), &["close 2", "spawn 1#2", "publish"]);
}

#[test]
fn nothing_is_started_on_data_that_could_not_be_put_back() {
    let mut script = migrating();
    let why = "the migration failed: disk full; the snapshot could not be put back: disk full; it is tried again";
    script.then(undone(2, Task::Migrate), &["run 2 restore"]);
    script.then(undone(2, Task::Restore), &[&format!("not ok: {why}"), "publish"]).route("failed 300 [1x 2]");
    script.view(State::Failed, why).time(&["run 2 restore", "publish"]);
    script.then(undone(2, Task::Restore), &["publish"]);
    // A newer wish makes the next try due.
    script.then(overlap("c"), &["run 2 restore", "publish"]);
    script.then(done(2, Task::Restore), &["close 2", "spawn 1#2", "open 3", "publish"]);
}

#[test]
fn a_stop_does_not_wait_for_data_that_cannot_be_put_back() {
    let mut script = migrating();
    script.then(stop(StopReason::Operator), &["not ok: superseded by a newer request", "publish"]);
    script.then(undone(2, Task::Migrate), &["run 2 restore"]);
    script.then(undone(2, Task::Restore), &["close 2", "close 1", "ok: acme is stopped", "publish"]);
}

#[test]
fn a_crash_holds_the_visitors_until_it_is_healthy_again() {
    let mut script = Script::serving();
    script.then(exited(1, 1), &["kill 1", "publish"]).route("hold [1]").view(State::Holding, "exit status 3");
    script.then(gone(1, 1), &[]).view(State::Backoff, "exit status 3");
    script.time(&["spawn 1#2"]).then(spawned(1), &["publish"]).route("hold [1?2]");
    script.then(healthy(1, 2), &["publish"]).route("serve 1 [1!2]").view(State::Running, "");
    assert_eq!(script.tenant.view().restarts, 1);
}

#[test]
fn a_crash_loop_is_failed_also_during_its_rare_attempts() {
    let mut script = Script::new();
    script.then(overlap("a"), &["open 1", "publish"]).then(opened(1), &["spawn 1#1", "publish"]);
    for attempt in 1..=5 {
        script.then(spawned(1), &["publish"]);
        let ended = "not ok: generation 1 ended 3 times before it was healthy: exit status 3; it is tried again";
        let told = if attempt == 3 { vec!["kill 1", ended, "publish"] } else { vec!["kill 1", "publish"] };
        script.then(exited(1, attempt), &told);
        script.then(gone(1, attempt), &[]);
        if attempt < 5 {
            script.view(State::Backoff, "exit status 3").time(&[&format!("spawn 1#{}", attempt + 1)]);
        }
    }
    script.route("failed 300 [1]").view(State::Failed, "exit status 3");
    script.time(&["spawn 1#6"]).then(spawned(1), &["publish"]).route("failed 300 [1?6]");
    script.then(Event::Waiting, &[]);
    script.then(healthy(1, 6), &["publish"]).route("serve 1 [1!6]").view(State::Running, "");
}

#[test]
fn when_the_old_one_crashes_during_a_deploy_the_new_one_takes_over_as_soon_as_it_can() {
    let mut script = Script::serving();
    script.then(overlap("b"), &["open 2"]).then(opened(2), &["spawn 2#1", "publish"]).then(spawned(2), &["publish"]);
    script.then(exited(1, 1), &["kill 1", "publish"]).route("hold [1 2?1]");
    script.then(healthy(2, 1), &["publish"]).route("serve 2 [1 2!1]");
    script.then(gone(1, 1), &[]);
    script.applied(&["ok: generation 2 serves", "publish"]).applied(&["close 1", "publish"]).route("serve 2 [2!1]");
}

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

#[test]
fn a_sleeping_tenant_is_woken_by_a_visitor() {
    let mut script = Script::serving();
    script.then(stop(StopReason::Sleep), &["publish"]).route("hold [1x]").then(idle(1), &[]).applied(&["stop 1"]);
    script.then(exited(1, 1), &["kill 1"]).then(gone(1, 1), &["close 1", "ok: acme is stopped", "publish"]);
    script.view(State::Sleeping, "idle; the next request starts it");
    script.then(Event::Waiting, &["open 2"]).then(Event::Waiting, &[]).view(State::Starting, "");
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

#[test]
fn facts_about_what_is_unknown_do_nothing() {
    let mut script = Script::serving();
    for odd in [
        opened(1),
        opened(9),
        idle(1),
        idle(9),
        applied(999),
        done(1, Task::Migrate),
        healthy(9, 1),
        exited(1, 7),
        gone(1, 1),
        of(1, worker::Event::Stop),
        Event::Waiting,
        Event::Timer,
        Event::OpenFailed { generation: GenerationId(1), reason: "late".into() },
    ] {
        script.then(odd, &[]);
    }
}

/// Any event at all, asked for or not.
fn any_event() -> impl proptest::strategy::Strategy<Value = Event> {
    use proptest::prelude::*;
    let id = 1_u64..5;
    let task = || prop_oneof![Just(Task::Snapshot), Just(Task::Migrate), Just(Task::Restore)];
    let reason = || {
        prop_oneof![
            Just(StopReason::Operator),
            Just(StopReason::Suspended),
            Just(StopReason::Removed),
            Just(StopReason::Sleep),
        ]
    };
    prop_oneof![
        3 => prop_oneof![Just("a"), Just("b")].prop_map(overlap),
        3 => prop_oneof![Just("a"), Just("b")].prop_map(hold),
        1 => reason().prop_map(stop),
        1 => Just(Event::Deploy),
        1 => Just(Event::Waiting),
        5 => Just(Event::Timer),
        5 => id.clone().prop_map(opened),
        1 => id.clone().prop_map(|id| Event::OpenFailed { generation: GenerationId(id), reason: "none left".into() }),
        8 => (0_u64..40).prop_map(applied),
        5 => id.clone().prop_map(idle),
        3 => (id.clone(), task()).prop_map(|(id, task)| done(id, task)),
        1 => (id.clone(), task()).prop_map(|(id, task)| undone(id, task)),
        5 => id.clone().prop_map(spawned),
        5 => (id.clone(), 1_u32..4).prop_map(|(id, attempt)| healthy(id, attempt)),
        3 => (id.clone(), 1_u32..4).prop_map(|(id, attempt)| exited(id, attempt)),
        5 => (id, 1_u32..4).prop_map(|(id, attempt)| gone(id, attempt)),
    ]
}

proptest::proptest! {
    /// Whatever is told in whatever order: it comes to rest, serves only what is healthy, opens each generation once and
    /// closes none that was not opened, and never settles more than was asked for.
    #[test]
    fn any_order_of_events_is_survived(
        events in proptest::collection::vec((any_event(), 0_u64..20_000), 0..150),
    ) {
        let mut tenant = Tenant::new("acme".parse().unwrap(), 1);
        let (mut now, mut next, mut owed) = (Now::default(), 0, false);
        let (mut open, mut answered) = (Vec::new(), Vec::new());
        for (event, gap) in events {
            now = now + Duration::from_millis(gap);
            if let Event::Opened { generation } | Event::OpenFailed { generation, .. } = event {
                answered.push(generation);
            }
            let asks = matches!(event, Event::Want(_) | Event::Deploy);
            let actions = tenant.on(event, now, &mut || {
                next += 1;
                GenerationId(next)
            });
            let mut settled = 0;
            for action in actions {
                match action {
                    Action::Open { generation } => {
                        assert!(!open.contains(&generation));
                        open.push(generation);
                    }
                    Action::Close { generation } => assert!(open.contains(&generation) && answered.contains(&generation)),
                    Action::Settled { .. } => settled += 1,
                    _ => {}
                }
            }
            assert!(settled <= usize::from(owed) + usize::from(asks));
            owed = tenant.busy();
            if let Serving::Serve { generation } = tenant.route().serving {
                assert_eq!(tenant.worker(generation).unwrap().phase, worker::Phase::Running);
            }
        }
    }
}
