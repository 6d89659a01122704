//! Who writes the records: a provider's API, or a program of the operator's.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use dns_update::{DnsRecord, DnsRecordType, DnsUpdater, Error};

use super::{
    DnsError,
    exec::Program,
    providers::{Fields, make, ttl},
};
use crate::{
    model::{DnsProvider, dns_provider},
    wire::Record,
};

/// For one call of a provider.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A provider that is ready to write.
pub(super) struct Writer {
    provider: String,
    /// What no sentence may show: some providers have the key in their URL, which the library quotes.
    secrets: Vec<String>,
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
        let known = dns_provider(provider);
        let secrets = known.map(|known| secrets(known, fields)).unwrap_or_default();
        let wrong = |why: &str| format!("[dns] provider = \"{provider}\": {}", without(why, &secrets));
        let known = known.ok_or_else(|| wrong("there is no such provider"))?;
        let empty = |name: &str| fields.get(name).is_none_or(|value| value.trim().is_empty());
        if let Some(field) = known.fields.iter().find(|field| field.required && empty(field.name)) {
            return Err(wrong(&format!("{} is not set: {}", field.key(), field.about)));
        }
        let fields = Fields(fields);
        let kind = match make(provider) {
            Some(make) => Kind::Api(Box::new(make(&fields).map_err(|error| wrong(&setting(error)))?)),
            None => Kind::Program(Program::new(&fields).map_err(|error| wrong(&error))?),
        };
        Ok(Self { provider: provider.to_owned(), secrets, kind })
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
        let why = without(&with_zone(why, record), &self.secrets);
        DnsError::Provider { provider: self.provider.clone(), what, name, why }
    }
}

/// Shorter ones could be part of any word, and are nobody's key.
const SHORTEST_SECRET: usize = 4;

/// Each secret as it may be quoted: as it is, as a URL has it, and as JSON does. The longest first,
/// for one may be part of another.
fn secrets(provider: &DnsProvider, fields: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = BTreeSet::new();
    for field in provider.fields.iter().filter(|field| field.secret) {
        let Some(secret) = fields.get(field.name).map(|value| value.trim()) else { continue };
        // A key in PEM or JSON is quoted line by line, if at all.
        for part in secret.lines().chain([secret]).map(str::trim).filter(|part| part.len() >= SHORTEST_SECRET) {
            found.extend([
                part.to_owned(),
                encoded(part, "%20"),
                encoded(part, "+"),
                format!("{part:?}").replace('"', ""),
            ]);
        }
    }
    let mut found: Vec<String> = found.into_iter().collect();
    found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    found
}

/// RFC 3986 section 2.1, with a space as forms or URLs have it.
fn encoded(text: &str, space: &str) -> String {
    let mut url = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => url.push_str(space),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => url.push(char::from(byte)),
            byte => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

fn without(text: &str, secrets: &[String]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "[secret]"))
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
    // The library asks for a report where an answer has no TSIG it knows, which is what a wrong secret looks like.
    let said = if said.contains("Please file an issue") { "its answer is not signed with the key" } else { said };
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_a_quoted_url_is_not_shown() {
        let fields = BTreeMap::from([("api_key".to_owned(), " s3cr3t/k+y= \n".to_owned())]);
        let writer = Writer::new("namesilo", &fields).unwrap();
        let record = Record { name: "_acme-challenge.a.test.".into(), zone: "a.test.".into(), value: "digest".into() };
        for url in ["https://x.test/api?key=s3cr3t/k+y=&domain=a", "https://x.test/api?key=s3cr3t%2Fk%2By%3D&domain=a"]
        {
            let said = Error::Api(format!("Failed to send request to {url}: connection refused"));
            let told = writer.refused("write", &record, sentence(said)).to_string();
            assert!(!told.contains("s3cr3t"), "{told}");
            assert!(told.contains("?key=[secret]&domain=a: connection refused"), "{told}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_not_shown() {
        let key = "-----BEGIN PRIVATE KEY-----\nbm8ga2V5IGF0IGFsbA==\n-----END PRIVATE KEY-----";
        let fields = [("login", "us"), ("private_key_pem", key)];
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let known = secrets(dns_provider("transip").unwrap(), &fields);
        assert_eq!(without("line \"bm8ga2V5IGF0IGFsbA==\" is no key", &known), "line \"[secret]\" is no key");
    }
}
