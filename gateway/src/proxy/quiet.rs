//! Who of those that may sleep is not used by anybody: told after a second, and taken back when somebody comes.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{forward::gate::Use, routes::Table};
use crate::{model::GenerationId, wire::FromProxy};

/// Shorter pauses are not worth a word.
const SECOND: Duration = Duration::from_secs(1);

/// Every generation that serves a tenant that may sleep, as the last look saw it.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    watched: HashMap<GenerationId, Watched>,
}

#[derive(Debug)]
struct Watched {
    used: Use,
    /// The last look at which somebody was there, or had been since the look before.
    last: Instant,
    told: bool,
}

impl Quiet {
    /// Watches what a new table serves, and nothing else. What is not served any more is as good as used: visitors may be
    /// waiting for it, and if it is ever served again, its second begins then.
    pub(crate) fn apply(&mut self, table: &Table, now: Instant) -> Vec<FromProxy> {
        let mut before = std::mem::take(&mut self.watched);
        for (backend, _) in table.sleepers() {
            let generation = backend.generation;
            let fresh = || Watched { used: backend.gate.used(), last: now, told: false };
            self.watched.insert(generation, before.remove(&generation).unwrap_or_else(fresh));
        }
        let told = before.into_iter().filter(|(_, watched)| watched.told);
        told.map(|(generation, _)| FromProxy::Busy { generation }).collect()
    }

    /// Looks at all of them; what is to be told.
    pub(crate) fn look(&mut self, table: &Table, now: Instant) -> Vec<FromProxy> {
        let mut news = Vec::new();
        for (backend, held) in table.sleepers() {
            let generation = backend.generation;
            let Some(watched) = self.watched.get_mut(&generation) else { continue };
            let used = backend.gate.used();
            if used.inside > 0 || used.entered != watched.used.entered || held.waiting() > 0 {
                (watched.used, watched.last) = (used, now);
                if std::mem::take(&mut watched.told) {
                    news.push(FromProxy::Busy { generation });
                }
            } else if !watched.told && now.saturating_duration_since(watched.last) >= SECOND {
                watched.told = true;
                news.push(watched.quiet(generation, now));
            }
        }
        news
    }

    /// All that is quiet, for a master that knows nothing.
    pub(crate) fn known(&self, now: Instant) -> Vec<FromProxy> {
        let told = self.watched.iter().filter(|(_, watched)| watched.told);
        told.map(|(generation, watched)| watched.quiet(*generation, now)).collect()
    }
}

impl Watched {
    fn quiet(&self, generation: GenerationId, now: Instant) -> FromProxy {
        let quiet = now.saturating_duration_since(self.last).as_millis();
        FromProxy::Quiet { generation, for_ms: u64::try_from(quiet).unwrap_or(u64::MAX) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        model::{BackendAddress, RouteTable, Serving},
        proxy::routes::{Routes, tests as make},
    };

    const GENERATION: GenerationId = GenerationId(1);

    /// A house with one tenant, watched from its first table on.
    struct House {
        routes: Routes,
        quiet: Quiet,
        begin: Instant,
    }

    impl House {
        fn new() -> Self {
            let mut house = Self { routes: Routes::new(2), quiet: Quiet::default(), begin: Instant::now() };
            assert_eq!(house.table(Serving::Serve { generation: GENERATION }, true, 0), []);
            house
        }

        fn table(&mut self, serving: Serving, sleeps: bool, at: u64) -> Vec<FromProxy> {
            let mut acme = make::tenant("acme", &["acme.localhost"], serving);
            acme.backends = vec![make::backend(1, BackendAddress::Tcp(([127, 0, 0, 1], 1).into()), true)];
            acme.sleeps = sleeps;
            let table = self.routes.apply(RouteTable { epoch: at + 1, tenants: vec![acme] });
            self.quiet.apply(&table, self.at(at))
        }

        fn at(&self, millis: u64) -> Instant {
            self.begin + Duration::from_millis(millis)
        }

        fn look(&mut self, at: u64) -> Vec<FromProxy> {
            let (table, now) = (self.routes.current(), self.at(at));
            self.quiet.look(&table, now)
        }

        fn backend(&self) -> Arc<crate::proxy::routes::Backend> {
            Arc::clone(&self.routes.current().backends().next().unwrap().0)
        }
    }

    fn quiet(for_ms: u64) -> Vec<FromProxy> {
        vec![FromProxy::Quiet { generation: GENERATION, for_ms }]
    }

    fn busy() -> Vec<FromProxy> {
        vec![FromProxy::Busy { generation: GENERATION }]
    }

    #[test]
    fn a_second_without_anybody_is_told_once_and_taken_back_once() {
        let mut house = House::new();
        assert_eq!(house.look(900), []);
        assert_eq!(house.look(1000), quiet(1000));
        assert_eq!(house.look(5000), [], "told already");
        assert_eq!(house.quiet.known(house.at(7000)), quiet(7000), "another master is told all of it");
        let gate = house.backend();
        assert!(gate.gate.enter(1));
        gate.gate.leave(1);
        assert_eq!(house.look(8000), busy(), "it came and went between two looks");
        assert!(house.quiet.known(house.at(8000)).is_empty());
        assert_eq!((house.look(8100), house.look(8999)), (vec![], vec![]));
        assert_eq!(house.look(9000), quiet(1000));
    }

    #[test]
    fn what_is_in_flight_and_who_is_held_keeps_it_in_use() {
        let mut house = House::new();
        let backend = house.backend();
        assert!(backend.gate.enter(0));
        assert_eq!(house.look(60_000), [], "a minute's download, or a tunnel");
        backend.gate.leave(0);
        assert_eq!(house.look(60_900), [], "counted from the last look that saw it");
        assert_eq!(house.look(61_000), quiet(1000));
        let held = Arc::clone(house.routes.current().sleepers().next().unwrap().1);
        let place = held.take();
        assert_eq!(house.look(61_100), busy());
        assert_eq!(house.look(70_000), []);
        drop(place);
        assert_eq!(house.look(71_000), quiet(1000));
    }

    #[test]
    fn what_is_not_served_or_never_sleeps_is_not_told() {
        let mut house = House::new();
        assert_eq!(house.look(1000), quiet(1000));
        assert_eq!(house.table(Serving::Hold, true, 1100), busy(), "visitors may be waiting");
        assert_eq!(house.look(9000), []);
        assert_eq!(house.table(Serving::Serve { generation: GENERATION }, true, 9000), []);
        assert_eq!(house.look(9900), [], "its second begins with being served");
        assert_eq!(house.look(10_000), quiet(1000));
        assert_eq!(house.table(Serving::Serve { generation: GENERATION }, true, 10_050), [], "the same as before");
        assert_eq!(house.table(Serving::Serve { generation: GENERATION }, false, 10_100), busy());
        assert_eq!(house.look(20_000), []);
    }
}
