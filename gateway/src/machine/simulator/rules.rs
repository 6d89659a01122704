//! What must hold in every house at every moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::house::House;
use crate::{
    machine::{
        Now,
        tenant::{Action, Event, RolloutPlan, Route, State, StopReason, Task, Tenant, Wish},
        worker::{self, Phase},
    },
    model::{GenerationId, Serving, Strategy},
};

/// A turn that some seed must take, or the rules are held against nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    Overlapped,
    Held,
    PutBack,
    RolledBack,
    Superseded,
    CutAtTheDeadline,
    CrashLooped,
    Gone,
    Doomed,
    Died,
    Mended,
    BlackedOut,
}

/// All of them.
pub(super) const TURNS: usize = 12;

/// What the rules need to remember of the past.
#[derive(Default)]
pub(super) struct Ledger {
    routes: BTreeMap<u64, Route>,
    applied: u64,
    /// Gates that are closed in every proxy: since when, and whether nothing is in flight any more.
    closed: BTreeMap<GenerationId, (Now, bool)>,
    /// What the plan gave to requests in flight when the gate was closed; plans may change.
    drains: BTreeMap<GenerationId, Duration>,
    opened: BTreeSet<GenerationId>,
    served: BTreeSet<GenerationId>,
    snapshots: BTreeSet<GenerationId>,
    migrated: BTreeSet<GenerationId>,
    /// Turns that this life has taken.
    pub(super) seen: BTreeSet<Turn>,
    newest: Option<GenerationId>,
    /// A migration has begun on the data, with a copy to go back to, and no worker was healthy by it yet.
    torn: Option<GenerationId>,
    /// What a new master has to be told again: gates behind which nothing is in flight.
    untold: BTreeSet<GenerationId>,
    requests: u64,
    settled: u64,
    gone: bool,
}

impl Ledger {
    /// Counts a request that is to be settled.
    pub(super) fn before(&mut self, event: &Event, tenant: &Tenant) {
        let asks = match (event, tenant.wish()) {
            (Event::Deploy, _) | (Event::Want(_), None) => true,
            (Event::Want(Wish::Run { plan: new }), Some(Wish::Run { plan: old })) => new.digest != old.digest,
            (Event::Want(new), Some(old)) => new != old,
            _ => false,
        };
        if asks {
            self.requests += 1;
            self.gone &= *event == Event::Deploy;
        }
    }

    /// The first wish that a new master tells is a request or not, as the machine sees fit.
    pub(super) fn first(&mut self, actions: &[Action], tenant: &Tenant) {
        if tenant.busy() || actions.iter().any(|action| matches!(action, Action::Settled { .. })) {
            self.requests += 1;
            self.gone = false;
        }
    }

    /// What came of a task.
    pub(super) fn done(&mut self, generation: GenerationId, task: Task, well: bool) {
        if task == Task::Restore && well && self.torn == Some(generation) {
            self.torn = None;
        }
    }

    /// What was told is known for good: a generation that was healthy has brought its migration to a good end.
    pub(super) fn written(&mut self, event: &Event) {
        if let Event::Worker { generation, event: worker::Event::Healthy { .. } } = event
            && self.torn == Some(*generation)
        {
            self.torn = None;
        }
    }

    /// Nobody is left who asked for anything; the proxies go on.
    pub(super) fn died(&mut self) {
        self.seen.insert(Turn::Died);
        self.settled = self.requests;
        self.untold = self.closed.iter().filter(|(_, (_, idle))| *idle).map(|(generation, _)| *generation).collect();
    }

    /// What a gate that is closed, or about to be, gives to requests in flight.
    pub(super) fn closing(&mut self, generation: GenerationId, plan: &RolloutPlan) {
        self.drains.entry(generation).or_insert(plan.drain_timeout);
    }

    /// Nor do the proxies.
    pub(super) fn blacked_out(&mut self) {
        self.seen.insert(Turn::BlackedOut);
        self.routes.clear();
        self.applied = 0;
        self.closed.clear();
        self.drains.clear();
        self.untold.clear();
    }

