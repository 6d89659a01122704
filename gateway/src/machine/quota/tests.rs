use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> TenantName {
    text.parse().unwrap()
}

fn at(seconds: f64) -> Now {
    Now(Duration::from_secs_f64(seconds))
}

fn seen(tenant: &str, limit: Option<u64>, runs: bool) -> Event {
    Event::Seen { tenant: name(tenant), limit, runs }
}

fn counted(tenant: &str, used: u64, took_ms: u64) -> Event {
    Event::Counted { tenant: name(tenant), used, whole: true, took: Duration::from_millis(took_ms) }
}

const DONE: Event = Event::Ended { hung: false };

/// A tenant that was just counted to `used` of 1000 at second 0.
fn house(used: u64, took_ms: u64, runs: bool) -> Quota {
    let mut quota = Quota::default();
    assert_eq!(quota.on(seen("acme", Some(1000), runs), at(0.0)), []);
    assert_eq!(quota.deadline(), Some(at(0.0)));
    assert_eq!(quota.on(Event::Timer, at(0.0)), [Action::Count(vec![name("acme")])]);
    quota.on(counted("acme", used, took_ms), at(0.0));
    assert_eq!(quota.on(DONE, at(0.0)), []);
    quota
}

#[test]
fn who_is_counted_when() {
    for (what, used, took_ms, runs, due) in [
        ("far from its limit", 100, 1, true, Some(60.0)),
        ("near it", 700, 1, true, Some(10.0)),
        ("near it, and dear", 700, 1000, true, Some(50.0)),
        ("dear beyond that", 100, 45_000, true, Some(2250.0)),
        ("what does not run cannot write", 700, 1, false, None),
        ("but somebody may make room for it", 900, 1, false, Some(60.0)),
    ] {
        assert_eq!(house(used, took_ms, runs).deadline(), due.map(at), "{what}");
    }
    let mut quota = Quota::default();
    quota.on(seen("acme", None, true), at(0.0));
    quota.on(Event::Timer, at(0.0));
    quota.on(counted("acme", 1 << 40, 1), at(0.0));
    quota.on(DONE, at(0.0));
    assert_eq!(quota.deadline(), Some(at(300.0)), "without a limit, for whoever looks");
}

#[test]
fn what_has_run_is_counted_once_more_and_then_rests() {
    let mut quota = house(100, 1, false);
    assert_eq!(quota.on(seen("acme", Some(1000), true), at(5.0)), []);
    quota.on(seen("acme", Some(1000), false), at(6.0));
    assert_eq!(quota.deadline(), Some(at(60.0)));
    assert_eq!(quota.on(Event::Timer, at(60.0)), [Action::Count(vec![name("acme")])]);
    quota.on(counted("acme", 120, 1), at(60.0));
    quota.on(DONE, at(60.0));
    assert_eq!(quota.deadline(), None);

    // One that ran while it was counted may have written behind the counter's back.
    let mut quota = house(100, 1, true);
    quota.on(seen("acme", Some(1000), false), at(1.0));
    assert_eq!(quota.deadline(), Some(at(60.0)));
}

#[test]
fn a_state_ends_lower_than_it_begins() {
    let mut quota = house(0, 1, true);
    let mut state = Fill::Ok;
    for (used, expected) in [
        (799, Fill::Ok),
        (800, Fill::Warn),
        (760, Fill::Warn),
        (750, Fill::Warn),
        (749, Fill::Ok),
        (790, Fill::Ok),
        (1000, Fill::Full),
        (960, Fill::Full),
        (950, Fill::Full),
        (949, Fill::Warn),
        (999, Fill::Warn),
        (5000, Fill::Full),
        (10, Fill::Ok),
    ] {
        let told = quota.on(counted("acme", used, 1), at(1.0));
        let before = Some(state).filter(|before| *before != expected);
        let storage = Storage { used, limit: Some(1000), state: expected };
        let tell = Action::Tell { tenant: name("acme"), storage, before };
        if before.is_some() {
            assert!(told.contains(&tell), "{used}: {told:?}");
        }
        assert_eq!(quota.storage(&name("acme")), Some(storage));
        state = expected;
    }
}

