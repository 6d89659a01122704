//! Writing, removing, finding and awaiting records.

use std::{net::UdpSocket, time::Duration};

use hickory_resolver::proto::{
    op::{Message, OpCode, Query},
    rr::RecordType,
};

use super::{
    super::{DnsError, lookup::name},
    named::{Named, Net, SECRET, Zone},
    *,
};

const OWNER: &str = "_acme-challenge.apps.example.test.";
const LONG: Duration = Duration::from_secs(120);

/// `example.test` with these name servers; each has its addresses' last octets.
fn zone(net: &Net, servers: &[(&str, &[u8])], more: &str) -> String {
    let mut text = String::new();
    for (server, addresses) in servers {
        text.push_str(&format!("@ NS {server}\n"));
        for last in *addresses {
            text.push_str(&format!("{server} A {}\n", net.ip(*last)));
        }
    }
    text + more
}

#[tokio::test]
async fn values_of_one_name_live_beside_each_other() {
    let net = Net::new();
    let _named = Named::start(net.at(1), &[Zone::Primary("example.test", &zone(&net, &[("ns1", &[1])], ""))]);
    let dns = dns(&net, LONG);
    let (owner, zone) = dns.locate("*.apps.example.test").await.unwrap();
    assert_eq!((owner.as_str(), zone.as_str()), (OWNER, "example.test."));
    assert_eq!(dns.locate("apps.example.test").await.unwrap().0, OWNER);
    let (wild, apex) = (record(&owner, "wildcard"), record(&owner, "apex"));
    for record in [&wild, &apex, &wild] {
        dns.present(record).await.unwrap();
    }
    assert_eq!(texts(net.at(1), OWNER).await, ["apex", "wildcard"]);
    let mut lines = Vec::new();
    for record in [&wild, &apex] {
        dns.wait_visible(record, &mut |line| lines.push(line)).await.unwrap();
    }
    assert!(lines.is_empty(), "{lines:?}");
    dns.remove(&wild).await.unwrap();
    assert_eq!(texts(net.at(1), OWNER).await, ["apex"]);
    // What is gone is gone.
    dns.remove(&wild).await.unwrap();
    dns.remove(&apex).await.unwrap();
    assert!(texts(net.at(1), OWNER).await.is_empty());
}

#[tokio::test]
async fn a_secondary_that_lags_is_waited_for() {
    let net = Net::new();
    let records = zone(&net, &[("ns1", &[1]), ("ns2", &[2])], "");
    let _primary = Named::start(net.at(1), &[Zone::Primary("example.test", &records)]);
    let _secondary = Named::start(net.at(2), &[Zone::Secondary("example.test", net.at(1))]);
    let dns = dns(&net, LONG);
    let record = record(OWNER, "value");
    // Until it has the zone at all it answers SERVFAIL: not before it does is the record written.
    let has_zone = Record { value: "first".to_owned(), ..record.clone() };
    dns.present(&has_zone).await.unwrap();
    dns.wait_visible(&has_zone, &mut |_| notify(&net)).await.unwrap();
    dns.present(&record).await.unwrap();
    let mut lines = Vec::new();
    dns.wait_visible(&record, &mut |line| {
        lines.push(line);
        // It is told of the change only now.
        notify(&net);
    })
    .await
    .unwrap();
    let line = format!(
        "waiting for the record at ns2.example.test ({}): it shows another value only; 1 of 2 servers show it",
        net.at(2)
    );
    assert_eq!(lines.first(), Some(&line));
    assert_eq!(texts(net.at(2), OWNER).await, ["first", "value"]);
}

/// "The zone has changed" (RFC 1996).
fn notify(net: &Net) {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Notify;
    message.metadata.authoritative = true;
    message.add_query(Query::query(name("example.test").unwrap(), RecordType::SOA));
    let socket = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.send_to(&message.to_vec().unwrap(), net.at(2)).unwrap();
}

#[tokio::test]
async fn a_dead_address_blocks_only_where_no_other_answers() {
    let net = Net::new();
    // Nothing listens at 9.
    let records = zone(&net, &[("ns1", &[1, 9])], "");
    let _named = Named::start(net.at(1), &[Zone::Primary("example.test", &records)]);
    let written = record(OWNER, "value");
    let dns = dns(&net, LONG);
    dns.present(&written).await.unwrap();
    dns.wait_visible(&written, &mut |_| ()).await.unwrap();

    let net = Net::new();
    let records = zone(&net, &[("ns1", &[1]), ("ns2", &[9])], "");
    let _named = Named::start(net.at(1), &[Zone::Primary("example.test", &records)]);
    let dns = super::dns(&net, Duration::from_secs(2));
    dns.present(&written).await.unwrap();
    let why = dns.wait_visible(&written, &mut |_| ()).await.unwrap_err().to_string();
    assert_eq!(
        why,
        format!(
            "the TXT record _acme-challenge.apps.example.test was not seen everywhere within 2 s: ns2.example.test ({}): \
             it cannot be reached (connection refused)",
            net.at(9)
        )
    );
}

