//! Looking whether a custom domain points here.

use std::time::Duration;

use super::{
    dns,
    named::{Named, Net, Zone},
};
use crate::{acme::dns::Dns, model::Finding};

const ZONE: &str = "@ NS ns1\nns1 A 192.0.2.53\napps A 203.0.113.7\n*.only A 203.0.113.9\n";
const CUSTOM: &str = "@ NS ns1\nns1 A 192.0.2.53\n\
    ours A 203.0.113.7\nalias CNAME apps.example.test.\nother A 198.51.100.1\nboth A 203.0.113.7\nboth A 198.51.100.1\n\
    text TXT hello\nnine A 203.0.113.9\n\
    denied A 203.0.113.7\ndenied CAA 0 issue \"pki.goog\"\nsub.denied A 203.0.113.7\n\
    allowed A 203.0.113.7\nallowed CAA 0 issue \"letsencrypt.org; validationmethods=http-01\"\n\
    caaalias CNAME denied\n";

async fn missing(dns: &Dns, host: &str) -> String {
    match dns.look(&host.parse().unwrap()).await {
        Finding::Missing(why) => why,
        other => panic!("{host}: {other:?}"),
    }
}

async fn ready(dns: &Dns, host: &str) -> Option<String> {
    match dns.look(&host.parse().unwrap()).await {
        Finding::Ready(remark) => remark,
        other => panic!("{host}: {other:?}"),
    }
}

#[tokio::test]
async fn caa_records_that_nobody_here_can_tell_forbid_nothing() {
    let net = Net::new();
    // It knows its own zones and refuses to speak of what is above them, as servers that serve only their zones do.
    let zones = [Zone::Primary("example.test", ZONE), Zone::Primary("acme.test", CUSTOM)];
    let _named = Named::start(net.at(1), &zones);
    let dns = dns(&net, Duration::from_secs(1));
    let remark = ready(&dns, "ours.acme.test").await.unwrap();
    assert!(remark.contains("CAA records could not be looked up"), "{remark}");
    assert!(missing(&dns, "denied.acme.test").await.contains("allow only pki.goog"));
}

#[tokio::test]
async fn a_custom_domain_must_point_here() {
    let net = Net::new();
    let zones = [
        Zone::Primary("example.test", ZONE),
        Zone::Primary("acme.test", CUSTOM),
        // CAA records are looked for up to here.
        Zone::Primary("test", "@ NS ns1\nns1 A 192.0.2.53\n"),
        // Never transferred: SERVFAIL.
        Zone::Secondary("broken.test", net.at(9)),
    ];
    let _named = Named::start(net.at(1), &zones);
    let mut dns = dns(&net, Duration::from_secs(1));
    for host in ["ours.acme.test", "alias.acme.test", "allowed.acme.test"] {
        assert_eq!(ready(&dns, host).await, None);
    }
    assert_eq!(
        missing(&dns, "text.acme.test").await,
        "text.acme.test has no A, AAAA or CNAME record: add \"text.acme.test. CNAME apps.example.test.\" or \
         \"text.acme.test. A 203.0.113.7\""
    );
    assert!(
        missing(&dns, "none.acme.test").await.starts_with("none.acme.test is not in DNS: add \"none.acme.test. CNAME")
    );
    assert!(
        missing(&dns, "other.acme.test")
            .await
            .starts_with("other.acme.test resolves to 198.51.100.1, which is not this landlord (203.0.113.7): ")
    );
    assert!(missing(&dns, "both.acme.test").await.ends_with("(203.0.113.7): remove that record"));
    for host in ["denied.acme.test", "sub.denied.acme.test", "caaalias.acme.test"] {
        let why = missing(&dns, host).await;
        assert!(why.contains("allow only pki.goog to issue, not letsencrypt.org"), "{host}: {why}");
    }
    let Finding::Unknown(why) = dns.look(&"x.broken.test".parse().unwrap()).await else { panic!("not unknown") };
    assert!(why.contains("Server Failure"), "{why}");

    // Another authority, whose name in CAA records nobody told.
    dns.directory = "https://acme.example/directory".to_owned();
    assert!(ready(&dns, "denied.acme.test").await.unwrap().contains("allow only pki.goog"));
    assert_eq!(ready(&dns, "ours.acme.test").await, None);

    // What is set comes before what the zone has.
    dns.addresses = vec!["198.51.100.1".parse().unwrap()];
    assert_eq!(ready(&dns, "other.acme.test").await, None);
    let why = missing(&dns, "text.acme.test").await;
    assert!(why.ends_with("record: add \"text.acme.test. A 198.51.100.1\""), "{why}");

    // A zone whose apex has no address, but whose tenants do; and one where nobody has.
    dns.addresses.clear();
    dns.zone = "only.example.test".parse().unwrap();
    assert_eq!(ready(&dns, "nine.acme.test").await, None);
    assert!(missing(&dns, "text.acme.test").await.ends_with("add \"text.acme.test. A 203.0.113.9\""));
    dns.zone = "nowhere.example.test".parse().unwrap();
    assert!(missing(&dns, "ours.acme.test").await.contains("set [acme] addresses"));
}

#[tokio::test]
async fn a_resolver_that_is_not_there_says_nothing_of_a_domain() {
    let net = Net::new();
    let dns = dns(&net, Duration::from_secs(1));
    let Finding::Unknown(why) = dns.look(&"ours.acme.test".parse().unwrap()).await else { panic!("not unknown") };
    assert_eq!(
        why,
        format!("A apps.example.test could not be looked up: {} cannot be reached: connection refused", net.at(1))
    );
}