    /// A gate is not closed for a new generation's sake before every proxy knows the new one: there would be nowhere to go.
    pub(super) fn published(&mut self, revision: u64, route: Route, tenant: &Tenant) {
        let before = self.routes.last_key_value().map(|(_, before)| before);
        if let (Serving::Serve { .. }, Some(before), Some(applied)) =
            (&route.serving, before, self.routes.get(&self.applied))
        {
            let open: Vec<_> = before.backends.iter().filter(|was| was.open).map(|was| was.generation).collect();
            for backend in route.backends.iter().filter(|now| !now.open && open.contains(&now.generation)) {
                let generation = backend.generation;
                assert_ne!(applied.serving, Serving::Serve { generation }, "closed while proxies know no other");
            }
        }
        for backend in &route.backends {
            match tenant.plan(backend.generation) {
                Some(plan) if !backend.open => {
                    self.drains.entry(backend.generation).or_insert(plan.drain_timeout);
                }
                _ => {
                    self.drains.remove(&backend.generation);
                }
            }
        }
        self.routes.insert(revision, route);
    }

    /// A revision has reached every proxy: the gates that it closes, unless a newer one is there already.
    pub(super) fn applied(&mut self, revision: u64, now: Now) -> Option<Vec<GenerationId>> {
        // Proxies that are gone may have had it.
        if revision <= self.applied || !self.routes.contains_key(&revision) {
            return None;
        }
        self.applied = revision;
        let route = &self.routes[&revision];
        let shut: BTreeSet<GenerationId> =
            route.backends.iter().filter(|backend| !backend.open).map(|backend| backend.generation).collect();
        self.closed.retain(|generation, _| shut.contains(generation));
        let again = std::mem::take(&mut self.untold);
        let fresh: Vec<GenerationId> = shut
            .into_iter()
            .filter(|generation| !self.closed.contains_key(generation) || again.contains(generation))
            .collect();
        for generation in &fresh {
            self.closed.entry(*generation).or_insert((now, false));
        }
        self.routes = self.routes.split_off(&revision);
        Some(fresh)
    }

    /// Whether the gate is closed still; then it is idle from now on.
    pub(super) fn idle(&mut self, generation: GenerationId) -> bool {
        self.closed.get_mut(&generation).map(|(_, idle)| *idle = true).is_some()
    }
}

impl House {
    /// What must hold for an action, before it is executed.
    pub(super) fn holds_for(&mut self, action: &Action, now: Now) {
        match action {
            Action::Open { generation } => {
                assert!(self.ledger.opened.insert(*generation), "generation {generation} is opened twice");
                self.ledger.newest = Some(*generation);
            }
            Action::Worker { generation, action: worker::Action::Spawn { .. } } => self.holds_for_spawn(*generation),
            Action::Worker { generation, action: worker::Action::Stop } => self.holds_for_stop(*generation, now),
            Action::Worker { generation, action: worker::Action::Kill } => {
                assert!(self.processes.contains_key(generation), "a kill of nothing");
            }
            Action::Worker { action, .. } => panic!("{action:?} is not the master's to do"),
            Action::Run { generation, task } => self.holds_for_task(*generation, *task),
            Action::Close { generation } => {
                assert!(self.ports.contains(generation), "generation {generation} is closed without being open");
                assert!(!self.lives(*generation), "generation {generation} is closed while it lives");
                if !listed(&self.tenant.route(), *generation) && !self.ledger.served.contains(generation) {
                    self.ledger.seen.insert(Turn::Doomed);
                }
                assert!(self.task.is_none_or(|(of, _)| of != *generation), "closed under a running task");
            }
            Action::Publish => {}
            Action::Settled { message, .. } => {
                if message.starts_with("superseded") {
                    self.ledger.seen.insert(Turn::Superseded);
                }
                if message.contains("serves again") || message.contains("still serves") {
                    self.ledger.seen.insert(Turn::RolledBack);
                }
                self.ledger.settled += 1;
                assert!(self.ledger.settled <= self.ledger.requests, "more is settled than was asked for");
            }
            Action::Gone => {
                assert!(!self.ledger.gone, "gone twice");
                self.ledger.seen.insert(Turn::Gone);
                self.ledger.gone = true;
                assert_eq!(self.tenant.wish(), Some(&Wish::Stop { reason: StopReason::Removed }));
                assert!(self.ports.is_empty() && self.processes.is_empty(), "gone and yet there");
            }
            Action::Log { .. } => {}
        }
    }

