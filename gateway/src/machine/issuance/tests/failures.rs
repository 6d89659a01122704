//! What each kind of failure means for the next try.

use std::{collections::BTreeSet, time::Duration};

use super::{at, domain, facts, failure};
use crate::{
    machine::issuance::{
        Action, Event, Facts, Issuance,
        span::{DAY, later},
    },
    model::{CertificateState, Failure, FailureKind as Kind, Finding, RenewalAnswer},
};

/// A machine whose one order has failed.
fn after(failure: Failure) -> Issuance {
    let (subject, mut machine) = (domain("www.example.org"), Issuance::new(7));
    machine.on(Event::Have(subject.clone(), None), at(0));
    machine.on(Event::Wanted(BTreeSet::from([subject.clone()])), at(0));
    assert!(machine.on(Event::RoleReady, at(0)).contains(&Action::Look(subject.clone())));
    let actions = machine.on(Event::Looked(subject.clone(), Finding::Ready(None)), at(0));
    assert!(actions.iter().any(|action| matches!(action, Action::Order { rotation: 0, replaces: None, .. })));
    assert_eq!(machine.view(&subject, at(0)).unwrap().state, CertificateState::Ordering);
    machine.on(Event::Failed(subject, failure), at(0));
    machine
}

#[test]
fn each_kind_has_its_wait_and_the_authority_the_last_word() {
    let table = [
        (Kind::Unreachable, 480, 720),
        (Kind::NameLimited, 3600, 3601),
        (Kind::AccountLimited, 3600, 3600),
        (Kind::Validation, 48, 72),
        (Kind::Refused, 34_560, 51_840),
        (Kind::Account, 43_200, 43_200),
        (Kind::Request, 34_560, 51_840),
        (Kind::Dns, 48, 72),
        (Kind::Cancelled, 60, 60),
    ];
    for (kind, shortest, longest) in table {
        let view = after(failure(kind)).view(&domain("www.example.org"), at(0)).unwrap();
        assert!(view.next_try >= Some(at(shortest)) && view.next_try <= Some(at(longest)), "{kind:?}: {view:?}");
        assert_eq!((view.state, view.failures), (CertificateState::Failed, 1), "{kind:?}");
        let told = Failure { retry_after: Some(Duration::from_secs(172_800)), ..failure(kind) };
        let view = after(told).view(&domain("www.example.org"), at(0)).unwrap();
        assert!(view.next_try >= Some(at(172_800)) && view.next_try <= Some(at(172_802)), "{kind:?}: {view:?}");
    }
}

#[test]
fn a_failed_validation_takes_the_next_challenge_and_an_operator_need_not_wait() {
    let subject = domain("www.example.org");
    let mut machine = after(failure(Kind::Validation));
    assert_eq!(machine.memory(&subject).unwrap().rotation, 1);
    assert!(machine.on(Event::Renew(subject.clone()), at(1)).contains(&Action::Look(subject.clone())));
    let actions = machine.on(Event::Looked(subject.clone(), Finding::Ready(None)), at(2));
    assert!(actions.iter().any(|action| matches!(action, Action::Order { rotation: 1, .. })), "{actions:?}");
}

#[test]
fn an_operator_is_not_above_the_authority() {
    let subject = domain("www.example.org");
    let mut machine = after(failure(Kind::AccountLimited));
    let actions = machine.on(Event::Renew(subject), at(1));
    assert!(
        actions.iter().any(|action| matches!(action, Action::Log { event: "limited", next: Some(_), .. })),
        "{actions:?}"
    );
}

#[test]
fn what_an_operator_asked_for_is_not_tried_again_and_again() {
    let subject = domain("www.example.org");
    for kind in [Kind::NameLimited, Kind::AlreadyReplaced, Kind::Unreachable] {
        let mut machine = after(failure(Kind::Validation));
        machine.on(Event::Renew(subject.clone()), at(1));
        machine.on(Event::Looked(subject.clone(), Finding::Ready(None)), at(2));
        machine.on(Event::Failed(subject.clone(), failure(kind)), at(3));
        // The authority is there for others: what is wrong is wrong with this one.
        machine.on(Event::Placed(domain("other.example.org")), at(4));
        let mut orders = 0;
        for second in 5..65 {
            let mut events = vec![Event::Looked(subject.clone(), Finding::Ready(None))];
            events.push(Event::Failed(subject.clone(), failure(kind)));
            for event in events {
                let actions = machine.on(event, at(second));
                orders += actions.iter().filter(|action| matches!(action, Action::Order { .. })).count();
            }
        }
        assert!(orders <= 2, "{kind:?}: {orders} orders in a minute");
    }
}

#[test]
fn a_replacement_that_is_refused_is_ordered_without_what_it_replaces() {
    let subject = domain("www.example.org");
    let old = Facts { renewal_id: Some("old".to_owned()), ..facts(at(0), DAY * 90) };
    let mut machine = Issuance::new(7);
    machine.on(Event::Have(subject.clone(), Some(old)), at(0));
    machine.on(Event::Wanted(BTreeSet::from([subject.clone()])), at(0));
    machine.on(Event::RoleReady, at(0));
    let window = RenewalAnswer {
        start: later(at(0), DAY * 60).as_second(),
        end: later(at(0), DAY * 62).as_second(),
        explanation_url: None,
        retry_after: Duration::from_secs(3600),
    };
    machine.on(Event::Renewal(subject.clone(), Ok(window)), at(1));
    let replaced = |actions: &[Action]| {
        actions.iter().find_map(|action| match action {
            Action::Order { replaces, .. } => Some(replaces.clone()),
            _ => None,
        })
    };
    machine.on(Event::Renew(subject.clone()), at(2));
    let actions = machine.on(Event::Looked(subject.clone(), Finding::Ready(None)), at(3));
    assert_eq!(replaced(&actions), Some(Some("old".to_owned())));
    machine.on(Event::Failed(subject.clone(), failure(Kind::Request)), at(4));
    let actions = machine.on(Event::Looked(subject.clone(), Finding::Ready(None)), at(5));
    assert_eq!(replaced(&actions), Some(None), "at once, and without it");
    machine.on(Event::Failed(subject.clone(), failure(Kind::Request)), at(6));
    let actions = machine.on(Event::Looked(subject, Finding::Ready(None)), at(7));
    assert_eq!(replaced(&actions), None, "that was not the reason");
}
