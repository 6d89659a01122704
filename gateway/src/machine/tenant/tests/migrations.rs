//! Migrations that fail, and the way back.

use super::*;

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
