//! Custom domains: a certificate as soon as DNS points here, what is missing until then, and never one for anybody else.

use std::time::{Duration, Instant};

use harness::{
    Landlord,
    authority::{Authority, Kind, Plan},
    client::ClientError,
};

const SHOP: &str = "shop.test";

fn shop() -> String {
    format!("domains = [{SHOP:?}]\n")
}

/// A request in clear text, and the answer's status and Location.
async fn plainly(landlord: &Landlord, host: &str, path: &str) -> (u16, Option<String>) {
    let mut raw = landlord.plain().await.expect("a connection");
    raw.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.expect("sent");
    let answer = raw.response().await.expect("an answer");
    (answer.status, answer.field("location").map(str::to_owned))
}

async fn answers(authority: &Authority, landlord: &Landlord, host: &str) {
    let answer = authority.site(landlord, host).get("/").await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_is_validated_in_a_handshake() {
    let authority = Authority::start();
    authority.zone().set(SHOP, "A", &["127.0.0.1"]);
    let setup = authority.setup_with("challenges = [\"tls-alpn-01\"]\n", &authority.dns_table());
    let landlord = setup.tenant("acme", &shop()).start();
    let valid = landlord.wait_certificate(SHOP, "valid");
    assert_eq!((valid.names, valid.tenant.as_deref()), (vec![SHOP.to_owned()], Some("acme")));
    landlord.wait_state("acme", "running");
    answers(&authority, &landlord, SHOP).await;
    assert_eq!((authority.front().orders(SHOP), authority.pebble().failed_validations()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_is_validated_in_clear_text_while_all_else_is_redirected() {
    let authority = Authority::start();
    authority.zone().set(SHOP, "A", &["127.0.0.1"]);
    let setup = authority.setup_with("challenges = [\"http-01\"]\n", &authority.dns_table());
    let landlord = setup.tenant("acme", &shop()).start();
    landlord.wait_certificate(SHOP, "valid");
    landlord.wait_state("acme", "running");
    answers(&authority, &landlord, SHOP).await;
    let looked = |line: &String| line.contains(&format!("http://{SHOP}:")) && line.contains("acme-challenge");
    assert!(authority.pebble().log().lines().iter().any(looked), "it was looked at in clear text");
    let (status, location) = plainly(&landlord, SHOP, "/a?b").await;
    let port = landlord.https().port();
    assert_eq!((status, location), (308, Some(format!("https://{SHOP}:{port}/a?b"))));
    for token in ["nobody-knows-this", "../../state/certs/shop.test.pem", ""] {
        let path = format!("/.well-known/acme-challenge/{token}");
        assert_eq!(plainly(&landlord, SHOP, &path).await.0, 404, "{path}");
    }
    assert_eq!((authority.front().orders(SHOP), authority.pebble().failed_validations()), (1, 0));
}

#[test]
fn a_second_challenge_is_tried_where_the_first_one_fails() {
    let authority = Plan::new().deaf_to_tls().start();
    authority.zone().set(SHOP, "A", &["127.0.0.1"]);
    let landlord = authority.setup().tenant("acme", &shop()).start();
    let failed = landlord.wait_certificate_for(SHOP, harness::PATIENCE, "an error", |one| one.last_error.is_some());
    assert_eq!((failed.failures, authority.pebble().failed_validations()), (1, 1), "{failed:?}");
    assert!(failed.next_try.is_some(), "when it is tried again");
    landlord.renew(SHOP).expect(0);
    let valid = landlord.certificate(SHOP);
    assert_eq!((valid.state.as_str(), valid.failures, valid.last_error), ("valid", 0, None));
    assert_eq!((authority.front().orders(SHOP), authority.pebble().failed_validations()), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dns_lacks_is_said_and_the_authority_is_asked_when_it_is_there() {
    let authority = Authority::start();
    let landlord = authority.setup().tenant("acme", &shop()).start();
    landlord.wait_certificate("*.apps.test", "valid");
    let asked = authority.front().count(Kind::NewOrder);

    let missing = landlord.wait_certificate(SHOP, "dns");
    for words in [SHOP, "127.0.0.1"] {
        assert!(missing.reason.contains(words), "{words} is not in {:?}", missing.reason);
    }
    let status = landlord.landlord(&["status", "acme"]).expect(0).stdout;
    assert!(status.contains(SHOP), "{status}");

    authority.zone().set(SHOP, "A", &["127.0.0.9"]);
    let _ = landlord.renew(SHOP);
    let wrong = landlord.wait_certificate_for(SHOP, harness::PATIENCE, "which address it has", |one| {
        one.state == "dns" && one.reason.contains("127.0.0.9")
    });
    assert!(wrong.reason.contains("127.0.0.1"), "{}", wrong.reason);
    assert_eq!(authority.front().count(Kind::NewOrder), asked, "{}", authority.front().told());
    let refused = authority.site(&landlord, SHOP).get("/").await;
    assert!(matches!(refused, Err(ClientError::Tls(_))), "no certificate of another's is shown: {refused:?}");

    authority.zone().set(SHOP, "A", &["127.0.0.1"]);
    landlord.renew(SHOP).expect(0);
    landlord.wait_certificate(SHOP, "valid");
    landlord.wait_state("acme", "running");
    answers(&authority, &landlord, SHOP).await;
    assert_eq!(authority.front().orders(SHOP), 1);
}

#[test]
fn a_domain_that_forbids_the_authority_is_not_asked_for() {
    let authority = Authority::start();
    authority.zone().set(SHOP, "A", &["127.0.0.1"]);
    authority.zone().set(SHOP, "CAA", &["0 issue \";\""]);
    let landlord = authority.setup().tenant("acme", &shop()).start();
    let forbidden = landlord.wait_certificate(SHOP, "dns");
    assert!(forbidden.reason.contains("CAA"), "{}", forbidden.reason);
    authority.zone().remove(SHOP, "CAA");
    landlord.renew(SHOP).expect(0);
    landlord.wait_certificate(SHOP, "valid");
    assert_eq!(authority.front().orders(SHOP), 1);
}

#[test]
fn a_cname_to_the_zone_is_as_good_as_an_address() {
    let authority = Authority::start();
    authority.zone().set("www.shop.test", "CNAME", &["acme.apps.test."]);
    let landlord = authority.setup().tenant("acme", "domains = [\"www.shop.test\"]\n").start();
    landlord.wait_certificate("www.shop.test", "valid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_a_certificate_by_asking_for_it() {
    let authority = Authority::start();
    for host in [SHOP, "gone.test", "stranger.test"] {
        authority.zone().set(host, "A", &["127.0.0.1"]);
    }
    authority.zone().remove("gone.test", "A");
    let landlord = authority.setup().tenant("gone", "domains = [\"gone.test\"]\n").start();
    landlord.wait_certificate("gone.test", "dns");
    landlord.remove_tenant("gone");
    landlord.wait_gone("gone");
    authority.zone().set("gone.test", "A", &["127.0.0.1"]);
    for host in ["gone.test", "stranger.test", "x.stranger.test"] {
        for _ in 0..10 {
            let refused = authority.site(&landlord, host).get("/").await;
            assert!(matches!(refused, Err(ClientError::Tls(_))), "{host}: {refused:?}");
            assert_eq!(plainly(&landlord, host, "/").await.0, 404);
        }
    }
    // What came later than all that asking is served: the rest was not merely late.
    landlord.drop_tenant("acme", shop());
    landlord.wait_certificate(SHOP, "valid");
    for host in ["gone.test", "stranger.test", "x.stranger.test"] {
        assert_eq!(authority.front().orders(host), 0, "{host}");
        assert!(landlord.certificates().iter().all(|one| one.name != host), "{host}");
        landlord.renew(host).expect(1);
    }
    assert_eq!(authority.front().placed().len(), 2, "the zone and {SHOP}: {}", authority.front().told());
}

/// `LANDLORD_DOMAINS=300` for as many as the authority's budget lets through at once.
#[test]
fn many_domains_at_once_are_all_served_by_one_order_each() {
    let count: usize = std::env::var("LANDLORD_DOMAINS").map_or(40, |text| text.parse().expect("a number"));
    let authority = Authority::start();
    let hosts: Vec<String> = (0..count).map(|number| format!("d{number}.test")).collect();
    authority.zone().point(&hosts);
    let tenant = |number: usize| format!("domains = [\"d{number}.test\"]\nsuspended = true\n");
    let setup = (0..count).fold(authority.setup(), |setup, at| setup.tenant(&format!("t{at}"), &tenant(at)));
    let landlord = setup.start();
    let start = Instant::now();
    let all = landlord.wait_certificates(Duration::from_secs(300), "every certificate", |all| {
        all.len() > count && all.iter().all(|one| one.state == "valid")
    });
    #[allow(clippy::print_stderr, reason = "a figure for whoever asks with --nocapture")]
    {
        eprintln!("{count} custom domains were valid after {:.1} s", start.elapsed().as_secs_f64());
    }
    assert_eq!(all.len(), count + 1);
    assert_eq!(authority.front().placed().len(), count + 1, "{}", authority.front().told());
    assert_eq!(authority.front().count(Kind::NewAccount), 1);
    assert_eq!(authority.pebble().failed_validations(), 0);
}
