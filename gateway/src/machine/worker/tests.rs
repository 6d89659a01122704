#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::machine::backoff::Pace;

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

/// Any event, about this attempt or another.
fn any_event() -> impl Strategy<Value = Event> {
    let attempt = 0_u32..6;
    prop_oneof![
        1 => Just(Event::Start),
        1 => Just(Event::Stop),
        4 => Just(Event::Timer),
        2 => Just(Event::Spawned { pid: 7 }),
        1 => Just(Event::SpawnFailed { reason: "no such file".into() }),
        2 => attempt.clone().prop_map(|attempt| Event::Healthy { attempt }),
        2 => attempt.clone().prop_map(unhealthy),
        2 => attempt.clone().prop_map(exited),
        2 => attempt.prop_map(|attempt| Event::TreeGone { attempt }),
    ]
}

proptest! {
    /// Whatever comes in whatever order: no panic, no second process before the first one's tree is gone, and a stop
    /// reaches down as soon as the answers are given.
    #[test]
    fn any_order_of_events_is_survived(events in prop::collection::vec((any_event(), 0_u64..40_000), 0..80)) {
        let (mut worker, mut now) = (Worker::new(settings()), Now::default());
        let mut alive = false;
        let mut asked = false;
        worker.on(Event::Start, now);
        asked |= worker.phase() == Phase::Starting;
        for (event, gap) in events {
            now = now + Duration::from_millis(gap);
            let (was, pid) = (worker.phase(), worker.view().pid);
            let attempt = worker.view().attempt;
            if asked && matches!(event, Event::Spawned { .. }) {
                (alive, asked) = (true, false);
            }
            if asked && matches!(event, Event::SpawnFailed { .. }) {
                asked = false;
            }
            if was == Phase::Killing && event == (Event::TreeGone { attempt }) {
                alive = false;
            }
            for action in worker.on(event.clone(), now) {
                if let Action::Spawn { attempt: new } = action {
                    prop_assert!(!alive && !asked, "{:?} {:?} {:?}", was, pid, event);
                    prop_assert_eq!(new, attempt + 1);
                    asked = true;
                }
                if action == Action::Ready {
                    prop_assert_eq!(worker.phase(), Phase::Running);
                }
            }
            prop_assert_eq!(worker.phase() == Phase::Running, worker.view().ready_since.is_some());
        }
        // Well-behaved answers from here on.
        let mut actions = worker.on(Event::Stop, now);
        if asked {
            actions.extend(worker.on(Event::Spawned { pid: 8 }, now));
        }
        for _ in 0..3 {
            let attempt = worker.view().attempt;
            if let Some(deadline) = worker.deadline() {
                now = now.max(deadline);
            }
            worker.on(Event::Timer, now);
            worker.on(Event::TreeGone { attempt }, now);
        }
        prop_assert_eq!(worker.phase(), Phase::Stopped);
        prop_assert_eq!(worker.deadline(), None);
    }
}
