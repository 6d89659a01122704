//! Weeks that went wrong, in a virtual world. The authority ends the test on any breach of its limits.

use std::{env, panic};

use jiff::SignedDuration;

use super::{authority::Authority, domain, world::World, zone};
use crate::{
    machine::issuance::{
        Event,
        span::{DAY, HOUR, MINUTE, SECOND, WEEK},
    },
    model::{CertificateState, Subject},
};

const LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
const YEARS: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// Runs so many seeds, or as many more as the environment wants, or the one that it names; prints the one that fails.
fn seeds(least: u64, test: impl Fn(u64) + panic::RefUnwindSafe) {
    let told = |name| env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let count = told("LANDLORD_SEEDS").map_or(least, |count| count.max(least));
    let seeds = told("LANDLORD_SEED").map_or(0..count, |seed| seed..seed + 1);
    for seed in seeds {
        if let Err(panic) = panic::catch_unwind(|| test(seed)) {
            eprintln!("LANDLORD_SEED={seed}");
            panic::resume_unwind(panic);
        }
    }
}

/// Custom domains, each of its own registered domain.
fn domains(count: usize) -> impl Iterator<Item = Subject> {
    (0..count).map(|nth| domain(&format!("www.company{nth}.com")))
}

fn house(count: usize) -> impl Iterator<Item = Subject> {
    [zone()].into_iter().chain(domains(count))
}

#[test]
fn a_thousand_domains_at_first_boot_take_what_the_limits_take() {
    seeds(1, |seed| {
        let mut world = World::new(seed, Authority::new(LIFE, true), house(1000));
        world.run(MINUTE * 10);
        assert!(world.certificates.contains_key(&zone()), "the zone goes first");
        assert!(world.certificates.len() >= 300, "{} in ten minutes", world.certificates.len());
        world.run(HOUR * 7 + MINUTE * 30);
        world.assert_whole();
        assert_eq!(world.authority.orders.len(), 1001, "one order each");
    });
}

#[test]
fn three_hundred_subdomains_of_one_domain_take_weeks_and_break_no_limit() {
    let names = (0..100).map(|nth| domain(&format!("d{nth}.company.co.uk")));
    let mut world = World::new(1, Authority::new(LIFE, true), names);
    world.run(DAY);
    assert_eq!(world.certificates.len(), 45);
    world.run(WEEK * 2);
    world.assert_whole();
}

#[test]
fn nothing_expires_in_a_year_of_renewals() {
    for informs in [false, true] {
        seeds(1, |seed| {
            let mut world = World::new(seed, Authority::new(LIFE, informs), house(60));
            world.run(DAY * 365);
            world.assert_whole();
            let most = world.authority.issued.values().map(Vec::len).max();
            assert!(most <= Some(13), "{most:?} certificates of one name in a year");
            assert_eq!(world.said("failed"), 0);
        });
    }
}

#[test]
fn short_lives_are_renewed_in_the_middle_third() {
    for (life, informs) in [(160 * 3600, true), (160 * 3600, false), (600, false), (600, true)] {
        seeds(2, |seed| {
            let life = SignedDuration::from_secs(life);
            let mut world = World::new(seed, Authority::new(life, informs), house(5));
            world.run(life * 40);
            world.assert_whole();
            let most = world.authority.issued.values().map(Vec::len).max();
            assert!(most <= Some(125), "{most:?} certificates of one name in 40 lives");
            assert_eq!(world.said("expiring"), 0, "{:?}", world.log.iter().find(|(.., event, _)| *event == "expiring"));
        });
    }
}

#[test]
fn a_week_of_an_authority_that_is_down_costs_a_probe_every_ten_minutes() {
    seeds(1, |seed| {
        let mut world = World::new(seed, Authority::new(LIFE, true), house(60));
        world.run(DAY * 58);
        world.authority.down = true;
        let before = world.said("failed");
        world.run(WEEK);
        let probes = world.said("failed") - before;
        assert!((0..=1300).contains(&probes), "{probes} tries");
        world.authority.down = false;
        world.run(DAY);
        world.assert_whole();
    });
}