    /// Never two live processes of one generation; by hold never two live generations; none beside a task on the data.
    fn holds_for_spawn(&self, generation: GenerationId) {
        assert!(self.ports.contains(&generation), "a spawn without a port");
        assert!(!self.lives(generation), "a second process of generation {generation}");
        assert!(self.task.is_none(), "a spawn during {:?}", self.task);
        if self.tenant.plan(generation).is_some_and(|plan| plan.migrate) && self.ports.len() == 1 {
            let done = self.ledger.migrated.contains(&generation) || self.ledger.served.contains(&generation);
            assert!(done, "a first start without its migration");
        }
        let torn = self.ledger.torn;
        assert!(torn.is_none_or(|torn| torn == generation), "{generation} on the data that {torn:?} has torn");
        let hold = |id: &GenerationId| self.tenant.plan(*id).is_some_and(|plan| plan.strategy == Strategy::Hold);
        if let Some(newest) = self.ledger.newest.filter(hold)
            && !self.ledger.served.contains(&newest)
        {
            let others = self.tenants_live(generation);
            assert!(newest != generation || others.is_empty(), "by hold, {generation} beside {others:?}");
            assert!(!others.contains(&newest), "by hold, {generation} beside the new {newest}");
        }
    }

    /// What visitors may be using is stopped only once every proxy routes without it and it is idle or out of time.
    fn holds_for_stop(&mut self, generation: GenerationId, now: Now) {
        let process = &self.processes[&generation];
        assert!(process.alive || self.tenant.worker(generation).is_some(), "a stop of nothing");
        let wanted_down = self.tenant.plan(generation).is_some() && !self.tenant.wants_up(generation);
        if !(wanted_down && process.ready) || process.stopping {
            return;
        }
        let route = &self.ledger.routes[&self.ledger.applied];
        assert_ne!(route.serving, Serving::Serve { generation }, "stopped while proxies serve it");
        let Some((since, idle)) = self.ledger.closed.get(&generation).copied() else {
            panic!("generation {generation} is stopped with an open gate")
        };
        let plan = self.tenant.plan(generation).unwrap();
        let then = self.ledger.drains.get(&generation).copied().unwrap_or(Duration::ZERO);
        let least = then.min(plan.drain_timeout).min(Duration::from_secs(10));
        if !idle {
            self.ledger.seen.insert(Turn::CutAtTheDeadline);
        }
        assert!(idle || now.since(since) >= least, "generation {generation} is stopped while in use");
    }

    /// Nothing lives while the data is copied or changed, and nothing is put back that was not kept.
    fn holds_for_task(&mut self, generation: GenerationId, task: Task) {
        assert!(self.task.is_none(), "{task:?} beside {:?}", self.task);
        // A copy outlives its generation.
        assert!(self.ports.contains(&generation) || task == Task::Restore);
        let living: Vec<&GenerationId> = self.processes.keys().filter(|id| self.lives(**id)).collect();
        assert!(living.is_empty(), "{task:?} while {living:?} live");
        let ledger = &mut self.ledger;
        assert!(task == Task::Restore || ledger.torn.is_none(), "{task:?} of what {:?} has torn", ledger.torn);
        match task {
            Task::Snapshot => assert!(ledger.snapshots.insert(generation), "two snapshots"),
            Task::Migrate => {
                assert!(ledger.migrated.insert(generation), "migrated twice");
                let kept = ledger.snapshots.contains(&generation);
                assert!(kept || self.ports.len() == 1, "migrated without a snapshot, with a way back");
                ledger.torn = kept.then_some(generation);
            }
            Task::Restore => {
                assert!(ledger.snapshots.contains(&generation), "put back what was not kept");
                ledger.seen.insert(if self.ports.contains(&generation) { Turn::PutBack } else { Turn::Mended });
            }
        }
    }

