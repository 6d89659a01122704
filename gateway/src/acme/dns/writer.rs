//! Who writes the records: a provider's API, or a program of the operator's.

use std::{collections::BTreeMap, time::Duration};

use dns_update::{DnsRecord, DnsRecordType, DnsUpdater, Error};

use super::{
    DnsError,
    exec::Program,
    providers::{Fields, make, ttl},
};
use crate::{model::dns_provider, wire::Record};

/// For one call of a provider.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A provider that is ready to write.
pub(super) struct Writer {
    provider: String,
    kind: Kind,
}

enum Kind {
    Api(Box<DnsUpdater>),
    Program(Program),
}

impl Writer {
    /// # Errors
    /// The settings are not what the provider needs.
    pub(super) fn new(provider: &str, fields: &BTreeMap<String, String>) -> Result<Self, String> {
        let wrong = |why: &str| format!("[dns] provider = \"{provider}\": {why}");
        let known = dns_provider(provider).ok_or_else(|| wrong("there is no such provider"))?;
        let empty = |name: &str| fields.get(name).is_none_or(|value| value.trim().is_empty());
        if let Some(field) = known.fields.iter().find(|field| field.required && empty(field.name)) {
            return Err(wrong(&format!("{} is not set: {}", field.key(), field.about)));
        }
        let fields = Fields(fields);
        let kind = match make(provider) {
            Some(make) => Kind::Api(Box::new(make(&fields).map_err(|error| wrong(&setting(error)))?)),
            None => Kind::Program(Program::new(&fields).map_err(|error| wrong(&error))?),
        };
        Ok(Self { provider: provider.to_owned(), kind })
    }

    /// See [`super::Dns::present`].
    pub(super) async fn present(&self, record: &Record) -> Result<(), DnsError> {
        let done = match &self.kind {
            Kind::Program(program) => program.run("present", record).await,
            Kind::Api(api) => {
                let ttl = ttl(&self.provider);
                within(api.add_to_rrset(&record.name, DnsRecordType::TXT, ttl, text(record), &record.zone)).await
            }
        };
        done.map_err(|why| self.refused("write", record, why))
    }

    /// See [`super::Dns::remove`].
    pub(super) async fn remove(&self, record: &Record) -> Result<(), DnsError> {
        let done = match &self.kind {
            Kind::Program(program) => program.run("cleanup", record).await,
            Kind::Api(api) => {
                within(async {
                    match api.remove_from_rrset(&record.name, DnsRecordType::TXT, text(record), &record.zone).await {
                        // It is gone: that is what was asked for.
                        Err(Error::NotFound) => Ok(()),
                        done => done,
                    }
                })
                .await
            }
        };
        done.map_err(|why| self.refused("remove", record, why))
    }

    fn refused(&self, what: &'static str, record: &Record, why: String) -> DnsError {
        let name = record.name.trim_end_matches('.').to_owned();
        DnsError::Provider { provider: self.provider.clone(), what, name, why: with_zone(why, record) }
    }
}

fn text(record: &Record) -> Vec<DnsRecord> {
    vec![DnsRecord::TXT(record.value.clone())]
}

async fn within(call: impl Future<Output = dns_update::Result<()>>) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(done) => done.map_err(sentence),
        Err(_) => Err(format!("there was no answer within {} s", PATIENCE.as_secs())),
    }
}

/// The zone's name, where a sentence has left room for it.
fn with_zone(why: String, record: &Record) -> String {
    why.replace(ZONE, record.zone.trim_end_matches('.'))
}

const ZONE: &str = "{zone}";

/// What a provider said, and what it means.
fn sentence(error: Error) -> String {
    match error {
        Error::Response(code) => response(&code),
        Error::Unauthorized => {
            "the credentials are not accepted: see that they are whole, have not expired, and may change this zone"
                .to_owned()
        }
        Error::NotFound => format!("zone {ZONE} is not found there: is it in this account?"),
        Error::BadRequest => "the request is refused as a bad one".to_owned(),
        Error::Client(why) | Error::Protocol(why) if is_tsig(&why) => bad_key(&why),
        Error::Client(why) if why.contains("io error") || why.contains("timed out") => {
            format!("the server cannot be reached: {why}")
        }
        Error::Api(why) | Error::Client(why) | Error::Protocol(why) | Error::Unsupported(why) => why,
        other => other.to_string(),
    }
}

/// A response code of an UPDATE (RFC 2136 section 2.2, RFC 8945 section 5.3).
fn response(code: &str) -> String {
    match code {
        "Query Refused" => {
            "the server refuses (REFUSED): its update-policy, or allow-update, must let this key change TXT \
            records at this name"
                .to_owned()
        }
        "Name not in zone" => format!("the name is not in zone {ZONE} there (NOTZONE)"),
        "Signature out of time window" => {
            "the clocks of this machine and of the server differ too much (BADTIME)".to_owned()
        }
        "Not authorized" => bad_key("NOTAUTH"),
        "TSIG Failure" | "Key not recognized" | "Algorithm not supported" | "Bad truncation" => bad_key(code),
        "Not Implemented" => "the server takes no DNS UPDATE (NOTIMP): is it the primary?".to_owned(),
        _ => format!("the server answers: {code}"),
    }
}

/// Words of the library for a TSIG that did not fit.
fn is_tsig(why: &str) -> bool {
    let lower = why.to_lowercase();
    ["tsig", "signature", "hmac", "mac "].iter().any(|word| lower.contains(word))
}

fn bad_key(said: &str) -> String {
    format!(
        "the server does not know the key, its secret or algorithm is another, or it is not the primary of {ZONE} ({said}): \
         see key_name, key_file, key_algorithm and server"
    )
}

/// What is wrong with a setting.
fn setting(error: Error) -> String {
    match error {
        Error::Parse(why) | Error::Api(why) | Error::Client(why) | Error::Unsupported(why) => why,
        other => other.to_string(),
    }
}
