#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::machine::backoff::Pace;

mod any;
mod recall;

/// A worker, a clock, and prose.
struct Script {
    worker: Worker,
    now: Now,
}

fn settings() -> Settings {
    Settings {
        start_timeout: Duration::from_secs(30),
        stop_timeout: Duration::from_secs(20),
        failures: 3,
        seed: 1,
        exits_are_final: false,
        pace: Pace::TENANT,
    }
}

impl Script {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        Self { worker: Worker::new(settings), now: Now::default() }
    }

    /// A healthy worker in its first attempt.
    fn running() -> Self {
        let mut script = Self::new();
        script.then(Event::Start, &["spawn 1"]);
        script.then(Event::Spawned { pid: 100 }, &[]);
        script.then(Event::Healthy { attempt: 1 }, &["ready"]);
        script
    }

    /// Feeds an event and holds the actions, logs left out, to what is told.
    #[track_caller]
    fn then(&mut self, event: Event, told: &[&str]) -> &mut Self {
        let actions = self.worker.on(event.clone(), self.now);
        assert_eq!(spelled(&actions), told, "after {event:?} in {:?}", self.worker.view());
        self
    }

    fn wait(&mut self, millis: u64) -> &mut Self {
        self.now = self.now + Duration::from_millis(millis);
        self
    }

    /// Jumps to the deadline and feeds `Timer`.
    #[track_caller]
    fn time(&mut self, told: &[&str]) -> &mut Self {
        self.now = self.worker.deadline().expect("a deadline").max(self.now);
        self.then(Event::Timer, told)
    }

    #[track_caller]
    fn is(&mut self, phase: Phase) -> &mut Self {
        assert_eq!(self.worker.phase(), phase);
        self
    }

    /// The live attempt exits and its tree is gone.
    fn crash(&mut self) -> Vec<String> {
        let attempt = self.worker.view().attempt;
        let mut actions = self.worker.on(Event::Exited { attempt, reason: "exit status 3".into() }, self.now);
        actions.extend(self.worker.on(Event::TreeGone { attempt }, self.now));
        spelled(&actions)
    }
}

fn spelled(actions: &[Action]) -> Vec<String> {
    let spell = |action: &Action| {
        Some(match action {
            Action::Spawn { attempt } => format!("spawn {attempt}"),
            Action::Stop => "stop".into(),
            Action::Kill => "kill".into(),
            Action::Ready => "ready".into(),
            Action::NotReady { reason } => format!("not ready: {reason}"),
            Action::Failed { reason } => format!("failed: {reason}"),
            Action::Stopped => "stopped".into(),
            Action::Log { .. } => return None,
        })
    };
    actions.iter().filter_map(spell).collect()
}

fn exited(attempt: u32) -> Event {
    Event::Exited { attempt, reason: "exit status 3".into() }
}

fn unhealthy(attempt: u32) -> Event {
    Event::Unhealthy { attempt, reason: "GET /healthz: 500".into() }
}

#[test]
fn want_of_memory_is_an_end_that_is_told_as_such() {
    let mut script = Script::running();
    let reason = "out of memory: limit 64 MiB".to_owned();
    let actions = script.worker.on(Event::OutOfMemory { attempt: 1, reason: reason.clone() }, script.now);
    assert_eq!(spelled(&actions), [format!("not ready: {reason}"), "kill".into()]);
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::Log { event: "oom", reason: said, .. } if *said == reason))
    );
    script.then(Event::TreeGone { attempt: 1 }, &[]).is(Phase::Backoff);
    assert_eq!(script.worker.view().reason, reason, "for as long as it is not healthy again");
    script.then(Event::OutOfMemory { attempt: 1, reason }, &[]);
}

#[test]
fn what_was_tried_once_and_is_kept_up_comes_back() {
    let once = Settings { exits_are_final: true, ..settings() };
    let mut script = Script::with(once.clone());
    script.then(Event::Start, &["spawn 1"]).then(Event::Spawned { pid: 100 }, &[]);
    script.then(Event::Exited { attempt: 1, reason: "exit status 1".into() }, &["kill"]);
    script.then(Event::TreeGone { attempt: 1 }, &["stopped"]);

    let mut script = Script::with(once);
    script.then(Event::Start, &["spawn 1"]).then(Event::Spawned { pid: 100 }, &[]);
    script.then(Event::Healthy { attempt: 1 }, &["ready"]);
    script.worker.keep_up(Duration::from_secs(3));
    script.then(Event::Exited { attempt: 1, reason: "killed".into() }, &["not ready: killed", "kill"]);
    script.then(Event::TreeGone { attempt: 1 }, &[]).time(&["spawn 2"]);
    script.then(Event::Spawned { pid: 101 }, &[]).then(Event::Stop, &["stop"]);
    assert_eq!(script.worker.deadline(), Some(script.now + Duration::from_secs(3)));
}

