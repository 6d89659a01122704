//! What several proxies agree on: a table counts as applied, and a generation as idle or quiet, when every one of them has
//! said so.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::Now;
use crate::model::GenerationId;

/// Every proxy that may route a request now, and what it has told. Proxies are numbered by their owner.
#[derive(Clone, Debug, Default)]
pub struct Accord {
    members: BTreeMap<u32, Member>,
}

#[derive(Clone, Debug, Default)]
struct Member {
    /// The newest epoch that it was told.
    told: u64,
    /// The newest epoch that all its cores route by.
    applied: u64,
    /// Since when an epoch that it was told waits to be applied.
    owes: Option<Now>,
    /// The closed gates that were idle by the table it routes by. After each table it tells all of them again.
    idle: BTreeSet<GenerationId>,
    /// The open gates that nobody uses, and since when.
    quiet: BTreeMap<GenerationId, Now>,
}

impl Accord {
    /// A proxy that may route from now on, was told `told` last and routes by `applied`. It replaces what was known of this
    /// number: a process that is started again has said nothing yet.
    pub fn join(&mut self, proxy: u32, told: u64, applied: u64, now: Now) {
        let owes = (applied < told).then_some(now);
        self.members.insert(proxy, Member { told, applied, owes, ..Member::default() });
    }

    /// It routes no more. Whoever waited for it alone need not wait longer: see [`Accord::applied`] and [`Accord::all_idle`].
    pub fn leave(&mut self, proxy: u32) {
        self.members.remove(&proxy);
    }

    /// A table is told to everybody.
    pub fn told(&mut self, epoch: u64, now: Now) {
        for member in self.members.values_mut() {
            member.told = epoch;
            member.owes.get_or_insert(now);
        }
    }

    /// A proxy routes by this epoch. What it said about idle gates was said of an earlier table.
    pub fn on_applied(&mut self, proxy: u32, epoch: u64) {
        let Some(member) = self.members.get_mut(&proxy) else { return };
        member.applied = epoch;
        member.idle.clear();
        if epoch >= member.told {
            member.owes = None;
        }
    }

    /// A proxy has nothing in flight for this generation. Whether nobody has.
    pub fn on_idle(&mut self, proxy: u32, generation: GenerationId) -> bool {
        let Some(member) = self.members.get_mut(&proxy) else { return false };
        member.idle.insert(generation);
        self.members.values().all(|member| member.idle.contains(&generation))
    }

    /// Nobody has used a generation over this proxy since then.
    pub fn on_quiet(&mut self, proxy: u32, generation: GenerationId, since: Now) {
        if let Some(member) = self.members.get_mut(&proxy) {
            member.quiet.insert(generation, since);
        }
    }

    /// Somebody uses a generation over this proxy, or waits for it.
    pub fn on_busy(&mut self, proxy: u32, generation: GenerationId) {
        if let Some(member) = self.members.get_mut(&proxy) {
            member.quiet.remove(&generation);
        }
    }

    /// Since when nobody has used a generation over any proxy; `None`: somebody does, or nobody knows.
    pub fn quiet_since(&self, generation: GenerationId) -> Option<Now> {
        let each = self.members.values().map(|member| member.quiet.get(&generation).copied());
        // A proxy that has said nothing makes all of it nothing.
        each.collect::<Option<Vec<Now>>>()?.into_iter().max()
    }

    /// A generation is gone.
    pub fn forget(&mut self, generation: GenerationId) {
        for member in self.members.values_mut() {
            member.quiet.remove(&generation);
        }
    }

    /// Whether no proxy routes at all.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The newest epoch that everybody routes by; `None`: there is nobody.
    pub fn applied(&self) -> Option<u64> {
        self.members.values().map(|member| member.applied).min()
    }

    /// Every generation that is idle with everybody.
    pub fn all_idle(&self) -> Vec<GenerationId> {
        let mut members = self.members.values();
        let Some(first) = members.next() else { return Vec::new() };
        let rest: Vec<&Member> = members.collect();
        first.idle.iter().copied().filter(|it| rest.iter().all(|member| member.idle.contains(it))).collect()
    }