#[test]
fn a_first_boot_without_an_authority_recovers_within_the_probe() {
    let mut world = World::new(3, Authority::new(LIFE, true), house(100));
    world.authority.down = true;
    world.run(WEEK);
    assert!(world.said("failed") >= 800 && world.said("failed") <= 1300, "{} tries", world.said("failed"));
    world.authority.down = false;
    world.run(MINUTE * 20);
    world.assert_whole();
}

#[test]
fn one_name_that_the_authority_chokes_on_does_not_stop_the_others() {
    let mut world = World::new(5, Authority::new(LIFE, false), domains(40));
    let name = domain("www.company0.com");
    world.authority.poisoned = Some(name.clone());
    world.run(HOUR);
    assert_eq!(world.certificates.len(), 39);
    world.run(DAY * 200);
    assert_eq!(world.certificates.len(), 39);
    assert!(world.certificates.values().all(|facts| facts.not_after > world.now));
}

#[test]
fn a_week_of_broken_dns_asks_the_authority_nothing_and_ends_by_itself() {
    seeds(1, |seed| {
        let mut world = World::new(seed, Authority::new(LIFE, true), domains(150));
        world.missing = domains(150).collect();
        world.run(WEEK);
        assert_eq!(world.authority.orders.len(), 0);
        assert_eq!(world.machine.view(&domain("www.company7.com"), world.now).unwrap().state, CertificateState::Dns);
        world.missing.clear();
        world.run(MINUTE * 15);
        world.assert_whole();
    });
}

#[test]
fn validations_that_fail_for_a_week_stay_within_the_limits() {
    seeds(1, |seed| {
        let mut world = World::new(seed, Authority::new(LIFE, true), house(50));
        world.authority.unseen = house(50).collect();
        world.run(WEEK);
        let most = world.authority.failures.values().map(Vec::len).max();
        assert!(most <= Some(40), "{most:?} failed validations of one name in a week");
        world.authority.unseen.clear();
        world.run(HOUR * 15);
        world.assert_whole();
    });
}

#[test]
fn dns_that_cannot_be_looked_up_forbids_nothing() {
    let mut world = World::new(9, Authority::new(LIFE, true), domains(20));
    world.blind = true;
    world.run(MINUTE * 9);
    assert_eq!(world.certificates.len(), 0);
    world.run(MINUTE * 5);
    world.assert_whole();
}

#[test]
fn a_crash_loop_stays_within_the_limits() {
    seeds(6, |seed| {
        let mut world = World::new(seed, Authority::new(LIFE, seed % 2 == 0), house(40));
        if seed % 3 == 0 {
            world.authority.unseen = house(40).collect();
        }
        for nth in 0..1000 {
            world.run(if nth % 7 == 0 { SECOND * 5 } else { SECOND });
            if seed < 4 { world.boot() } else { world.role() }
        }
        world.authority.unseen.clear();
        world.run(DAY);
        world.assert_whole();
    });
}

#[test]
fn a_clock_that_is_set_by_years_breaks_no_limit() {
    for years in [YEARS, -YEARS] {
        seeds(2, |seed| {
            let mut world = World::new(seed, Authority::new(LIFE, seed % 2 == 0), house(400));
            world.strict = false;
            world.run(HOUR);
            for _ in 0..6 {
                world.set_clock(years);
                world.run(HOUR * 3);
                world.set_clock(SignedDuration::ZERO);
                world.run(HOUR * 2);
            }
            world.run(DAY * 4);
            world.assert_whole();
            assert!(world.said("clock") >= 2);
        });
    }
}

#[test]
fn a_clock_before_this_was_written_orders_nothing() {
    let mut world = World::new(1, Authority::new(LIFE, true), []);
    world.offset = -SignedDuration::from_hours(60 * 365 * 24);
    world.boot();
    world.tell(Event::Wanted(domains(3).collect()));
    world.run(DAY);
    assert_eq!((world.authority.orders.len(), world.said("clock")), (0, 1));
    assert!(world.machine.view(&domain("www.company0.com"), world.clock()).unwrap().reason.contains("clock"));
}