#[test]
fn starts_serves_and_stops() {
    let mut script = Script::running();
    assert_eq!(script.worker.view().pid, Some(100));
    script
        .is(Phase::Running)
        .then(Event::Stop, &["stop"])
        .then(exited(1), &["kill"])
        .is(Phase::Killing)
        .then(Event::TreeGone { attempt: 1 }, &["stopped"])
        .is(Phase::Stopped);
    assert_eq!((script.worker.deadline(), script.worker.view().pid), (None, None));
}

#[test]
fn a_deaf_process_is_killed_after_the_stop_timeout() {
    let mut script = Script::running();
    script.then(Event::Stop, &["stop"]).wait(19_999).then(Event::Timer, &[]).wait(1).then(Event::Timer, &["kill"]);
    script.wait(5000).then(Event::Timer, &["kill"]);
    script.then(Event::TreeGone { attempt: 1 }, &["stopped"]);
    assert_eq!(script.worker.view().pid, None);
    script.then(exited(1), &[]).is(Phase::Stopped);
}

#[test]
fn a_crash_ends_the_tree_first_and_then_starts_anew_after_100_ms() {
    let mut script = Script::running();
    script.then(exited(1), &["not ready: exit status 3", "kill"]);
    script.then(Event::TreeGone { attempt: 1 }, &[]).is(Phase::Backoff);
    let delay = script.worker.deadline().unwrap().since(script.now);
    assert!(delay >= Duration::from_millis(80) && delay <= Duration::from_millis(120), "{delay:?}");
    script.time(&["spawn 2"]).then(Event::Spawned { pid: 101 }, &[]);
    script.then(Event::Healthy { attempt: 1 }, &[]).then(Event::Healthy { attempt: 2 }, &["ready"]);
    assert_eq!((script.worker.view().restarts, script.worker.view().reason.as_str()), (1, ""));
}

#[test]
fn words_of_an_earlier_attempt_do_nothing() {
    let mut script = Script::running();
    script.crash();
    script.time(&["spawn 2"]).then(Event::Spawned { pid: 101 }, &[]);
    for late in [Event::Healthy { attempt: 1 }, unhealthy(1), exited(1), Event::TreeGone { attempt: 1 }] {
        script.then(late, &[]).is(Phase::Starting);
    }
}

#[test]
fn three_unhealthy_words_in_a_row_are_a_hang() {
    let mut script = Script::running();
    script.then(unhealthy(1), &[]).then(unhealthy(1), &[]).then(Event::Healthy { attempt: 1 }, &[]);
    script.then(unhealthy(1), &[]).then(unhealthy(1), &[]);
    let told = "not ready: unhealthy 3 times in a row: GET /healthz: 500";
    script.then(unhealthy(1), &[told, "stop"]).is(Phase::Stopping);
    // A hung worker gets 10 s, however long its stop timeout is.
    assert_eq!(script.worker.deadline(), Some(script.now + Duration::from_secs(10)));
    script.time(&["kill"]).then(exited(1), &[]).then(Event::TreeGone { attempt: 1 }, &[]).is(Phase::Backoff);
    assert!(script.worker.view().reason.starts_with("unhealthy 3 times"));
    script.time(&["spawn 2"]);
}

#[test]
fn a_start_that_takes_too_long_is_a_failed_one_and_says_what_was_seen() {
    let mut script = Script::new();
    script.then(Event::Start, &["spawn 1"]).wait(60_000).then(Event::Timer, &[]);
    script.then(Event::Spawned { pid: 100 }, &[]);
    script.then(unhealthy(1), &[]).then(unhealthy(1), &[]).then(unhealthy(1), &[]).then(unhealthy(1), &[]);
    script.wait(29_999).then(Event::Timer, &[]).wait(1).then(Event::Timer, &["stop"]);
    assert_eq!(script.worker.view().reason, "not healthy within 30 s: GET /healthz: 500");
    assert_eq!(script.worker.bad_ends(), 1);
    script.then(exited(1), &["kill"]).then(Event::TreeGone { attempt: 1 }, &[]).is(Phase::Backoff);
    assert_eq!(script.worker.bad_ends(), 1);
}

#[test]
fn five_failed_starts_in_a_minute_are_failed_then_one_attempt_every_five_minutes() {
    let mut script = Script::new();
    script.then(Event::Start, &["spawn 1"]);
    for attempt in 1..=5_u32 {
        script.then(Event::Spawned { pid: attempt }, &[]);
        let told = script.crash();
        if attempt < 5 {
            assert_eq!(told, ["kill"]);
            script.is(Phase::Backoff).time(&[&format!("spawn {}", attempt + 1)]);
        } else {
            assert_eq!(told, ["kill", "failed: exit status 3"]);
        }
    }
    for attempt in 6..9_u32 {
        script.is(Phase::Failed);
        let delay = script.worker.deadline().unwrap().since(script.now);
        assert!(delay >= Duration::from_secs(240) && delay <= Duration::from_secs(360), "{delay:?}");
        script.time(&[&format!("spawn {attempt}")]).then(Event::Spawned { pid: attempt }, &[]);
        assert!(script.worker.given_up(), "also while the rare attempt is under way");
        assert_eq!(script.crash(), ["kill", "failed: exit status 3"]);
    }
    script.time(&["spawn 9"]).then(Event::Spawned { pid: 9 }, &[]).then(Event::Healthy { attempt: 9 }, &["ready"]);
    script.wait(60_000).crash();
    script.is(Phase::Backoff);
    assert!(!script.worker.given_up(), "a minute of health forgives all");
}

