//! What the next life makes of what this one has written.

use super::{papers::Placed, *};
use crate::machine::issuance::Action;

const STAGING: &str = "https://staging.example/dir";
const REAL: &str = "https://real.example/dir";

/// A house of an earlier life in which `www.example.org` was ordered at a directory, and its certificate written.
fn house(state: &std::path::Path, directory: &str) -> (Gateway, Subject) {
    let file = state.join("landlord.toml");
    std::fs::write(&file, "").unwrap();
    let mut gateway: Gateway = crate::config::gateway::load(Some(&file)).unwrap();
    gateway.state = state.to_owned();
    gateway.acme.directory = directory.to_owned();
    std::fs::create_dir(state.join("certs")).unwrap();
    let subject = Subject::Domain("www.example.org".parse().unwrap());
    let made = rcgen::generate_simple_self_signed(["www.example.org".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    Chest::open(&state.join("certs")).store(&subject, &chain, &key).unwrap();
    let (mut papers, _) = Papers::open(state.join("acme")).unwrap();
    let order = Placed { directory: directory.to_owned(), url: Some(format!("{directory}/1")), key_pem: key };
    papers.keep_order(&subject, Some(order)).unwrap();
    papers.keep_memory(&subject, Some(Memory { placed: true, reserved: true, ..Memory::default() })).unwrap();
    (gateway, subject)
}

/// What the machine does once the role is there.
fn orders(machine: &mut Issuance, subject: &Subject, event: Event) -> usize {
    let now = Timestamp::now();
    let mut actions = machine.on(event, now);
    for event in [
        Event::Wanted(BTreeSet::from([subject.clone()])),
        Event::RoleReady,
        Event::Looked(subject.clone(), crate::model::Finding::Ready(None)),
    ] {
        actions.extend(machine.on(event, now));
    }
    actions.iter().filter(|action| matches!(action, Action::Order { .. })).count()
}

#[test]
fn an_order_that_ended_well_right_before_a_crash_is_not_placed_anew() {
    let temp = tempfile::tempdir().unwrap();
    let (gateway, subject) = house(temp.path(), REAL);
    let mut life = Issuing::open(&gateway, 1, Now::default()).unwrap();
    let event = life.load(&subject, REAL);
    assert!(life.held.contains_key(&subject));
    assert_eq!(orders(&mut life.machine, &subject, event), 0);
    let memory = life.machine.memory(&subject).unwrap();
    assert!(!memory.placed && !memory.reserved, "{memory:?}");
    assert_eq!(life.machine.ledger().sets.values().flatten().count(), 1, "it counts");
}

#[test]
fn what_another_directory_has_issued_is_served_until_this_one_has() {
    let temp = tempfile::tempdir().unwrap();
    let (gateway, subject) = house(temp.path(), STAGING);
    let mut life = Issuing::open(&gateway, 1, Now::default()).unwrap();
    let event = life.load(&subject, STAGING);
    life.machine.on(event, Timestamp::now());
    life.papers.keep_memory(&subject, life.machine.memory(&subject)).unwrap();

    let mut life = Issuing::open(&gateway, 1, Now::default()).unwrap();
    let event = life.load(&subject, REAL);
    assert!(life.held.contains_key(&subject), "served");
    assert_eq!(orders(&mut life.machine, &subject, event), 1, "and ordered");
}
