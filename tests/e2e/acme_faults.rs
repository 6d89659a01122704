//! Everything that goes wrong with an authority, and with landlord while it deals with one: what is served goes on being
//! served, each name costs itself alone, and no name is ordered twice.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use harness::{
    Landlord,
    authority::{Authority, Fault, Kind, Plan},
    client::ClientError,
    eventually, eventually_async, process,
};
use nix::sys::signal::Signal;

const ZONE: &str = "*.apps.test";
const SHOP: &str = "shop.test";

/// An authority that `shop.test` is validated at.
fn with_shop() -> Authority {
    let authority = Authority::start();
    authority.zone().set(SHOP, "A", &["127.0.0.1"]);
    authority
}

fn shop() -> String {
    format!("domains = [{SHOP:?}]\n")
}

async fn serves(authority: &Authority, landlord: &Landlord, host: &str) {
    // What `landlord certs` calls valid may be on its way to the proxy still.
    let site = authority.site(landlord, host);
    let answer = eventually_async(format!("{host} answers"), async || site.get("/").await.ok()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn half_of_all_nonces_refused_fail_no_order() {
    let authority = Plan::new().nonces_rejected(50).start();
    let hosts: Vec<String> = (0..10).map(|number| format!("d{number}.test")).collect();
    authority.zone().point(&hosts);
    let landlord = authority.setup().tenant("acme", &format!("suspended = true\ndomains = {hosts:?}\n")).start();
    let all = landlord.wait_certificates(2 * harness::PATIENCE, "every certificate", |all| {
        all.len() == 11 && all.iter().all(|one| one.state == "valid")
    });
    assert!(all.iter().all(|one| one.failures == 0), "{all:#?}");
    for host in &hosts {
        assert_eq!(authority.front().orders(host), 1, "{host}");
    }
    let refused = authority.front().calls().iter().filter(|call| call.status == Some(400)).count();
    assert!(refused >= 20, "only {refused} calls were refused: nothing was tried here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_is_down_at_the_boot_keeps_no_worker_from_running() {
    let mut authority = with_shop();
    authority.pebble_mut().stop();
    let landlord = authority.setup().tenant("acme", &shop()).start();
    landlord.wait_state("acme", "running");
    let waiting = landlord.wait_certificate_for(ZONE, harness::PATIENCE, "an error", |one| one.last_error.is_some());
    assert!(["waiting", "failed"].contains(&waiting.state.as_str()) && waiting.next_try.is_some(), "{waiting:?}");
    for host in ["acme.apps.test", SHOP] {
        let refused = authority.site(&landlord, host).get("/").await;
        assert!(matches!(refused, Err(ClientError::Tls(_))), "{host}: {refused:?}");
    }
    // It is asked every ten minutes, not again and again.
    let calls = authority.front().calls().len();
    assert!(calls < 20, "{}", authority.front().told());

    authority.pebble_mut().start_again();
    landlord.renew(ZONE).expect(0);
    serves(&authority, &landlord, "acme.apps.test").await;
    // One that answered is an authority that is back: the others need no operator.
    landlord.wait_certificate(SHOP, "valid");
    serves(&authority, &landlord, SHOP).await;
    assert_eq!((authority.front().orders(ZONE), authority.front().orders(SHOP)), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_fails_at_a_renewal_leaves_all_as_it_was() {
    let authority = with_shop();
    let landlord = authority.setup().tenant("acme", &shop()).start();
    landlord.wait_certificate(ZONE, "valid");
    let first = landlord.wait_certificate(SHOP, "valid");
    landlord.wait_state("acme", "running");
    let faults = [Fault::Cut, Fault::internal(), Fault::garbage()];
    for fault in faults {
        authority.front().break_everything(fault.clone());
        let failed = landlord.renew(SHOP).expect(1);
        assert!(failed.stderr.contains(SHOP), "{fault:?}: {}", failed.stderr);
        let entry = landlord.certificate(SHOP);
        assert_eq!((entry.state.as_str(), &entry.serial), ("valid", &first.serial), "{fault:?}");
        assert!(entry.last_error.is_some() && entry.failures > 0, "{fault:?}: {entry:?}");
        serves(&authority, &landlord, SHOP).await;
        authority.front().mend();
    }
    landlord.renew(SHOP).expect(0);
    let renewed = landlord.certificate(SHOP);
    assert!(renewed.serial != first.serial && renewed.failures == 0 && renewed.last_error.is_none(), "{renewed:?}");
    serves(&authority, &landlord, SHOP).await;
    assert!(authority.zone().challenges().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_hangs_is_given_up() {
    let authority = with_shop();
    let landlord = authority.setup().tenant("acme", &shop()).start();
    landlord.wait_certificate(SHOP, "valid");
    landlord.wait_state("acme", "running");
    authority.front().break_everything(Fault::Hang);
    let begun = Instant::now();
    landlord.renew(SHOP).expect(1);
    assert!(begun.elapsed() < Duration::from_secs(60), "it took {:?}", begun.elapsed());
    serves(&authority, &landlord, SHOP).await;
    authority.front().mend();
    landlord.renew(SHOP).expect(0);
}

#[test]
fn a_limit_of_one_name_keeps_that_name_waiting_alone() {
    let authority = with_shop();
    authority.zone().set("other.test", "A", &["127.0.0.1"]);
    let words = "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, \
                 retry after 2030-01-01 00:00:00 UTC: see https://letsencrypt.org/docs/rate-limits/";
    authority.front().break_orders(SHOP, Fault::problem(429, "rateLimited", words, Some(3600)));
    let landlord = authority.setup().tenant("acme", "domains = [\"other.test\", \"shop.test\"]\n").start();
    let limited = landlord.wait_certificate_for(SHOP, harness::PATIENCE, "an error", |one| one.last_error.is_some());
    assert!(limited.last_error.expect("an error").contains("too many certificates"));
    assert!(limited.next_try.is_some(), "when it is tried again");
    landlord.wait_certificate("other.test", "valid");
    landlord.wait_certificate(ZONE, "valid");

    // Not even an operator is above the authority's limits.
    authority.front().mend();
    let asked = || authority.front().calls().iter().filter(|call| call.names().contains(&SHOP)).count();
    assert_eq!(asked(), 1);
    landlord.renew(SHOP).expect(1);
    assert_eq!(asked(), 1, "it was asked before its time: {}", authority.front().told());
}

#[test]
fn a_limit_of_the_account_keeps_everything_waiting_and_survives_a_restart() {
    let authority = with_shop();
    let words = "too many new orders (300) from this account in the last 3h0m0s, retry after 2030-01-01 00:00:00 UTC: \
                 see https://letsencrypt.org/docs/rate-limits/";
    authority.front().break_all(Kind::NewOrder, Fault::problem(429, "rateLimited", words, Some(3600)));
    let mut landlord = authority.setup().tenant("acme", &shop()).start();
    landlord.wait_certificates(harness::PATIENCE, "an error", |all| all.iter().any(|one| one.last_error.is_some()));
    authority.front().mend();
    // The other one may have been under way already.
    let asked = authority.front().count(Kind::NewOrder);
    assert!(asked <= 2, "{}", authority.front().told());
    landlord.stop();
    landlord.start_again();
    for name in [ZONE, SHOP] {
        landlord.renew(name).expect(1);
    }
    assert!(authority.front().count(Kind::NewOrder) <= 2, "{}", authority.front().told());
    assert!(authority.front().placed().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_none_any_more_is_followed_by_a_new_one() {
    let mut authority = with_shop();
    let landlord = authority.setup().tenant("acme", &shop()).start();
    landlord.wait_certificate(ZONE, "valid");
    landlord.wait_certificate(SHOP, "valid");
    landlord.wait_state("acme", "running");
    // It forgets everybody.
    authority.pebble_mut().stop();
    authority.pebble_mut().start_again();
    let ran = landlord.renew(SHOP);
    // The first try may be the one that finds it out.
    if ran.code != 0 {
        landlord.renew(SHOP).expect(0);
    }
    serves(&authority, &landlord, SHOP).await;
    landlord.renew(ZONE).expect(0);
    serves(&authority, &landlord, "acme.apps.test").await;
    let made = authority.front().calls();
    let made = made.iter().filter(|call| call.kind == Kind::NewAccount && call.status == Some(201)).count();
    assert_eq!(made, 2, "{}", authority.front().told());
}

#[test]
fn an_account_that_an_operator_must_look_at_is_said() {
    let authority = with_shop();
    let agree = Fault::problem(403, "userActionRequired", "the terms of service have changed", None);
    authority.front().break_all(Kind::NewOrder, agree);
    let landlord = authority.setup().tenant("acme", &shop()).start();
    landlord.wait_certificates(harness::PATIENCE, "the authority's words", |all| {
        all.iter().any(|one| one.last_error.as_ref().is_some_and(|error| error.contains("terms of service")))
    });
    // Nothing works before somebody acts: the other name is not tried for nothing, but for what was under way.
    assert!(authority.front().count(Kind::NewOrder) <= 2, "{}", authority.front().told());
    authority.front().mend();
    landlord.renew(ZONE).expect(0);
    landlord.wait_certificate(SHOP, "valid");
}

/// An order that stands still while the authority is asked for `at`, in the midst of which `crash` happens.
#[track_caller]
fn crash_in_an_order(at: Kind, crash: impl FnOnce(&mut Landlord)) {
    let authority = with_shop();
    authority.front().break_all(at, Fault::Wait);
    let mut landlord = authority.setup().tenant("acme", &shop()).start();
    let both = |kind| authority.front().count(kind) >= 2;
    eventually("both orders stand still", || both(at).then_some(()));
    crash(&mut landlord);
    authority.front().mend();
    // What stood still may still reach the authority, which then looks for a challenge that is not there yet: the next try comes
    // after a minute, or a little more.
    landlord.wait_certificates(4 * harness::PATIENCE, "both certificates", |all| {
        all.len() == 2 && all.iter().all(|one| one.state == "valid")
    });
    // The one that was there before, and at most one more.
    for name in [ZONE, SHOP] {
        let orders = authority.front().orders(name);
        assert!((1..=2).contains(&orders), "{orders} orders of {name}: {}", authority.front().told());
    }
    let news = authority.front().calls();
    let news = news.iter().filter(|call| call.kind == Kind::NewAccount && call.status == Some(201)).count();
    assert_eq!(news, 1, "{}", authority.front().told());
    eventually("no record is left behind", || authority.zone().challenges().is_empty().then_some(()));
}

fn kill_role(landlord: &Landlord, verb: &str) {
    let pid = landlord.role(verb).unwrap_or_else(|| panic!("no {verb} runs"));
    assert!(process::signal(pid, Signal::SIGKILL));
    eventually(format!("{verb} is gone"), || (!process::alive(pid)).then_some(()));
}

#[test]
fn the_acme_role_may_be_killed_while_a_challenge_is_being_set_ready() {
    crash_in_an_order(Kind::Challenge, |landlord| kill_role(landlord, "acme"));
}

#[test]
fn the_acme_role_may_be_killed_while_an_order_is_being_finalized() {
    crash_in_an_order(Kind::Finalize, |landlord| kill_role(landlord, "acme"));
}

#[test]
fn the_acme_role_may_be_killed_before_a_certificate_is_fetched() {
    crash_in_an_order(Kind::Certificate, |landlord| kill_role(landlord, "acme"));
}

#[test]
fn a_proxy_may_be_killed_while_a_challenge_is_being_set_ready() {
    crash_in_an_order(Kind::Challenge, |landlord| kill_role(landlord, "proxy"));
}

#[test]
fn the_master_may_be_killed_while_a_challenge_is_being_set_ready() {
    crash_in_an_order(Kind::Challenge, |landlord| {
        landlord.kill();
        landlord.start_again();
    });
}

#[test]
fn the_master_may_be_killed_while_an_order_is_being_finalized() {
    crash_in_an_order(Kind::Finalize, |landlord| {
        landlord.kill();
        landlord.start_again();
    });
}

#[test]
fn an_answer_that_is_lost_costs_one_order_more_at_most() {
    let authority = with_shop();
    authority.front().break_next(Kind::Finalize, 1, Fault::CutAfter);
    let landlord = authority.setup().tenant("acme", &shop()).start();
    landlord.wait_certificates(harness::PATIENCE, "all but the one whose answer was lost", |all| {
        all.iter().filter(|one| one.state == "valid").count() >= 1
    });
    for name in [ZONE, SHOP] {
        if landlord.certificate(name).state != "valid" {
            landlord.renew(name).expect(0);
        }
        assert!(authority.front().orders(name) <= 2, "{}", authority.front().told());
    }
    assert!(authority.front().placed().len() <= 3, "{}", authority.front().told());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_no_certificate_costs_its_own_name_alone() {
    let authority = Authority::start();
    let hosts = ["cut.test", "empty.test", "open.test", "other.test", "swapped.test", "well.test"];
    authority.zone().point(&hosts.map(str::to_owned));
    let mut landlord = authority.setup().tenant("acme", &format!("domains = {hosts:?}\n")).start();
    let before = landlord.wait_certificates(harness::PATIENCE, "every certificate", |all| {
        all.len() == 7 && all.iter().all(|one| one.state == "valid")
    });
    landlord.stop();

    let file = |host: &str| landlord.certificate_file(host);
    let text = fs::read(file("cut.test")).expect("a certificate");
    fs::write(file("cut.test"), &text[..text.len() / 2]).expect("written");
    fs::write(file("empty.test"), "").expect("written");
    fs::write(file("swapped.test"), fs::read(file("well.test")).expect("a certificate")).expect("written");
    fs::set_permissions(file("open.test"), fs::Permissions::from_mode(0o644)).expect("a mode");
    landlord.start_again();

    let after = landlord.wait_certificates(harness::PATIENCE, "every certificate", |all| {
        all.len() == 7 && all.iter().all(|one| one.state == "valid")
    });
    landlord.wait_state("acme", "running");
    for host in hosts {
        serves(&authority, &landlord, host).await;
        assert_eq!(mode(&landlord.certificate_file(host)), 0o600, "{host}");
    }
    let bad = ["cut.test", "empty.test", "swapped.test"];
    for (old, new) in before.iter().zip(&after) {
        let name = new.name.as_str();
        if bad.contains(&name) {
            assert_eq!((authority.front().orders(name), old.serial == new.serial), (2, false), "{name}");
            assert!(landlord.set_aside().iter().any(|file| file.starts_with(name)), "{:?}", landlord.set_aside());
        } else if name != "open.test" {
            let orders = authority.front().orders(name);
            assert_eq!((orders, old.serial == new.serial), (1, true), "{name}");
        }
    }
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).expect("a file").permissions().mode() & 0o7777
}