    /// What must hold after every event.
    pub(super) fn holds_always(&mut self, event: &Event) {
        let route = self.tenant.route();
        let listed: BTreeSet<GenerationId> = route.backends.iter().map(|backend| backend.generation).collect();
        assert!(listed.is_subset(&self.ports), "routed without a port: {listed:?}, {:?}", self.ports);
        if let Serving::Serve { generation } = route.serving {
            let worker = self.tenant.worker(generation).expect("the served generation is known");
            assert_eq!(worker.phase, Phase::Running, "served though not healthy, after {event:?}");
            let process = &self.processes[&generation];
            assert!(process.ready && process.attempt == worker.attempt, "served without a healthy word");
            assert!(route.backends.iter().any(|backend| backend.generation == generation && backend.open));
            assert!(matches!(self.tenant.wish(), Some(Wish::Run { .. })), "served though not wanted");
            if self.ledger.served.insert(generation) && self.ledger.served.len() > 1 {
                let held = self.ledger.snapshots.contains(&generation);
                self.ledger.seen.insert(if held { Turn::Held } else { Turn::Overlapped });
            }
        }
        if matches!(route.serving, Serving::Failed { retry_after: 300 }) {
            self.ledger.seen.insert(Turn::CrashLooped);
        }
        assert_eq!(self.tenant.busy(), self.ledger.settled < self.ledger.requests, "after {event:?}");
    }

    /// Every request has been answered.
    pub(super) fn holds_settled(&self) {
        assert_eq!(self.ledger.settled, self.ledger.requests, "a request is still open: {:#?}", self.tenant);
    }

    /// The machine wants what it was told last.
    pub(super) fn holds_converged(&self) {
        assert!(self.tenant.wish() == self.files.as_ref(), "{:?} is wanted: {:#?}", self.files, self.tenant);
        // What failed is tried again, or says why not.
        let view = self.tenant.view();
        if let Some(Wish::Run { plan }) = &self.files
            && view.state == State::Running
            && view.reason.is_empty()
        {
            let current = self.tenant.current().and_then(|current| self.tenant.plan(current));
            assert!(current.is_some_and(|current| current.digest == plan.digest), "{:#?}", self.tenant);
        }
    }

    /// Nothing is left.
    pub(super) fn holds_stopped(&self) {
        let living: Vec<&GenerationId> = self.processes.keys().filter(|id| self.lives(**id)).collect();
        assert!(living.is_empty() && self.spawning.is_empty(), "the stop did not reach {living:?}");
        assert!(self.ports.is_empty(), "still open: {:?} {:#?}", self.ports, self.tenant);
        assert_eq!(self.deadline(), None);
        let removed = self.tenant.wish() == Some(&Wish::Stop { reason: StopReason::Removed });
        assert_eq!(removed, self.ledger.gone);
    }

    /// It, or what it left behind, or what is about to be.
    pub(super) fn lives(&self, generation: GenerationId) -> bool {
        self.spawning.contains_key(&generation)
            || self.processes.get(&generation).is_some_and(|process| process.alive || process.children)
    }

    fn tenants_live(&self, besides: GenerationId) -> Vec<GenerationId> {
        let ids: BTreeSet<GenerationId> = self.processes.keys().chain(self.spawning.keys()).copied().collect();
        ids.into_iter().filter(|id| *id != besides && self.lives(*id)).collect()
    }
}

fn listed(route: &Route, generation: GenerationId) -> bool {
    route.backends.iter().any(|backend| backend.generation == generation)
}
