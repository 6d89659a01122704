//! Tables: when a certificate is renewed, and what a limit lets through.

use jiff::SignedDuration;

use super::{at, domain, facts, zone};
use crate::{
    machine::{
        backoff::SplitMix64,
        issuance::{
            Facts, Ledger, Memory,
            budget::failures_full,
            span::{DAY, HOUR, MINUTE, SECOND, WEEK, later},
        },
    },
    model::RenewalAnswer,
};

#[test]
fn without_an_answer_it_is_the_middle_third_and_always_the_same_moment() {
    for life in [SECOND * 600, HOUR * 160, DAY * 90, DAY * 398] {
        let facts = facts(at(0), life);
        for nth in 0..50 {
            let subject = domain(&format!("c{nth}.example.org"));
            let moment = facts.renewal(&subject, None);
            assert!(moment >= later(at(0), life / 3) && moment <= later(at(0), life / 3 * 2), "{life:?}: {moment}");
            assert_eq!(moment, facts.renewal(&subject, None));
        }
    }
}

#[test]
fn a_window_is_drawn_from_once_and_never_later_than_a_sixth() {
    let facts = Facts { renewal_id: Some("id".to_owned()), ..facts(at(0), DAY * 60) };
    let answer = |from: i64, to: i64| RenewalAnswer {
        start: later(at(0), DAY * i32::try_from(from).unwrap()).as_second(),
        end: later(at(0), DAY * i32::try_from(to).unwrap()).as_second(),
        explanation_url: None,
        retry_after: std::time::Duration::from_secs(1),
    };
    for (seed, (from, to, earliest, latest)) in (0..).zip([(40, 42, 40, 42), (-9, -8, -9, -8), (55, 58, 50, 50)]) {
        let (mut memory, mut random) = (Memory::default(), SplitMix64::new(seed));
        assert!(memory.answered(&facts, &answer(from, to), &mut random, at(0)));
        let drawn = facts.renewal(&zone(), memory.window.as_ref());
        assert!(drawn >= later(at(0), DAY * earliest) && drawn <= later(at(0), DAY * latest), "{from}..{to}: {drawn}");
        assert!(!memory.answered(&facts, &answer(from, to), &mut random, at(5)), "the same window");
        assert_eq!(drawn, facts.renewal(&zone(), memory.window.as_ref()));
        assert_eq!(memory.ask_at, Some(later(at(5), MINUTE)), "not more often than every minute");
        memory.answered(&facts, &answer(2, 1), &mut random, at(9));
        assert_eq!(memory.ask_at, Some(later(at(9), HOUR * 6)), "a window that ends before it begins is none");
    }
}

#[test]
fn the_budget_is_300_and_one_every_36_seconds() {
    let mut ledger = Ledger::default();
    for _ in 0..300 {
        assert_eq!(ledger.orders_full(at(0)), None);
        ledger.order(at(0));
    }
    assert_eq!(ledger.orders_full(at(0)), Some(at(36)));
    assert_eq!(ledger.orders_full(at(36)), None);
    ledger.order(at(36));
    assert_eq!(ledger.orders_full(at(36)), Some(at(72)));
    assert_eq!(ledger.orders_full(at(3 * 3600 + 36)), None);
}

#[test]
fn three_of_a_set_in_a_week_and_two_more_in_need() {
    let mut ledger = Ledger::default();
    ledger.sets.insert("a".to_owned(), vec![at(0), at(10), at(20)]);
    let life = Some(DAY * 90);
    assert_eq!(ledger.set_full("a", life, false, at(30)), Some(later(at(0), WEEK)));
    assert_eq!(ledger.set_full("a", life, true, at(30)), None);
    assert_eq!(ledger.set_full("b", life, false, at(30)), None);
    assert_eq!(ledger.set_full("a", Some(SignedDuration::from_secs(600)), false, at(605)), None);
    ledger.prune(later(at(30), WEEK));
    assert!(ledger.sets.is_empty(), "what counts no more is dropped");
}

#[test]
fn four_failures_of_a_name_in_an_hour_and_two_of_a_wildcard_with_its_apex() {
    let tries = [at(0), at(60), at(660), at(700)];
    assert_eq!(failures_full(&tries[..3], 1, at(800)), None);
    assert_eq!(failures_full(&tries, 1, at(800)), Some(at(3600)));
    assert_eq!(failures_full(&tries[..1], 2, at(800)), None);
    assert_eq!(failures_full(&tries[..2], 2, at(800)), Some(at(3600)));
}