#[test]
fn healthy_and_then_dead_again_and_again_comes_back_ever_more_slowly_and_is_not_given_up() {
    let mut script = Script::running();
    for attempt in 2..=9_u32 {
        script.wait(3000).crash();
        script.is(Phase::Backoff);
        script.time(&[&format!("spawn {attempt}")]).then(Event::Spawned { pid: attempt }, &[]);
        script.then(Event::Healthy { attempt }, &["ready"]);
    }
}

#[test]
fn a_stop_acts_at_once_wherever_nothing_is_alive() {
    let mut script = Script::running();
    script.crash();
    script.is(Phase::Backoff).then(Event::Stop, &["stopped"]).is(Phase::Stopped);
    assert_eq!(script.worker.deadline(), None);
    script.then(Event::Stop, &[]).then(Event::Timer, &[]);
}

#[test]
fn a_stop_between_spawn_and_its_answer_waits_for_the_answer() {
    let mut script = Script::new();
    script.then(Event::Start, &["spawn 1"]).then(Event::Stop, &[]).then(Event::Spawned { pid: 5 }, &["stop"]);
    script.then(exited(1), &["kill"]).then(Event::TreeGone { attempt: 1 }, &["stopped"]);

    let mut script = Script::new();
    script.then(Event::Start, &["spawn 1"]).then(Event::Stop, &[]);
    script.then(Event::SpawnFailed { reason: "no such file".into() }, &["stopped"]).is(Phase::Stopped);

    let mut script = Script::new();
    script.then(Event::Start, &["spawn 1"]).then(Event::Stop, &[]).then(Event::Start, &[]);
    script.then(Event::Spawned { pid: 5 }, &[]).then(Event::Healthy { attempt: 1 }, &["ready"]);
}

#[test]
fn a_start_while_stopping_is_remembered() {
    let mut script = Script::running();
    script.then(Event::Stop, &["stop"]).then(Event::Start, &[]).then(exited(1), &["kill"]);
    script.then(Event::TreeGone { attempt: 1 }, &["spawn 2"]);
    assert_eq!(script.worker.view().restarts, 0, "it was asked for");
}

#[test]
fn a_start_while_waiting_tries_now() {
    let mut script = Script::running();
    script.crash();
    script.then(Event::Start, &["spawn 2"]).then(Event::Timer, &[]);
}

#[test]
fn what_cannot_be_spawned_is_tried_again() {
    let mut script = Script::new();
    script.then(Event::Start, &["spawn 1"]);
    script.then(Event::SpawnFailed { reason: "no such file".into() }, &[]).is(Phase::Backoff);
    assert_eq!(script.worker.view().reason, "no such file");
    script.time(&["spawn 2"]);
}

#[test]
fn a_command_that_runs_once_is_not_started_again() {
    let mut script = Script::with(Settings { exits_are_final: true, ..settings() });
    script.then(Event::Start, &["spawn 1"]).then(Event::Spawned { pid: 5 }, &[]);
    assert_eq!(script.crash(), ["kill", "stopped"]);
    script.is(Phase::Stopped);
}

#[test]
fn times_may_change_under_a_live_worker() {
    let mut script = Script::running();
    script.worker.retime(Duration::from_secs(1), Duration::from_secs(2), 1);
    script.then(unhealthy(1), &["not ready: unhealthy once: GET /healthz: 500", "stop"]);
    assert_eq!(script.worker.deadline(), Some(script.now + Duration::from_secs(2)));
}

#[test]
fn a_role_is_back_without_delay_and_never_given_up() {
    let mut script = Script::with(Settings { pace: Pace::ROLE, ..settings() });
    script.then(Event::Start, &["spawn 1"]).then(Event::Spawned { pid: 1 }, &[]);
    script.then(Event::Healthy { attempt: 1 }, &["ready"]);
    assert_eq!(script.crash(), ["not ready: exit status 3", "kill", "spawn 2"]);
    for attempt in 2..100_u32 {
        script.then(Event::Spawned { pid: attempt }, &[]);
        script.crash();
        assert!(script.worker.deadline().unwrap().since(script.now) <= Duration::from_secs(1));
        script.is(Phase::Backoff).time(&[&format!("spawn {}", attempt + 1)]);
    }
}
