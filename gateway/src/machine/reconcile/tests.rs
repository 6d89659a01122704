#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::model::{App, Branding, Deploy, Environment, Health, Host, Limits, Listen, Place, Rejection, Sleep};

fn name(text: &str) -> TenantName {
    text.parse().unwrap()
}

fn tenant(text: &str) -> Tenant {
    Tenant {
        name: name(text),
        company: text.to_owned(),
        hosts: vec![Host::try_from(format!("{text}.localhost")).unwrap()],
        canonical: None,
        app: App {
            name: "workspace".parse().unwrap(),
            command: vec!["landlord-worker".into(), "serve".into()],
            migrate: None,
            root: None,
            version: None,
            health: None,
            listen: Listen::Inherit,
            env: BTreeMap::new(),
            stop_signal: "SIGTERM".into(),
            stop_timeout: std::time::Duration::from_secs(10),
            health_defaults: None,
            deploy_defaults: None,
            sandbox_defaults: None,
            sleep: None,
        },
        environment: Environment("prod".into()),
        features: Vec::new(),
        max_users: None,
        suspended: false,
        branding: Branding::default(),
        user: None,
        sandbox: crate::model::Sandbox::default(),
        limits: Limits::default(),
        health: Health::default(),
        deploy: Deploy::default(),
        hsts: None,
        sleep: Sleep::default(),
        env: BTreeMap::new(),
    }
}

/// A catalog of these names, all with digest `1`.
fn catalog(names: &[&str]) -> Catalog {
    let accepted = names.iter().map(|text| (name(text), (tenant(text), Digest("1".into())))).collect();
    Catalog { accepted, rejected: Vec::new() }
}

fn reject(catalog: &mut Catalog, text: &str) {
    catalog.accepted.remove(&name(text));
    catalog.rejected.push(Rejection {
        tenant: Some(name(text)),
        place: Place { file: PathBuf::from(format!("{text}.toml")), line: None, column: None, text: None },
        error: "unknown key".into(),
        hint: None,
    });
}

/// A fleet that is just as the catalog says.
fn fleet(catalog: &Catalog) -> Fleet {
    let entry = |(tenant, digest): &(Tenant, Digest)| FleetEntry {
        tenant: tenant.clone(),
        digest: digest.clone(),
        stopped: false,
    };
    catalog.accepted.iter().map(|(name, accepted)| (name.clone(), entry(accepted))).collect()
}

fn steps(catalog: &Catalog, fleet: &Fleet) -> Vec<Step> {
    reconcile(catalog, fleet, false).steps
}

#[test]
fn nothing_to_do_is_nothing_done() {
    let catalog = catalog(&["acme", "globex"]);
    assert_eq!(reconcile(&catalog, &fleet(&catalog), true), Plan::default());
}

#[test]
fn a_new_file_lets_in_and_a_missing_one_removes() {
    let (before, after) = (catalog(&["acme", "globex"]), catalog(&["acme", "initech"]));
    let told = [Step::Remove(name("globex")), Step::Add(name("initech"))];
    assert_eq!(steps(&after, &fleet(&before)), told, "a renamed file is both");
}

#[test]
fn a_changed_digest_is_a_new_generation_and_a_changed_host_is_a_new_route() {
    let mut catalog = catalog(&["acme", "globex", "initech"]);
    let fleet = fleet(&catalog);
    catalog.accepted.get_mut(&name("acme")).unwrap().1 = Digest("2".into());
    let globex = &mut catalog.accepted.get_mut(&name("globex")).unwrap().0;
    globex.hosts.push(Host::try_from("portal.globex.com".to_owned()).unwrap());
    assert_eq!(steps(&catalog, &fleet), [Step::Change(name("acme")), Step::Reroute(name("globex"))]);
}

#[test]
fn suspended_is_a_change_whatever_the_digest_says() {
    let mut catalog = catalog(&["acme"]);
    let fleet = fleet(&catalog);
    catalog.accepted.get_mut(&name("acme")).unwrap().0.suspended = true;
    assert_eq!(steps(&catalog, &fleet), [Step::Change(name("acme"))]);
}