#[test]
fn another_limit_is_judged_at_once_and_part_of_a_folder_is_no_relief() {
    let mut quota = house(1000, 1, true);
    let state = |quota: &Quota| quota.storage(&name("acme")).unwrap().state;
    assert_eq!(state(&quota), Fill::Full);
    let told = quota.on(seen("acme", Some(1040), true), at(1.0));
    assert!(matches!(&told[..], [Action::Tell { before: Some(Fill::Full), .. }]), "{told:?}");
    assert_eq!(state(&quota), Fill::Warn);
    quota.on(seen("acme", Some(900), true), at(2.0));
    let part = Event::Counted { tenant: name("acme"), used: 10, whole: false, took: Duration::from_secs(45) };
    quota.on(part, at(3.0));
    assert_eq!(quota.storage(&name("acme")), Some(Storage { used: 1000, limit: Some(900), state: Fill::Full }));
    quota.on(seen("acme", None, true), at(4.0));
    assert_eq!(state(&quota), Fill::Ok);
}

#[test]
fn who_asks_is_told_as_soon_as_the_cost_allows() {
    let mut quota = house(100, 200, false);
    assert_eq!(quota.deadline(), None);
    quota.on(Event::Asked, at(1.0));
    assert_eq!(quota.deadline(), Some(at(10.0)), "fifty times as long as the last count took");
    assert_eq!(quota.on(Event::Timer, at(10.0)), [Action::Count(vec![name("acme")])]);
    quota.on(counted("acme", 100, 1), at(10.0));
    quota.on(DONE, at(10.0));
    assert_eq!(quota.deadline(), None, "once");
    quota.on(seen("acme", Some(2000), false), at(20.0));
    assert_eq!(quota.deadline(), Some(at(10.05)), "another limit asks too");
}

#[test]
fn what_an_earlier_life_counted_holds_until_it_is_counted_anew() {
    let mut quota = Quota::default();
    quota.on(seen("acme", Some(1000), true), at(0.0));
    quota.on(Event::Remembered { tenant: name("acme"), used: 1000 }, at(0.0));
    assert_eq!(quota.storage(&name("acme")).unwrap().state, Fill::Full);
    quota.on(counted("acme", 960, 1), at(0.1));
    assert_eq!(quota.storage(&name("acme")).unwrap().state, Fill::Full, "for it was full");
    quota.on(Event::Remembered { tenant: name("acme"), used: 1 }, at(0.2));
    assert_eq!(quota.storage(&name("acme")).unwrap().used, 960);
}

#[test]
fn one_folder_that_hangs_the_counter_does_not_keep_the_others_from_it() {
    let mut quota = Quota::default();
    quota.on(seen("a", Some(1000), true), at(0.0));
    assert_eq!(quota.on(Event::Timer, at(0.0)), [Action::Count(vec![name("a")])]);
    for tenant in ["b", "c", "d"] {
        quota.on(seen(tenant, Some(1000), true), at(0.0));
        assert_eq!(quota.on(Event::Timer, at(0.0)), [], "one order at a time");
    }
    quota.on(counted("a", 1, 1), at(0.0));
    assert_eq!(quota.on(DONE, at(0.0)), [Action::Count(["b", "c", "d"].map(name).to_vec())]);
    quota.on(counted("b", 1, 1), at(1.0));
    assert_eq!(quota.on(Event::Ended { hung: true }, at(30.0)), [Action::Count(vec![name("d")])]);
    // A counter that cannot be started at all is not tried again in a circle.
    assert_eq!(quota.on(DONE, at(30.0)), []);
    assert!(quota.deadline() >= Some(at(60.0)));
}

#[test]
fn many_dear_ones_share_one_fiftieth_of_a_core() {
    let mut quota = Quota::default();
    for nth in 0..100 {
        quota.on(seen(&format!("t{nth}"), Some(1000), true), at(0.0));
    }
    let mut now = 0.0;
    let mut spent = 0.0;
    let mut waiting: Vec<TenantName> = Vec::new();
    while now < 10_000.0 {
        for tenant in std::mem::take(&mut waiting) {
            (now, spent) = (now + 0.5, spent + 0.5);
            quota.on(Event::Counted { tenant, used: 1, whole: true, took: Duration::from_millis(500) }, at(now));
        }
        let mut actions = quota.on(DONE, at(now));
        if actions.is_empty() {
            now = now.max(quota.deadline().unwrap().0.as_secs_f64());
            actions = quota.on(Event::Timer, at(now));
        }
        for action in actions {
            if let Action::Count(names) = action {
                waiting = names;
            }
        }
    }
    // The first round knows no cost.
    let share = (spent - 50.0) / now;
    assert!((0.01..0.021).contains(&share), "{share}");
}

