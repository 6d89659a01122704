//! A seeded storm of kills under systemd, which starts a killed master again while everybody else lives on.
//!
//! `LANDLORD_CHAOS_SEED=N` throws the same dice again, `LANDLORD_CHAOS_KILLS=N` makes the storm shorter or longer.
//!
//! Crowds ask throughout for tenants whose own files and workers nobody touches. As long as masters, log roles and other
//! tenants' workers are struck, not one request of theirs may be lost. A proxy that is killed takes along the connections
//! that it has open, and nobody can give them back: in the second part, where proxies are struck as well, requests that
//! are under way at that very moment may end with their connection, and no other may, nor in any other way. Whoever comes
//! afterwards waits in the queue of a socket that was never closed: nobody is refused, answered by another status, given
//! another's answer, or left waiting.

use std::{collections::BTreeMap, fs, time::Instant};

use harness::{
    chaos::{self, App, House, Ledger, Machined, Plan, Stopped, Storm, Weights, Wish, Wishes},
    hostile::tell,
    machine::{Install, Version},
    traffic::{Kind, Load, Loss, Report, Traffic},
};

/// Kills in one run, over both parts.
const KILLS: u32 = 60;

const TENANTS: [(&str, App); 10] = [
    ("acme", App::Board),
    ("core", App::Socket),
    ("dune", App::Inherit),
    ("fern", App::Port),
    ("gulf", App::Hold),
    ("hill", App::Wrapped),
    ("calm", App::Board),
    ("even", App::Inherit),
    ("lull", App::Port),
    ("mild", App::Wrapped),
];

