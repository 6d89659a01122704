//! Whose folder is counted when, and what the figures mean.
//!
//! Every tenant's is: those with `limits.storage` often, the others now and then, for whoever looks. What does not run
//! cannot write, so it is counted once after it has run, and then no more. All counts together take a fiftieth of one core at most:
//! a folder rests for fifty times as long as its last count took, and all rest longer where many are dear.

use std::{collections::BTreeMap, time::Duration};

use super::Now;
use crate::model::{Fill, Storage, TenantName};

/// Between two counts of a tenant that is near its limit.
pub const NEAR: Duration = Duration::from_secs(10);
/// Of one that has a limit.
pub const FAR: Duration = Duration::from_secs(60);
/// Of one that has none.
pub const UNBOUNDED: Duration = Duration::from_secs(300);
/// How many times as long as its count took a folder rests.
pub const REST: u32 = 50;
/// Folders in one order.
pub const AT_ONCE: usize = 1000;

/// Percent of the limit from which on a folder is counted more often.
const NEAR_FROM: u128 = 70;
/// Percent at which a warning begins, and below which it ends.
const WARN: (u128, u128) = (80, 75);
/// Percent at which a tenant is full, and below which it no longer is.
const FULL: (u128, u128) = (100, 95);
/// What a count that hung is taken to have cost.
const HUNG: Duration = Duration::from_secs(60);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A tenant as it is now. Told at each look, changed or not.
    Seen {
        /// Which.
        tenant: TenantName,
        /// `limits.storage`, bytes.
        limit: Option<u64>,
        /// Something of it runs, or has run since it was seen last.
        runs: bool,
    },
    /// What an earlier life has counted; it holds until it is counted anew.
    Remembered {
        /// Whose.
        tenant: TenantName,
        /// Bytes.
        used: u64,
    },
    /// Somebody wants to know: all are due, as soon as their cost allows.
    Asked,
    /// It is no tenant any more.
    Gone {
        /// Which.
        tenant: TenantName,
    },
    /// A folder of the order under way was counted.
    Counted {
        /// Whose.
        tenant: TenantName,
        /// Bytes.
        used: u64,
        /// Nothing was left out.
        whole: bool,
        /// How long it took.
        took: Duration,
    },
    /// The order is over; what was not counted by now is not.
    Ended {
        /// It had to be killed, over the first that was not counted.
        hung: bool,
    },
    /// `deadline()` has passed.
    Timer,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Count these, in this order, and tell `Ended` in any case. There is one order at a time.
    Count(Vec<TenantName>),
    /// The figures of a tenant changed enough to be told.
    Tell {
        /// Whose.
        tenant: TenantName,
        /// What is known now.
        storage: Storage,
        /// Its state before, where that was another one.
        before: Option<Fill>,
    },
}

/// The machine.
#[derive(Debug, Default)]
pub struct Quota {
    tenants: BTreeMap<TenantName, Subject>,
    /// What was ordered and not told yet, in the order's order. Empty and `under_way`: the end is awaited.
    awaited: Vec<TenantName>,
    under_way: bool,
    /// By how much all rest longer, percent.
    stretch: u32,
}

#[derive(Debug, Default)]
struct Subject {
    limit: Option<u64>,
    runs: bool,
    /// It may have written since its last count began.
    stale: bool,
    /// Its figure is wanted sooner than it would be.
    asked: bool,
    used: Option<u64>,
    fill: Fill,
    told: Option<Storage>,
    /// When it was counted, or tried to be.
    looked: Option<Now>,
    took: Duration,
}

