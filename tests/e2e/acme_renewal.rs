//! Renewals that nobody notices, what the authority says about when, and the operator's verbs.

use std::{collections::BTreeSet, fs, time::Duration};

use harness::{
    Setup,
    authority::{Authority, EAB_KEY, EAB_KID, Edition, Fault, Kind, Plan},
    eventually,
    traffic::{Kind as Crowd, Load, Traffic},
};
use serde_json::{Value, json};

const ZONE: &str = "*.apps.test";
/// How long certificates live in these tests, where they are to be renewed by themselves.
const LIFE: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_by_itself_fails_no_handshake_and_ends_no_connection() {
    let authority = Plan::new().validity(LIFE).start();
    let landlord = authority.setup().tenant("acme", "").start();
    let first = landlord.wait_certificate(ZONE, "valid");
    landlord.wait_state("acme", "running");
    let site = authority.site(&landlord, "acme.apps.test");
    // Kept connections are used without a look at them first: one that was ended would be a loss.
    let crowds = [Crowd::NewConnection, Crowd::KeepAlive, Crowd::Http2]
        .map(|kind| Traffic::start(site.clone(), Load::new(kind, 20)));
    let second = landlord.wait_certificate_for(ZONE, LIFE + harness::PATIENCE, "another one", |one| {
        one.state == "valid" && one.serial != first.serial
    });
    assert!(second.not_before > first.not_before, "{second:?}");
    Traffic::wait_all_answered(&crowds, 20);
    for crowd in crowds {
        crowd.stop().assert_none_lost(100);
    }
    assert!(authority.front().orders(ZONE) >= 2, "{}", authority.front().told());
}

#[test]
fn the_authoritys_window_is_obeyed_and_the_old_certificate_named() {
    let window = |start: &str, end: &str| {
        Fault::json(&json!({
            "suggestedWindow": { "start": start, "end": end },
            "explanationURL": "https://ca.example/why",
        }))
    };
    let authority = Plan::new().edition(Edition::Trixie).start();
    // At first it is long past; then it is far off.
    authority.front().break_next(Kind::RenewalInfo, 1, window("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z"));
    authority.front().break_all(Kind::RenewalInfo, window("2030-01-01T00:00:00Z", "2030-01-02T00:00:00Z"));
    let landlord = authority.setup().start();
    eventually("it is renewed at once", || (authority.front().orders(ZONE) == 2).then_some(()));
    let placed = authority.front().placed();
    assert_eq!(placed[0].payload["replaces"], Value::Null);
    let replaced = placed[1].payload["replaces"].as_str().expect("the certificate that is replaced");
    let asked = authority.front().calls();
    let asked = asked.iter().find(|call| call.kind == Kind::RenewalInfo).expect("it was asked when");
    assert!(asked.path.ends_with(replaced), "{} is not about {replaced}", asked.path);
    let renewed = landlord.wait_certificate_for(ZONE, harness::PATIENCE, "a far renewal", |one| {
        one.state == "valid" && one.next_renewal.as_ref().is_some_and(|next| next.starts_with("2030-01-0"))
    });
    assert!(renewed.next_renewal.expect("a date").as_str() < "2030-01-03");
    assert_eq!(authority.front().orders(ZONE), 2);
}

#[test]
fn an_authority_that_wants_an_external_account_is_given_one() {
    let authority = Plan::new().external_accounts().start();
    let landlord = authority.setup().start();
    let refused = landlord.wait_certificate_for(ZONE, harness::PATIENCE, "an error", |one| one.last_error.is_some());
    let error = refused.last_error.expect("an error").to_lowercase();
    assert!(error.contains("externalaccountbinding") || error.contains("external account"), "{error}");
    assert!(authority.front().placed().is_empty());
    drop(landlord);

    let key = authority.secret("eab.key", EAB_KEY);
    let eab = format!("eab_kid = {EAB_KID:?}\neab_key_file = {key:?}\n");
    let landlord = authority.setup_with(&eab, &authority.dns_table()).start();
    landlord.wait_certificate(ZONE, "valid");
    assert_eq!(authority.front().orders(ZONE), 1);
}