/// Tenants that nobody touches: their workers are never killed, their files never edited.
const SPARED: [&str; 4] = ["calm", "even", "lull", "mild"];
/// Those of them that crowds visit.
const VISITED: [&str; 2] = ["even", "lull"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_under_systemd_is_not_noticed_by_who_is_not_struck() {
    let seed = chaos::seed();
    tell(format_args!("LANDLORD_CHAOS_SEED={seed}"));
    let mut wishes: Wishes = TENANTS.iter().map(|(name, app)| ((*name).to_owned(), Wish::new(name, *app))).collect();
    let files: BTreeMap<String, String> = wishes.iter().map(|(name, wish)| (name.clone(), wish.toml())).collect();
    let mut house = Machined::start(Install::new(Version::V257), &files);
    chaos::converge(&house, &mut wishes).await;
    let spared = workers(&house);
    let boards: Vec<_> = TENANTS.iter().filter(|(_, app)| app.is_bundled()).map(|(name, _)| *name).collect();
    let mut ledger = Ledger::start(boards.iter().map(|name| ((*name).to_owned(), house.site(name))).collect());

    // First without the proxies: not one request is lost.
    let kills = chaos::kills(KILLS);
    let without = Plan {
        kills: kills.div_ceil(2),
        pause: std::time::Duration::from_millis(400),
        weights: Weights { master: 50, proxy: 0, log: 10, worker: 40 },
    };
    let crowds = crowds(&house, &Kind::ALL.map(|kind| Load::new(kind, 20)));
    let begun = Instant::now();
    let struck = Storm::new(&mut house, &mut wishes, &SPARED, seed).rage(&without);
    tell(format_args!("{} kills in {:.1?}: {:?}", without.kills, begun.elapsed(), struck.counts));
    let mut masters = struck.counts.get("master").copied().unwrap_or(0);
    house.0.machine().wait_property("landlord", "ActiveState", "active");
    Traffic::wait_all_answered(&crowds, 10);
    for report in reports(crowds) {
        report.assert_none_lost(50);
    }

    // And with them.
    let with = Plan { kills: kills / 2, weights: Weights { master: 30, proxy: 30, log: 10, worker: 30 }, ..without };
    // These see that a kept connection has ended before they ask on it.
    let loads = [Kind::KeepAlive, Kind::NewConnection].map(|kind| Load::new(kind, 20).watchful());
    let crowds = self::crowds(&house, &loads);
    let begun = Instant::now();
    let struck = Storm::new(&mut house, &mut wishes, &SPARED, seed.wrapping_add(1)).rage(&with);
    tell(format_args!("{} kills in {:.1?}: {:?}", with.kills, begun.elapsed(), struck.counts));
    masters += struck.counts.get("master").copied().unwrap_or(0);
    house.0.machine().wait_property("landlord", "ActiveState", "active");
    Traffic::wait_all_answered(&crowds, 10);
    for report in reports(crowds) {
        assert!(report.sent >= 50 && report.losses.keys().all(|loss| *loss == Loss::Reset), "{report}");
        let others = report.lost_outside(&struck.proxies);
        assert_eq!(
            others, 0,
            "lost without having been under way when a proxy was killed, {:?}: {report}",
            struck.proxies
        );
    }

    let convergence = chaos::converge(&house, &mut wishes).await;
    tell(format_args!("at rest after {:.1?}; helped by an operator: {:?}", convergence.took, convergence.helped));
    ledger.stop();
    tell(format_args!("{} acknowledged rows", ledger.acknowledged()));
    assert_eq!(house.restarts(), masters, "no master has ended but those that were killed");
    assert_eq!(workers(&house), spared, "the very same workers, with their ports and generations, never restarted");
    chaos::no_orphan(&house);
    chaos::each_port_once(&house);
    let aside = fs::read_dir(house.0.machine().path("/run/landlord/fleet")).expect("what is remembered").flatten();
    let aside: Vec<_> = aside.filter(|entry| entry.file_name().to_string_lossy().contains(".bad-")).collect();
    assert!(aside.is_empty(), "a kill has torn what is remembered: {aside:?}");

    // Everybody is let in and mended, so that every board can be read and every file checked.
    for (name, wish) in wishes.iter_mut().filter(|(name, _)| !SPARED.contains(&name.as_str())) {
        (wish.present, wish.suspended, wish.broken) = (true, false, false);
        wish.marks.push(format!("{name}-mended"));
        house.write(&house.tenants().join(format!("{name}.toml")), &wish.toml()).expect("a file is written");
        if wish.stopped != Stopped::No {
            wish.stopped = Stopped::Unknown;
        }
    }
    chaos::converge(&house, &mut wishes).await;
    chaos::files_whole(&house);
    for name in &boards {
        ledger.assert_kept(name, &house.site(name)).await;
    }
    assert_eq!(workers(&house), spared);
    house.0.stop();
    assert!(house.processes().is_empty(), "nobody is left");
}

/// Each kind of visitor for each of the visited tenants.
fn crowds(house: &Machined, loads: &[Load]) -> Vec<Traffic> {
    let pairs = VISITED.iter().flat_map(|tenant| loads.iter().map(move |load| (tenant, load.clone())));
    let crowds: Vec<_> = pairs.map(|(tenant, load)| Traffic::start(house.site(tenant), load)).collect();
    Traffic::wait_all_answered(&crowds, 5);
    crowds
}

fn reports(crowds: Vec<Traffic>) -> Vec<Report> {
    let reports: Vec<_> = crowds.into_iter().map(Traffic::stop).collect();
    reports.iter().for_each(tell);
    reports
}

/// Pid, port, generation and restarts.
type Worker = (Option<u32>, Option<u16>, Option<u64>, u32);

/// Who works for the tenants that nobody touches.
fn workers(house: &Machined) -> BTreeMap<String, Worker> {
    let fleet = house.0.fleet().into_iter().filter(|entry| SPARED.contains(&entry.name.as_str()));
    // A new version of their app is for them, too: the boards are deployed then.
    let fleet = fleet.filter(|entry| entry.name != "calm");
    fleet.map(|entry| (entry.name, (entry.pid, entry.port, entry.generation, entry.restarts))).collect()
}
