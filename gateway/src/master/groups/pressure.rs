//! What the kernel counts in tenants' groups: processes that it ended for want of memory, and forks that it refused.
//!
//! A worker that ends so is told by its end. Whatever else was ended or refused is told once it is over, and seldom: whoever
//! runs against a wall does so a thousand times a second.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    machine::Now,
    model::TenantName,
    sys::cgroup::{Group, Watch},
};

/// Within which the end of a worker explains what was counted.
const SETTLE: Duration = Duration::from_secs(1);
/// Between two lines about one tenant.
const SELDOM: Duration = Duration::from_secs(10);

/// All that is watched.
#[derive(Default)]
pub(super) struct Pressure {
    tenants: BTreeMap<TenantName, Watched>,
    watches: BTreeMap<Watch, TenantName>,
}

/// How often something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Processes ended for want of memory.
    pub(super) killed: u64,
    /// Forks refused.
    pub(super) refused: u64,
}

struct Watched {
    /// What was told already.
    told: Counts,
    due: Option<Now>,
    quiet_until: Now,
}

impl Pressure {
    pub(super) fn knows(&self, name: &TenantName) -> bool {
        self.tenants.contains_key(name)
    }

    /// What was counted before is not told any more.
    pub(super) fn watch(&mut self, name: TenantName, group: &Group, watches: Vec<Watch>) {
        self.watches.extend(watches.into_iter().map(|watch| (watch, name.clone())));
        self.tenants.insert(name, Watched { told: Counts::of(group), due: None, quiet_until: Now::default() });
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.watches.retain(|_, of| of.as_str() != name);
        self.tenants.retain(|of, _| of.as_str() != name);
    }

    /// Whether a process was ended for want of memory since the last look. That one is told now.
    pub(super) fn killed(&mut self, name: &TenantName, group: &Group) -> bool {
        let Some(watched) = self.tenants.get_mut(name) else { return false };
        let killed = Counts::of(group).killed;
        std::mem::replace(&mut watched.told.killed, killed) < killed
    }

    pub(super) fn pressed(&mut self, watch: Watch, now: Now) {
        let watched = self.watches.get(&watch).and_then(|name| self.tenants.get_mut(name));
        if let Some(watched) = watched {
            watched.due.get_or_insert((now + SETTLE).max(watched.quiet_until));
        }
    }

    pub(super) fn deadline(&self) -> Option<Now> {
        self.tenants.values().filter_map(|watched| watched.due).min()
    }

    /// What was counted since it was told last, by those whose time has come.
    pub(super) fn news(&mut self, now: Now, group: impl Fn(&TenantName) -> Group) -> Vec<(TenantName, Counts)> {
        let due = self.tenants.iter_mut().filter(|(_, watched)| watched.due.is_some_and(|due| due <= now));
        let news = due.map(|(name, watched)| {
            let counted = Counts::of(&group(name));
            let news = counted.since(watched.told);
            (watched.told, watched.due) = (counted, None);
            if news != Counts::default() {
                watched.quiet_until = now + SELDOM;
            }
            (name.clone(), news)
        });
        news.collect()
    }
}

impl Counts {
    fn of(group: &Group) -> Self {
        let number = |file, key| group.number(file, key).unwrap_or_default();
        Self { killed: number("memory.events", "oom_kill"), refused: number("pids.events", "max") }
    }

    fn since(self, told: Self) -> Self {
        Self { killed: self.killed.saturating_sub(told.killed), refused: self.refused.saturating_sub(told.refused) }
    }
}