#[tokio::test]
async fn a_server_that_says_nothing_is_named() {
    let net = Net::new();
    let records = zone(&net, &[("ns1", &[1]), ("ns2", &[2])], "");
    let _named = Named::start(net.at(1), &[Zone::Primary("example.test", &records)]);
    let _silent = UdpSocket::bind(net.at(2)).unwrap();
    let dns = dns(&net, Duration::from_secs(3));
    let written = record(OWNER, "value");
    dns.present(&written).await.unwrap();
    let why = dns.wait_visible(&written, &mut |_| ()).await.unwrap_err().to_string();
    assert!(why.ends_with(&format!("ns2.example.test ({}): it does not answer", net.at(2))), "{why}");
}

#[tokio::test]
async fn resolvers_that_are_set_are_the_ones_that_count() {
    let net = Net::new();
    // Its name server is no machine at all.
    let _named = Named::start(net.at(1), &[Zone::Primary("example.test", &zone(&net, &[("ns1", &[9])], ""))]);
    let mut dns = dns(&net, LONG);
    dns.everywhere = Everywhere::new(vec![net.at(1)], Duration::from_secs(1));
    let written = record(OWNER, "value");
    let why = dns.wait_visible(&written, &mut |_| ()).await.unwrap_err().to_string();
    assert!(why.contains(&format!("{}: it has no such record yet (a resolver may remember", net.at(1))), "{why}");
    dns.present(&written).await.unwrap();
    dns.wait_visible(&written, &mut |_| ()).await.unwrap();
}

#[tokio::test]
async fn aliases_are_followed_and_what_a_wildcard_makes_up_is_not() {
    let net = Net::new();
    let more = "_acme-challenge.apps CNAME abc.auth.test.\n\
        _acme-challenge.loop CNAME _acme-challenge.pool\n_acme-challenge.pool CNAME _acme-challenge.loop\n\
        *.wild CNAME wild\nwild A 192.0.2.1\n";
    let auth = format!("@ NS ns1\nns1 A {}\n", net.ip(1));
    let _named = Named::start(
        net.at(1),
        &[Zone::Primary("example.test", &zone(&net, &[("ns1", &[1])], more)), Zone::Primary("auth.test", &auth)],
    );
    let dns = dns(&net, LONG);
    let (name, zone) = dns.locate("*.apps.example.test").await.unwrap();
    assert_eq!((name.as_str(), zone.as_str()), ("abc.auth.test.", "auth.test."));
    let written = Record { name, zone, value: "value".to_owned() };
    dns.present(&written).await.unwrap();
    dns.wait_visible(&written, &mut |_| ()).await.unwrap();
    assert_eq!(texts(net.at(1), "abc.auth.test").await, ["value"]);

    let (name, zone) = dns.locate("wild.example.test").await.unwrap();
    assert_eq!((name.as_str(), zone.as_str()), ("_acme-challenge.wild.example.test.", "example.test."));
    let written = Record { name, zone, value: "value".to_owned() };
    dns.present(&written).await.unwrap();
    assert_eq!(texts(net.at(1), &written.name).await, ["value"]);

    let why = dns.locate("loop.example.test").await.unwrap_err().to_string();
    assert!(why.contains("lead in a circle"), "{why}");
}

#[tokio::test]
async fn what_a_primary_refuses_is_said_with_what_to_do() {
    let net = Net::new();
    let _named = Named::start(net.at(1), &[Zone::Primary("example.test", &zone(&net, &[("ns1", &[1])], ""))]);
    let mut dns = dns(&net, LONG);
    let other = "b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgMTI=";
    for (key_name, key) in [("landlord", other), ("nobody", SECRET)] {
        dns.writer = Some(Writer::new("rfc2136", &rfc2136(net.at(1), key_name, key)));
        let why = dns.present(&record(OWNER, "value")).await.unwrap_err().to_string();
        assert!(why.starts_with("rfc2136 did not write the TXT record _acme-challenge.apps.example.test: "), "{why}");
        assert!(why.contains("the server does not know the key") && why.contains("key_name, key_file"), "{why}");
    }
    // A key that it knows, and that may nothing.
    dns.writer = Some(Writer::new("rfc2136", &rfc2136(net.at(1), "elsewhere", SECRET)));
    let why = dns.present(&record(OWNER, "value")).await.unwrap_err().to_string();
    assert!(why.contains("update-policy"), "{why}");
    assert!(texts(net.at(1), OWNER).await.is_empty());
    // Nobody there.
    dns.writer = Some(Writer::new("rfc2136", &rfc2136(net.at(9), "landlord", SECRET)));
    let why = dns.remove(&record(OWNER, "value")).await.unwrap_err().to_string();
    assert!(why.contains("did not remove") && why.contains("cannot be reached"), "{why}");
    // A file with more than the secret in it: said where it is to be used, and nowhere else.
    dns.writer = Some(Writer::new("rfc2136", &rfc2136(net.at(1), "landlord", "key \"landlord\" { secret")));
    let unusable = dns.present(&record(OWNER, "value")).await.unwrap_err();
    assert!(unusable.to_string().contains("key_file must have the key's secret alone"), "{unusable}");
    assert_eq!(dns.locate("apps.example.test").await, Err(unusable), "before anything is noted");
    dns.writer = None;
    assert!(matches!(dns.present(&record(OWNER, "value")).await, Err(DnsError::NoProvider(_))));
}