#[test]
fn a_profile_of_the_authoritys_is_asked_for() {
    let authority = Authority::start();
    let profiles = json!({ "meta": { "profiles": { "shortlived": "https://ca.example/shortlived" } } });
    authority.front().break_all(Kind::Directory, Fault::Amend(profiles));
    let landlord = authority.setup_with("profile = \"shortlived\"\n", &authority.dns_table()).start();
    landlord.wait_certificate(ZONE, "valid");
    let placed = authority.front().placed();
    assert_eq!(placed[0].payload["profile"], "shortlived", "{:?}", placed[0].payload);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_renews_and_tries() {
    let authority = Authority::start();
    authority.zone().set("shop.test", "A", &["127.0.0.1"]);
    let landlord = authority.setup().tenant("acme", "domains = [\"shop.test\"]\n").start();
    landlord.wait_certificate(ZONE, "valid");
    let shop = landlord.wait_certificate("shop.test", "valid");

    let table = landlord.landlord(&["certs"]).expect(0).stdout;
    for words in [ZONE, "shop.test", "valid"] {
        assert!(table.contains(words), "{words} is not in:\n{table}");
    }
    let all: Value = serde_json::from_str(&landlord.landlord(&["certs", "--json"]).stdout).expect("JSON");
    let entries = all.as_array().expect("an array");
    let names: Vec<&str> = entries.iter().filter_map(|entry| entry["name"].as_str()).collect();
    assert_eq!(names, [ZONE, "shop.test"]);
    let keys: BTreeSet<&str> = entries[0].as_object().expect("objects").keys().map(String::as_str).collect();
    let known = "alarm expires_in_s failures issuer last_error last_error_at name names next_renewal next_try \
                 not_after not_before reason serial source state tenant";
    assert_eq!(keys, known.split_whitespace().collect());

    landlord.renew("shop.test").expect(0);
    let renewed = landlord.certificate("shop.test");
    assert!(renewed.serial != shop.serial, "{renewed:?}");
    landlord.wait_state("acme", "running");
    let site = authority.site(&landlord, "shop.test");
    assert_eq!(site.get("/").await.expect("an answer").status, 200);
    landlord.renew("apps.test").expect(0);
    assert_eq!((authority.front().orders("shop.test"), authority.front().orders(ZONE)), (2, 2));
    let nobody = landlord.renew("nobody.test").expect(1);
    assert!(nobody.stderr.contains("nobody.test"), "{}", nobody.stderr);

    // A try is thrown away: what is served and what lies on disk are as they were.
    let before = fs::read(landlord.certificate_file("shop.test")).expect("a certificate");
    let tried = landlord.landlord(&["certs", "check"]).expect(0);
    for name in ["apps.test", "shop.test"] {
        assert!(tried.said().contains(name), "{name} is not in:\n{}", tried.said());
    }
    assert!(fs::read(landlord.certificate_file("shop.test")).expect("a certificate") == before);
    assert_eq!(landlord.certificate("shop.test").serial, renewed.serial);
    authority.zone().remove("shop.test", "A");
    let tried = landlord.landlord(&["certs", "check", "shop.test"]).expect(1);
    assert!(tried.said().contains("shop.test"), "{}", tried.said());
    assert_eq!(landlord.certificate("shop.test").state, "valid", "a try is no renewal");
    assert!(authority.zone().challenges().is_empty());
}

#[test]
fn verbs_about_certificates_work_without_an_authority_too() {
    let landlord = Setup::new().tenant("acme", "").start();
    landlord.wait_state("acme", "running");
    let all = landlord.certificates();
    assert!(all.iter().all(|one| one.source == "local" && one.state == "valid"), "{all:#?}");
    let providers = landlord.landlord(&["dns", "providers"]).expect(0).stdout;
    for name in ["rfc2136", "exec", "cloudflare", "route53"] {
        assert!(providers.contains(name), "{name} is not in:\n{providers}");
    }
    let providers = landlord.landlord(&["dns", "providers", "--json"]).expect(0).stdout;
    let providers: Value = serde_json::from_str(&providers).expect("JSON");
    assert!(providers.as_array().expect("an array").iter().any(|one| one["name"] == "rfc2136"));
}
