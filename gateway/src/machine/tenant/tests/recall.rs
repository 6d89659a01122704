//! The master dies and another one goes on.

use super::*;

impl Script {
    /// The master dies here and another one goes on, by what is read back from paper. Everything that lived lives.
    fn dies(&mut self) -> &mut Self {
        let paper = serde_json::to_vec(&self.tenant.memory()).unwrap();
        let memory: Memory = serde_json::from_slice(&paper).unwrap();
        assert_eq!(memory, self.tenant.memory());
        self.tenant = Tenant::recall("acme".parse().unwrap(), 1, memory, self.now);
        self.log.push("the master dies".into());
        self
    }
}

fn spawn_failed(generation: u64) -> Event {
    of(generation, worker::Event::SpawnFailed { reason: "there is no such process".into() })
}

#[test]
fn what_serves_goes_on_serving() {
    let mut script = Script::serving();
    script.wait(100).dies().route("serve 1 [1!1]").then(overlap("a"), &["publish"]).route("serve 1 [1!1]");
    assert!(!script.tenant.busy(), "it has what it wants");
    assert_eq!(script.tenant.view().ready_since, Some(Now::default()));
    script.then(Event::Deploy, &["open 2"]);
}

#[test]
fn what_died_meanwhile_is_started_again() {
    let mut script = Script::serving();
    script.dies().then(exited(1, 1), &["kill 1", "publish"]).then(gone(1, 1), &[]).then(overlap("a"), &[]);
    script.route("hold [1]").time(&["spawn 1#2"]).dies();
    // Nobody knows whether there is a second process: there is none, which says nothing against it.
    script.then(spawn_failed(1), &["spawn 1#3", "publish"]).then(overlap("a"), &[]).then(spawned(1), &["publish"]);
    script.then(healthy(1, 3), &["publish"]).route("serve 1 [1!3]");
    assert_eq!(script.tenant.view().restarts, 1);
}

#[test]
fn a_new_wish_is_worked_on_as_ever() {
    let mut script = Script::serving();
    script.dies().then(overlap("b"), &["open 2", "publish"]).then(opened(2), &["spawn 2#1", "publish"]);
}

#[test]
fn a_new_generation_that_is_starting_goes_on_if_it_is_still_wished() {
    let mut script = Script::serving();
    script.then(overlap("b"), &["open 2"]).then(opened(2), &["spawn 2#1", "publish"]).then(spawned(2), &["publish"]);
    script.dies().then(overlap("b"), &["publish"]).route("serve 1 [1!1 2?1]");
    script
        .then(healthy(2, 1), &["publish"])
        .dies()
        .then(overlap("b"), &["ok: generation 2 has these settings already", "publish"]);
    script.route("serve 2 [1 2!1]").applied(&["publish"]).route("serve 2 [1x 2!1]").dies();
    script.then(overlap("b"), &["publish"]).applied(&[]).then(idle(1), &["stop 1"]).dies();
    // Whether it was told to stop, nobody knows.
    script.then(overlap("b"), &["publish"]).time(&["stop 1"]).then(exited(1, 1), &["kill 1"]).dies();
    script.then(overlap("b"), &["publish"]).time(&["kill 1"]).then(gone(1, 1), &["close 1", "publish"]);
}

#[test]
fn a_new_generation_that_is_not_wished_any_more_is_taken_back() {
    let mut script = Script::serving();
    script.then(overlap("b"), &["open 2"]).then(opened(2), &["spawn 2#1", "publish"]).then(spawned(2), &["publish"]);
    script.dies().then(overlap("c"), &["stop 2", "publish"]).then(exited(2, 1), &["kill 2"]);
    script.then(gone(2, 1), &["close 2", "open 3", "publish"]);
}

#[test]
fn a_port_that_was_asked_for_is_given_back() {
    let mut script = Script::serving();
    script.then(overlap("b"), &["open 2"]).dies().then(overlap("b"), &["publish"]);
    script.then(opened(2), &["close 2", "open 3"]).route("serve 1 [1!1]");
}

#[test]
fn a_migration_that_was_cut_short_is_put_back_before_anything_else() {
    let mut script = migrating();
    script.dies().route("hold [1x 2]").then(hold("b"), &["run 2 restore", "publish"]).route("hold [1x 2]");
    script.dies().then(hold("b"), &["run 2 restore", "publish"]);
    script
        .then(done(2, Task::Restore), &["close 2", "open 3", "publish"])
        .then(opened(3), &["run 3 snapshot", "publish"]);
    // A copy that was cut short is no loss.
    script.dies().then(hold("b"), &["close 3", "open 4", "publish"]).route("hold [1x]");
    // Wished back, the old one needs no port: it has kept its own.
    script.dies().then(hold("a"), &["publish"]).then(opened(4), &["close 4", "spawn 1#2", "publish"]);
}

#[test]
fn a_first_migration_that_was_cut_short_is_run_again() {
    let mut script = Script::new();
    script.then(hold("a"), &["open 1", "publish"]).then(opened(1), &["run 1 migrate", "publish"]);
    script.dies().then(hold("a"), &["close 1", "open 2", "publish"]).then(opened(2), &["run 2 migrate", "publish"]);
}

#[test]
fn a_rollout_that_failed_is_not_tried_again_by_itself() {
    let mut script = migrating();
    let why = "the migration failed: disk full; generation 1 serves again";
    script.then(undone(2, Task::Migrate), &["run 2 restore"]);
    script.then(done(2, Task::Restore), &["close 2", "spawn 1#2", "publish"]).then(spawned(1), &["publish"]);
    script.then(healthy(1, 2), &[&format!("not ok: {why}"), "publish"]);
    script.dies().then(hold("b"), &["publish"]).route("serve 1 [1!2]").view(State::Running, why);
}

#[test]
fn a_stop_that_was_under_way_goes_on() {
    let mut script = Script::serving();
    script.then(stop(StopReason::Operator), &["publish"]).dies().route("stopped [1x]");
    script.then(stop(StopReason::Operator), &["publish"]).applied(&[]).then(idle(1), &["stop 1"]);
    script.then(exited(1, 1), &["kill 1"]).then(gone(1, 1), &["close 1", "ok: acme is stopped", "publish"]);
}

#[test]
fn after_a_power_cut_in_a_migration_the_snapshot_is_put_back_first() {
    let mut script = Script::new();
    script.next = 8;
    script.tenant = Tenant::interrupted("acme".parse().unwrap(), 1, GenerationId(7));
    script.dies().then(hold("b"), &["run 7 restore", "publish"]).dies().then(hold("b"), &["run 7 restore", "publish"]);
    let why = "the snapshot could not be put back: disk full; it is tried again";
    script.then(undone(7, Task::Restore), &[&format!("not ok: {why}"), "publish"]).route("failed 300 []");
    script.time(&["run 7 restore", "publish"]).then(done(7, Task::Restore), &["open 8"]);
    script.then(opened(8), &["run 8 migrate", "publish"]);
}

#[test]
fn data_that_was_left_torn_by_a_stop_is_mended_by_the_next_start() {
    let mut script = migrating();
    script.then(stop(StopReason::Operator), &["not ok: superseded by a newer request", "publish"]);
    script.then(undone(2, Task::Migrate), &["run 2 restore"]);
    script.then(undone(2, Task::Restore), &["close 2", "close 1", "ok: acme is stopped", "publish"]);
    script.dies().then(hold("b"), &["run 2 restore", "publish"]).then(done(2, Task::Restore), &["open 3"]);
}
