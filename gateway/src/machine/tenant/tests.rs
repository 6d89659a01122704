#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use super::*;
use crate::{
    machine::worker::Action as Do,
    model::{Digest, Strategy},
};

mod any;
mod crashes;
mod deploys;
mod migrations;
mod recall;
mod wishes;

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

/// Generation 1 is parked, and generation 2 migrates.
fn migrating() -> Script {
    let mut script = Script::serving();
    script.then(hold("b"), &["open 2"]).then(opened(2), &["publish"]).then(idle(1), &[]).applied(&["stop 1"]);
    script.then(exited(1, 1), &["kill 1"]).then(gone(1, 1), &["run 2 snapshot"]);
    script.then(done(2, Task::Snapshot), &["run 2 migrate"]);
    script
}