impl Quota {
    /// What follows from an event.
    pub fn on(&mut self, event: Event, now: Now) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            Event::Seen { tenant, limit, runs } => {
                let subject = self.tenants.entry(tenant.clone()).or_default();
                (subject.runs, subject.stale) = (runs, subject.stale || runs);
                if std::mem::replace(&mut subject.limit, limit) != limit {
                    // Another limit is judged by itself, not by how the last one was come to.
                    subject.judge(Fill::Ok);
                    subject.asked = true;
                    out.extend(subject.tell(tenant));
                }
            }
            Event::Remembered { tenant, used } => {
                if let Some(subject) = self.tenants.get_mut(&tenant).filter(|subject| subject.used.is_none()) {
                    subject.used = Some(used);
                    subject.judge(subject.fill);
                    out.extend(subject.tell(tenant));
                }
            }
            Event::Asked => self.tenants.values_mut().for_each(|subject| subject.asked = true),
            Event::Gone { tenant } => drop(self.tenants.remove(&tenant)),
            Event::Counted { tenant, used, whole, took } => {
                self.awaited.retain(|name| *name != tenant);
                if let Some(subject) = self.tenants.get_mut(&tenant) {
                    // Part of it is no news of what was there before.
                    subject.used = Some(if whole { used } else { used.max(subject.used.unwrap_or(0)) });
                    (subject.took, subject.looked) = (took, Some(now));
                    subject.judge(subject.fill);
                    out.extend(subject.tell(tenant));
                }
            }
            Event::Ended { hung } => {
                self.end(hung, now);
                out.extend(self.order(now));
            }
            Event::Timer => out.extend(self.order(now)),
        }
        out
    }

    /// When to be told `Timer`.
    pub fn deadline(&self) -> Option<Now> {
        if self.under_way {
            return None;
        }
        self.tenants.values().filter_map(|subject| subject.due(self.stretch())).min()
    }

    /// What is known of a tenant.
    pub fn storage(&self, tenant: &TenantName) -> Option<Storage> {
        self.tenants.get(tenant)?.storage()
    }

    /// An order for all who are due, and for who soon will be: a counter is started once for many.
    fn order(&mut self, now: Now) -> Option<Action> {
        if self.under_way {
            return None;
        }
        let stretch = self.stretch();
        let due = |subject: &Subject| subject.due(stretch);
        self.tenants.values().any(|subject| due(subject).is_some_and(|at| at <= now)).then_some(())?;
        let soon = |subject: &Subject| due(subject).filter(|at| *at <= now + subject.interval(stretch) / 10);
        let mut names: Vec<_> = self.tenants.iter().filter_map(|(name, it)| Some((soon(it)?, name.clone()))).collect();
        names.sort();
        names.truncate(AT_ONCE);
        let names: Vec<_> = names.into_iter().map(|(_, name)| name).collect();
        for name in &names {
            if let Some(subject) = self.tenants.get_mut(name) {
                (subject.stale, subject.asked) = (subject.runs, false);
            }
        }
        self.awaited.clone_from(&names);
        self.under_way = true;
        Some(Action::Count(names))
    }

    fn end(&mut self, hung: bool, now: Now) {
        self.under_way = false;
        for (nth, name) in std::mem::take(&mut self.awaited).into_iter().enumerate() {
            let Some(subject) = self.tenants.get_mut(&name) else { continue };
            subject.stale = true;
            match (hung, nth) {
                // It was the one; the others can be counted without it.
                (true, 0) => (subject.looked, subject.took) = (Some(now), HUNG),
                (true, _) => {}
                (false, _) => subject.looked = Some(now),
            }
        }
        // At the most: one whose interval is nothing was asked for, and will be counted first.
        let share = |it: &Subject| it.took.as_secs_f64() / it.interval(100).max(NEAR).as_secs_f64();
        let load: f64 = self.tenants.values().filter(|subject| subject.runs).map(share).sum();
        // More than a million tenants' worth of it would be no machine.
        self.stretch = (load * f64::from(REST) * 100.0).clamp(100.0, 1e8) as u32;
    }

    fn stretch(&self) -> u32 {
        self.stretch.max(100)
    }
}

impl Subject {
    fn storage(&self) -> Option<Storage> {
        Some(Storage { used: self.used?, limit: self.limit, state: self.fill })
    }

    /// When it is to be counted; `None`: not as things are.
    fn due(&self, stretch: u32) -> Option<Now> {
        let Some(looked) = self.looked else { return Some(Now::default()) };
        // Who is short of room may be making some, even from outside.
        (self.runs || self.stale || self.asked || self.fill != Fill::Ok).then(|| looked + self.interval(stretch))
    }

    fn interval(&self, stretch: u32) -> Duration {
        let percent = |limit: u64| u128::from(self.used.unwrap_or(0)) * 100 / u128::from(limit.max(1));
        let base = match self.limit.map(percent) {
            _ if self.asked => Duration::ZERO,
            None => UNBOUNDED,
            Some(NEAR_FROM..) if self.runs => NEAR,
            Some(_) => FAR,
        };
        base.max(self.took.saturating_mul(REST)).saturating_mul(stretch) / 100
    }

    fn judge(&mut self, before: Fill) {
        self.fill = match (self.used, self.limit) {
            (Some(used), Some(limit)) => fill(before, used, limit),
            _ => Fill::Ok,
        };
    }

    /// Said when the state or the limit is another one, or the figure has moved by more than a breath.
    fn tell(&mut self, tenant: TenantName) -> Option<Action> {
        let storage = self.storage()?;
        let breath = storage.limit.map_or(1 << 20, |limit| limit / 64);
        if let Some(told) = self.told
            && (told.limit, told.state) == (storage.limit, storage.state)
            && told.used.abs_diff(storage.used) < breath.max(1)
        {
            return None;
        }
        let before = self.told.map_or(Fill::Ok, |told| told.state);
        self.told = Some(storage);
        Some(Action::Tell { tenant, storage, before: Some(before).filter(|before| *before != storage.state) })
    }
}

/// What `used` of `limit` means for one that was `before`.
fn fill(before: Fill, used: u64, limit: u64) -> Fill {
    let (part, whole) = (u128::from(used) * 100, u128::from(limit));
    let from = |(begin, end): (u128, u128), lasting: bool| part >= whole * if lasting { end } else { begin };
    if from(FULL, before == Fill::Full) {
        Fill::Full
    } else if from(WARN, before != Fill::Ok) {
        Fill::Warn
    } else {
        Fill::Ok
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