proptest! {
    /// Whatever happens: one order at a time; every answer is judged as its figure asks; who runs is counted again in its
    /// time, and no sooner than its cost allows, nor soon after the last count unless its limit is another one since.
    #[test]
    fn any_life(steps in prop::collection::vec((0u8..6, 0usize..4, 0u64..2000, 0u64..3000, any::<bool>()), 1..200)) {
        let names = ["a", "b", "c", "d"].map(name);
        let mut quota = Quota::default();
        let mut now = Now::default();
        let mut order: Option<Vec<TenantName>> = None;
        let mut last: BTreeMap<TenantName, (Now, Duration)> = BTreeMap::new();
        let mut asked: BTreeSet<TenantName> = BTreeSet::new();
        for (what, who, used, ms, flag) in steps {
            now = now + Duration::from_millis(ms * 20);
            let tenant = names[who].clone();
            let awaited = order.as_ref().and_then(|names| names.first().cloned());
            let (event, answered) = match (what, awaited) {
                (0 | 1, _) => (Event::Seen { tenant: tenant.clone(), limit: flag.then_some(1000), runs: ms % 2 == 0 }, None),
                (2, _) => (Event::Gone { tenant: tenant.clone() }, None),
                (3 | 4, Some(tenant)) => {
                    order.as_mut().unwrap().remove(0);
                    let took = Duration::from_millis(ms);
                    // An answer about one that has gone meanwhile is about nobody.
                    if quota.tenants.contains_key(&tenant) {
                        last.insert(tenant.clone(), (now, took));
                    }
                    (Event::Counted { tenant: tenant.clone(), used, whole: true, took }, Some(tenant))
                }
                (5, Some(_)) if order.is_some() => { order = None; last.clear(); (Event::Ended { hung: flag }, None) }
                (_, None) if order.is_some() => { order = None; (Event::Ended { hung: false }, None) }
                _ => (Event::Timer, None),
            };
            match &event {
                Event::Gone { tenant } => drop(last.remove(tenant)),
                Event::Seen { tenant, limit, .. } if *limit != quota.tenants.get(tenant).and_then(|it| it.limit) => {
                    asked.insert(tenant.clone());
                }
                _ => {}
            }
            for action in quota.on(event, now) {
                if let Action::Count(names) = action {
                    prop_assert!(order.is_none(), "two orders at once");
                    prop_assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
                    for name in &names {
                        if let Some((ended, took)) = last.get(name) {
                            prop_assert!(now.since(*ended) + Duration::from_millis(1) >= *took * REST * 9 / 10, "too soon");
                            prop_assert!(asked.contains(name) || now.since(*ended) >= NEAR * 9 / 10, "too often");
                        }
                        asked.remove(name);
                    }
                    order = Some(names);
                }
            }
            prop_assert_eq!(quota.deadline().is_none() || order.is_none(), true);
            if let Some(storage) = answered.and_then(|tenant| quota.storage(&tenant)) {
                let limit = storage.limit.unwrap_or(u64::MAX);
                prop_assert!(storage.state == Fill::Full || storage.used < limit);
                prop_assert!(storage.state != Fill::Full || storage.percent() >= 95);
                prop_assert!(storage.state != Fill::Ok || storage.limit.is_none() || storage.percent() < 80);
                prop_assert!(storage.state == Fill::Ok || storage.percent() >= 75);
            }
        }
        // Whoever runs is counted when its time has come.
        if order.is_some() {
            quota.on(Event::Ended { hung: false }, now);
        }
        quota.on(Event::Seen { tenant: names[0].clone(), limit: None, runs: true }, now);
        prop_assert!(quota.deadline().is_some() || quota.under_way);
    }
}