    /// When `proxy` will have owed an epoch for so long.
    pub fn overdue_at(&self, proxy: u32, patience: Duration) -> Option<Now> {
        Some(self.members.get(&proxy)?.owes? + patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn at(millis: u64) -> Now {
        Now(Duration::from_millis(millis))
    }

    fn g(number: u64) -> GenerationId {
        GenerationId(number)
    }

    #[test]
    fn a_table_is_applied_when_the_last_one_has_applied_it() {
        let mut accord = Accord::default();
        assert!(accord.is_empty() && accord.applied().is_none());
        accord.join(1, 5, 0, at(0));
        assert_eq!(accord.applied(), Some(0));
        accord.on_applied(1, 5);
        accord.join(2, 5, 5, at(0));
        accord.told(6, at(10));
        accord.on_applied(2, 6);
        assert_eq!(accord.applied(), Some(5), "one routes by the older table");
        accord.on_applied(3, 7);
        assert_eq!(accord.applied(), Some(5), "a stranger counts for nothing");
        accord.leave(1);
        assert_eq!(accord.applied(), Some(6), "the slow one has ended");
        accord.join(2, 6, 0, at(20));
        assert_eq!(accord.applied(), Some(0), "started again, it has applied nothing");
    }

    #[test]
    fn a_generation_is_idle_when_everybody_says_so_of_its_present_table() {
        let mut accord = Accord::default();
        accord.join(1, 1, 1, at(0));
        accord.join(2, 1, 1, at(0));
        assert!(!accord.on_idle(1, g(7)));
        assert!(accord.on_idle(2, g(7)) && accord.on_idle(2, g(7)));
        assert_eq!(accord.all_idle(), [g(7)]);
        accord.told(2, at(1));
        accord.on_applied(2, 2);
        assert!(accord.all_idle().is_empty(), "what it said was about the table before");
        assert!(!accord.on_idle(1, g(7)));
        assert!(accord.on_idle(2, g(7)));
        assert!(!accord.on_idle(3, g(7)), "nobody knows this one");
    }

    #[test]
    fn the_end_of_the_last_busy_one_leaves_the_others_word() {
        let mut accord = Accord::default();
        for proxy in 1..=3 {
            accord.join(proxy, 1, 1, at(0));
        }
        for (proxy, generation) in [(1, 7), (1, 8), (2, 7), (2, 9), (2, 8)] {
            assert!(!accord.on_idle(proxy, g(generation)), "3 has said nothing");
        }
        accord.leave(3);
        assert_eq!(accord.all_idle(), [g(7), g(8)]);
        accord.leave(2);
        accord.leave(1);
        assert!(accord.all_idle().is_empty() && accord.is_empty());
    }

    #[test]
    fn a_generation_is_quiet_since_the_last_of_all_has_used_it() {
        let mut accord = Accord::default();
        assert_eq!(accord.quiet_since(g(7)), None, "nobody knows");
        accord.join(1, 1, 1, at(0));
        accord.join(2, 1, 1, at(0));
        accord.on_quiet(1, g(7), at(100));
        assert_eq!(accord.quiet_since(g(7)), None, "2 has not said so");
        accord.on_quiet(2, g(7), at(50));
        accord.on_quiet(3, g(7), at(900));
        assert_eq!((accord.quiet_since(g(7)), accord.quiet_since(g(8))), (Some(at(100)), None));
        accord.on_applied(1, 2);
        assert_eq!(accord.quiet_since(g(7)), Some(at(100)), "it does not hang on a table");
        accord.on_busy(1, g(7));
        assert_eq!(accord.quiet_since(g(7)), None);
        accord.leave(1);
        assert_eq!(accord.quiet_since(g(7)), Some(at(50)), "whoever it was busy with has gone with the proxy");
        accord.join(2, 2, 0, at(200));
        assert_eq!(accord.quiet_since(g(7)), None, "started again, it has said nothing");
        accord.on_quiet(2, g(7), at(300));
        accord.forget(g(7));
        assert_eq!(accord.quiet_since(g(7)), None);
    }

    #[test]
    fn an_epoch_is_owed_from_when_the_first_unapplied_one_was_told() {
        let mut accord = Accord::default();
        accord.join(1, 1, 1, at(0));
        assert_eq!(accord.overdue_at(1, PATIENCE), None);
        accord.told(2, at(100));
        accord.told(3, at(1_900));
        assert_eq!(accord.overdue_at(1, PATIENCE), Some(at(2_100)));
        accord.on_applied(1, 2);
        assert_eq!(accord.overdue_at(1, PATIENCE), Some(at(2_100)), "the newest is still owed");
        accord.on_applied(1, 3);
        assert_eq!(accord.overdue_at(1, PATIENCE), None);
        accord.told(4, at(5_000));
        assert_eq!(accord.overdue_at(1, PATIENCE), Some(at(7_000)));
        assert_eq!(accord.overdue_at(2, PATIENCE), None);
    }
}
