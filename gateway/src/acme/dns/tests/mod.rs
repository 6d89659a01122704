//! DNS against a real bind9.
#![allow(clippy::unwrap_used, reason = "tests")]

mod domains;
mod named;
mod programs;
mod records;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use hickory_resolver::proto::rr::RecordType;

use self::named::{Net, SECRET};
use super::{
    Dns,
    ask::{To, ask},
    lookup::{Resolver, data, name},
    providers,
    visible::Everywhere,
    writer::Writer,
};
use crate::{
    model::{DNS_PROVIDERS, DnsValue},
    wire::Record,
};

/// Looks up at, and writes to, this server; asks authoritative servers on its port.
fn dns(net: &Net, timeout: Duration) -> Dns {
    Dns {
        resolver: Resolver::new(vec![net.at(1)]),
        writer: Some(Writer::new("rfc2136", &rfc2136(net.at(1), "landlord", SECRET))),
        everywhere: Everywhere::new(Vec::new(), timeout).with_servers_at(net.map()),
        zone: "apps.example.test".parse().unwrap(),
        directory: crate::model::Acme::PRODUCTION.to_owned(),
        addresses: Vec::new(),
    }
}

fn rfc2136(server: SocketAddr, key_name: &str, key: &str) -> BTreeMap<String, String> {
    [("server", server.to_string().as_str()), ("key_name", key_name), ("key", key)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

fn record(owner: &str, value: &str) -> Record {
    Record { name: owner.to_owned(), zone: "example.test.".to_owned(), value: value.to_owned() }
}

/// What a server shows at a name, in order.
async fn texts(server: SocketAddr, owner: &str) -> Vec<String> {
    let reply = ask(server, &name(owner).unwrap(), RecordType::TXT, To::Authority).await.unwrap();
    let mut texts: Vec<String> = data(&reply, RecordType::TXT).map(|text| text.to_string()).collect();
    texts.sort();
    texts
}

#[tokio::test]
async fn every_provider_is_made_from_its_settings() {
    for provider in DNS_PROVIDERS {
        let mut fields = BTreeMap::new();
        for field in provider.fields {
            let value = match (provider.name, field.name, field.takes) {
                ("oraclecloud", "private_key_pem", _) => pem(),
                // The library cannot open one.
                ("oraclecloud", "private_key_password", _) => continue,
                (_, "region", _) => "eu-central-1".to_owned(),
                (_, "key", _) => SECRET.to_owned(),
                (_, _, DnsValue::Text) => "Zm9v".to_owned(),
                (_, _, DnsValue::Flag) => "true".to_owned(),
                (_, _, DnsValue::Number) => "4".to_owned(),
                (_, _, DnsValue::Duration) => "5s".to_owned(),
                (_, _, DnsValue::Server) => "192.0.2.1:53".to_owned(),
                (_, _, DnsValue::Program) => "/bin/true".to_owned(),
                (_, _, DnsValue::Url) => "https://dns.example".to_owned(),
                (_, _, DnsValue::OneOf(words)) => words.last().unwrap().to_string(),
            };
            fields.insert(field.name.to_owned(), value);
        }
        assert!(provider.name == "exec" || providers::make(provider.name).is_some(), "{}", provider.name);
        if let Err(why) = Writer::new(provider.name, &fields) {
            panic!("{why}");
        }
        let needed = provider.fields.iter().find(|field| field.required);
        if let Some(needed) = needed {
            fields.remove(needed.name);
            let why = Writer::new(provider.name, &fields).err().unwrap();
            assert!(why.contains(&needed.key()) && why.contains(provider.name), "{why}");
        }
    }
}

/// An RSA key.
fn pem() -> String {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    key.serialize_pem()
}

#[tokio::test]
async fn bad_settings_are_told_at_once() {
    let server: SocketAddr = "192.0.2.1:53".parse().unwrap();
    let wrong = |fields: BTreeMap<String, String>| Writer::new("rfc2136", &fields).err().unwrap();
    assert!(wrong(rfc2136(server, "landlord", "not base64!")).contains("key_file must have the key's secret alone"));
    assert!(wrong(rfc2136(server, "landlord", "")).contains("key_file is not set"));
    let mut fields = rfc2136(server, "landlord", SECRET);
    fields.insert("key_algorithm".to_owned(), "hmac-crc".to_owned());
    assert!(wrong(fields).contains("\"hmac-crc\" is none"));
    assert!(Writer::new("nobody", &BTreeMap::new()).err().unwrap().contains("no such provider"));
}