#[test]
fn a_wrong_file_leaves_its_tenant_as_it_is() {
    let mut catalog = catalog(&["acme", "globex"]);
    let fleet = fleet(&catalog);
    reject(&mut catalog, "acme");
    reject(&mut catalog, "newcomer");
    assert_eq!(reconcile(&catalog, &fleet, true), Plan::default());
}

#[test]
fn too_many_removals_at_once_are_held_back_until_they_are_accepted() {
    let names: Vec<String> = (0..10).map(|nth| format!("t{nth}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let fleet = fleet(&catalog(&names));

    assert_eq!(steps(&catalog(&names[3..]), &fleet).len(), 3, "three may always go");

    let mut four = catalog(&names[4..]);
    four.accepted.insert(name("new"), (tenant("new"), Digest("1".into())));
    let plan = reconcile(&four, &fleet, false);
    assert_eq!(plan.steps, [Step::Add(name("new"))], "what is no removal is done all the same");
    let told = plan.held_back.unwrap();
    assert!(told.starts_with("4 of 10 ") && told.contains("landlord reload --accept-removals"), "{told}");

    let plan = reconcile(&four, &fleet, true);
    assert_eq!((plan.steps.len(), plan.held_back), (5, None));
}

#[test]
fn of_a_large_fleet_a_fifth_may_go_at_once() {
    for (size, vanish, held_back) in [(100, 20, false), (100, 21, true), (15, 3, false), (15, 4, true), (20, 4, false)]
    {
        let names: Vec<String> = (0..size).map(|nth| format!("t{nth}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let plan = reconcile(&catalog(&names[vanish..]), &fleet(&catalog(&names)), false);
        assert_eq!(plan.held_back.is_some(), held_back, "{vanish} of {size}");
        assert_eq!(plan.steps.len(), if held_back { 0 } else { vanish });
    }
}

proptest! {
    /// The steps lead from any fleet to any catalog, name no tenant twice, and touch none that is as it should be.
    #[test]
    fn steps_lead_there(
        before in prop::collection::btree_map(0_u8..30, 0_u8..3, 0..30),
        after in prop::collection::btree_map(0_u8..30, (0_u8..3, any::<bool>()), 0..30),
    ) {
        let text = |nth: u8| format!("t{nth}");
        let fleet: Fleet = before.iter().map(|(nth, digest)| {
            let digest = Digest(digest.to_string());
            (name(&text(*nth)), FleetEntry { tenant: tenant(&text(*nth)), digest, stopped: false })
        }).collect();
        let mut catalog = Catalog::default();
        for (nth, (digest, wrong)) in &after {
            catalog.accepted.insert(name(&text(*nth)), (tenant(&text(*nth)), Digest(digest.to_string())));
            if *wrong {
                reject(&mut catalog, &text(*nth));
            }
        }
        let plan = reconcile(&catalog, &fleet, true);
        prop_assert!(plan.held_back.is_none());
        let mut touched = BTreeSet::new();
        let mut reached = before.clone();
        for step in &plan.steps {
            prop_assert!(touched.insert(step.tenant().clone()));
            let nth: u8 = step.tenant().as_str()[1..].parse().unwrap();
            match step {
                Step::Remove(_) => prop_assert!(reached.remove(&nth).is_some()),
                Step::Add(_) => prop_assert!(reached.insert(nth, after[&nth].0).is_none()),
                Step::Change(_) => prop_assert_ne!(reached.insert(nth, after[&nth].0), Some(after[&nth].0)),
                Step::Reroute(_) => prop_assert!(false, "no route differs"),
            }
        }
        for nth in 0..30 {
            let wanted = match after.get(&nth) {
                Some((_, true)) => before.get(&nth),
                Some((digest, false)) => Some(digest),
                None => None,
            };
            prop_assert_eq!(reached.get(&nth), wanted);
        }
        let guarded = reconcile(&catalog, &fleet, false);
        let removals = guarded.steps.iter().filter(|step| matches!(step, Step::Remove(_))).count();
        prop_assert!(removals <= FEW || removals * 5 <= fleet.len());
    }
}
