//! The master dies and another one goes on.

use super::*;

impl Script {
    /// Its owner dies here and another one goes on, by what is read back from paper.
    fn dies(&mut self) -> &mut Self {
        let paper = serde_json::to_vec(&self.worker.memory()).unwrap();
        let memory: Memory = serde_json::from_slice(&paper).unwrap();
        assert_eq!(memory, self.worker.memory());
        self.worker = Worker::recall(settings(), memory, self.now);
        self
    }
}

#[test]
fn a_recalled_process_goes_on_as_it_was() {
    let mut script = Script::running();
    script.wait(90_000).dies().is(Phase::Running);
    assert_eq!(script.worker.view().ready_since, Some(Now::default()));
    assert_eq!((script.worker.deadline(), script.worker.view().pid), (None, Some(100)));
    script
        .then(exited(1), &["not ready: exit status 3", "kill"])
        .then(Event::TreeGone { attempt: 1 }, &[])
        .is(Phase::Backoff);
    let due = script.worker.deadline();
    script.dies().is(Phase::Backoff);
    assert_eq!(script.worker.deadline(), due, "its wait is not begun anew");
    script.time(&["spawn 2"]);
    assert_eq!(script.worker.view().restarts, 1);
}

#[test]
fn a_recalled_start_has_its_whole_time_again() {
    let mut script = Script::new();
    script.then(Event::Start, &["spawn 1"]).then(Event::Spawned { pid: 100 }, &[]).wait(29_000).dies();
    script.wait(29_000).then(Event::Timer, &[]).wait(1000).then(Event::Timer, &["stop"]);
}

#[test]
fn a_spawn_whose_answer_was_lost_is_found_or_made_again() {
    let mut script = Script::new();
    script.then(Event::Start, &["spawn 1"]).dies().is(Phase::Starting);
    script.then(Event::SpawnFailed { reason: "there is none".into() }, &["spawn 2"]).dies();
    script.then(Event::Spawned { pid: 100 }, &[]).then(Event::Healthy { attempt: 2 }, &["ready"]).is(Phase::Running);
    assert_eq!((script.worker.view().restarts, script.worker.bad_ends()), (0, 0));

    let mut script = Script::new();
    script.then(Event::Start, &["spawn 1"]).then(Event::Stop, &[]).dies();
    script.then(Event::SpawnFailed { reason: "there is none".into() }, &["stopped"]).is(Phase::Stopped);
}

#[test]
fn a_stop_or_a_kill_that_may_have_been_lost_is_said_again() {
    let mut script = Script::running();
    script.then(Event::Stop, &["stop"]).wait(15_000).dies().time(&["stop"]).is(Phase::Stopping);
    script.wait(19_999).then(Event::Timer, &[]).wait(1).then(Event::Timer, &["kill"]).dies();
    script.time(&["kill"]).dies().then(exited(1), &[]).time(&["kill"]);
    script.then(Event::TreeGone { attempt: 1 }, &["stopped"]).is(Phase::Stopped);
}

#[test]
fn a_crash_loop_stays_one() {
    let mut script = Script::new();
    script.then(Event::Start, &["spawn 1"]);
    for _ in 0..5 {
        script.then(Event::Spawned { pid: 100 }, &[]).crash();
        script.dies();
        let deadline = script.worker.deadline().unwrap();
        script.wait(u64::try_from(deadline.since(script.now).as_millis()).unwrap() + 1);
        if script.worker.phase() == Phase::Backoff {
            script.then(Event::Timer, &[&format!("spawn {}", script.worker.view().attempt + 1)]);
        }
    }
    script.is(Phase::Failed);
    assert!(script.worker.given_up());
}
