//! The proxies: the newest, which is kept up; the next, while it starts; and older ones, which end what they have.

use std::time::{Duration, Instant};

use super::{
    fleet::{ProxiesMemory, ProxyMemory},
    roles::{Post, Role},
};
use crate::{
    machine::{
        Now,
        accord::Accord,
        backoff::Pace,
        worker::{Phase, Settings, Worker},
    },
    wire::{Draining, ToProxy},
};

/// From its start, or its stop signal, to its end.
const PATIENCE: Duration = Duration::from_secs(10);
/// A proxy that drains is told tables like any other: one that does not apply them within this holds every deploy up.
const OVERDUE: Duration = Duration::from_secs(2);

/// All of them. Each has its own number, which a restart of the newest keeps: it is another attempt.
pub(super) struct Proxies {
    pub(super) newest: Proxy,
    pub(super) next: Option<Proxy>,
    pub(super) older: Vec<Proxy>,
    /// What all that may route have told.
    pub(super) accord: Accord,
    /// With nobody to route, up to which epoch tenants were told that nobody does.
    pub(super) alone: Option<u64>,
    /// The newest number given.
    last: u32,
}

/// One proxy with what it told.
pub(super) struct Proxy {
    pub(super) number: u32,
    pub(super) role: Role<ToProxy>,
    pub(super) facts: Facts,
}

/// What a proxy has told so far; forgotten when it ends.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// It has said Hello since we know it. What came before was said to a master that has gone; it is all said again.
    pub(super) greeted: bool,
    /// It accepts.
    pub(super) ready: bool,
    /// It was told to accept.
    pub(super) started: bool,
    /// What it answers to an authority: which telling.
    pub(super) answering: u64,
    /// When it last said anything; it counts every 10 s when there is nothing else.
    pub(super) heard: Option<Instant>,
    /// Open client connections, when it last counted.
    pub(super) connections: Option<u64>,
    /// It was killed, and its end is on its way.
    pub(super) condemned: bool,
}

impl Proxies {
    pub(super) fn new() -> Self {
        let newest = Proxy::new(1, Pace::ROLE, false);
        Self { newest, next: None, older: Vec::new(), accord: Accord::default(), alone: None, last: 1 }
    }

    /// What the next life needs of them.
    pub(super) fn memory(&self) -> ProxiesMemory {
        ProxiesMemory {
            newest: self.newest.memory(),
            next: self.next.as_ref().map(Proxy::memory),
            older: self.older.iter().map(Proxy::memory).collect(),
            last: self.last,
        }
    }

    /// Those of an earlier life, each without its process yet. One that was on trial when that life ended has nobody any
    /// more who wants it: it drains, as it may have been let accept.
    pub(super) fn recall(memory: ProxiesMemory, now: Now) -> Self {
        let older = memory.next.into_iter().chain(memory.older);
        Self {
            newest: Proxy::recall(memory.newest, now),
            older: older.map(|one| Proxy::recall(one, now)).collect(),
            last: memory.last,
            ..Self::new()
        }
    }

    /// Makes room for the next one, which is started once only; its number.
    pub(super) fn prepare_next(&mut self) -> u32 {
        self.last += 1;
        self.next = Some(Proxy::new(self.last, Pace::ROLE, true));
        self.last
    }

    /// The next one is the newest, and kept up, from now on; the one before it drains. A newest that had ended is forgotten.
    pub(super) fn promote(&mut self) {
        let Some(mut next) = self.next.take() else { return };
        next.role.worker.keep_up(PATIENCE);
        let before = std::mem::replace(&mut self.newest, next);
        if before.role.child.is_some() {
            before.role.send(ToProxy::Retire, Vec::new());
            let sound = matches!(before.role.worker.phase(), Phase::Starting | Phase::Running);
            self.older.push(before);
            if !sound && let Some(before) = self.older.last_mut() {
                before.condemn("it was being ended already");
            }
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Proxy> {
        std::iter::once(&self.newest).chain(&self.next).chain(&self.older)
    }

    pub(super) fn get(&self, number: u32) -> Option<&Proxy> {
        self.all().find(|proxy| proxy.number == number)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Proxy> {
        let mut all = std::iter::once(&mut self.newest).chain(&mut self.next).chain(&mut self.older);
        all.find(|proxy| proxy.number == number)
    }

    pub(super) fn is_newest(&self, number: u32) -> bool {
        self.newest.number == number
    }

    pub(super) fn is_next(&self, number: u32) -> bool {
        self.next.as_ref().is_some_and(|next| next.number == number)
    }

    /// Whether any process is left.
    pub(super) fn any_alive(&self) -> bool {
        self.all().any(|proxy| proxy.role.child.is_some())
    }

    pub(super) fn kill_all(&self) {
        self.all().for_each(Proxy::kill);
    }

    /// The posts whose machines decide about them: older ones are not kept up, and end when they end.
    pub(super) fn supervised(&self) -> impl Iterator<Item = &Proxy> {
        std::iter::once(&self.newest).chain(&self.next)
    }

    /// When an older one has owed an epoch for too long, and which.
    pub(super) fn overdue(&self) -> impl Iterator<Item = (Now, u32)> {
        let waited_for = self.older.iter().filter(|proxy| !proxy.facts.condemned);
        waited_for.filter_map(|proxy| Some((self.accord.overdue_at(proxy.number, OVERDUE)?, proxy.number)))
    }

    /// Those that drain, as `status` shows them.
    pub(super) fn draining(&self) -> Vec<Draining> {
        let shown = |proxy: &Proxy| {
            Some(Draining { pid: proxy.role.child.as_ref()?.pid, connections: proxy.facts.connections })
        };
        self.older.iter().filter_map(shown).collect()
    }
}

impl Proxy {
    fn new(number: u32, pace: Pace, exits_are_final: bool) -> Self {
        let role = Role::new(Post::Proxy(number), Worker::new(settings(number, pace, exits_are_final)));
        Self { number, role, facts: Facts::default() }
    }

    fn memory(&self) -> ProxyMemory {
        ProxyMemory { number: self.number, started: self.facts.started, role: self.role.memory() }
    }

    fn recall(memory: ProxyMemory, now: Now) -> Self {
        let ProxyMemory { number, started, role } = memory;
        let worker = Worker::recall(settings(number, Pace::ROLE, false), role.worker, now);
        let facts =
            Facts { started, ready: worker.phase() == Phase::Running, heard: Some(Instant::now()), ..Facts::default() };
        Self { number, role: Role::new(Post::Proxy(number), worker), facts }
    }

    /// Ends one that drains, before its last connection has ended.
    pub(super) fn condemn(&mut self, reason: &str) {
        let pid = self.role.child.as_ref().map(|child| child.pid);
        tracing::warn!(pid, connections = self.facts.connections, reason, "an older proxy is ended");
        self.facts.condemned = true;
        self.kill();
    }

    pub(super) fn kill(&self) {
        if let Some(child) = &self.role.child {
            child.signal(libc::SIGKILL);
        }
    }
}

fn settings(number: u32, pace: Pace, exits_are_final: bool) -> Settings {
    Settings {
        start_timeout: PATIENCE,
        stop_timeout: PATIENCE,
        failures: 1,
        seed: u64::from(number),
        exits_are_final,
        pace,
    }
}
