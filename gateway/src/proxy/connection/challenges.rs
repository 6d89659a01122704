//! What an authority is answered when it looks whether a name is ours: HTTP-01 (RFC 8555 section 8.3) and TLS-ALPN-01
//! (RFC 8737). From memory only: nothing that a client says here is looked for anywhere else.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;
use rustls::{
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{
    policy,
    tls::{self, CertificateError},
};
use crate::{
    model::{Certificate, Host},
    wire::Answers,
};

/// The protocol that only a validator asks for (RFC 8737 section 6.2).
pub(super) const PROTOCOL: &[u8] = b"acme-tls/1";

/// All of them. Immutable: an update is a new one.
#[derive(Debug, Default)]
pub struct Challenges {
    /// Key authorizations by host and token.
    http: HashMap<Host, HashMap<String, Bytes>>,
    tls: HashMap<Host, Arc<CertifiedKey>>,
}

impl Challenges {
    /// All that can be used of `answers`, and what is wrong with the others.
    pub fn build(answers: Answers) -> (Self, Vec<CertificateError>) {
        let (mut new, mut errors) = (Self::default(), Vec::new());
        for answer in answers.http {
            new.http.entry(answer.host).or_default().insert(answer.token, Bytes::from(answer.key_authorization));
        }
        let provider = policy::provider();
        for certificate in answers.tls {
            match parse(&certificate, &provider) {
                Ok((hosts, key)) => new.tls.extend(hosts.into_iter().map(|host| (host, Arc::clone(&key)))),
                Err(reason) => errors.push(CertificateError { names: certificate.names, reason }),
            }
        }
        (new, errors)
    }

    /// The key authorization for this token, asked for at this host.
    pub(super) fn http(&self, host: &Host, token: &str) -> Option<Bytes> {
        self.http.get(host)?.get(token).cloned()
    }

    /// Whether a validator's handshake for this name can be answered.
    pub(super) fn covers(&self, name: &Host) -> bool {
        self.tls.contains_key(name)
    }
}

fn parse(certificate: &Certificate, provider: &CryptoProvider) -> Result<(Vec<Host>, Arc<CertifiedKey>), String> {
    let hosts = certificate.names.iter().map(|name| name.parse::<Host>());
    let hosts = hosts.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let (chain, key) = tls::read_pem(certificate)?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| error.to_string())?;
    // Not held against its key: webpki reads no certificate with an extension that it must understand and does not, and
    // this one's says what it proves (RFC 8737 section 3).
    Ok((hosts, Arc::new(CertifiedKey::new(chain, key))))
}

/// What a path asks for: `Some(token)`, which may be anything, where it is about HTTP-01 and nothing else.
///
/// A slash in disguise makes it no less so: what looks like a challenge is never sent on to https.
pub(super) fn token(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/.well-known/acme-challenge")?;
    match rest.as_bytes().first() {
        None | Some(b'%') => Some(""),
        Some(b'/') => Some(&rest[1..]),
        Some(_) => None,
    }
}

/// Whether this is a validator's handshake (RFC 8737 section 3): it offers the one protocol and no other. Who offers it
/// among others is none, and gets what it gets as a visitor.
pub(super) fn is_validator(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut protocols| protocols.next() == Some(PROTOCOL) && protocols.next().is_none())
}

/// Reads the snapshot at each validator's handshake.
#[derive(Debug)]
pub(super) struct Snapshot(pub(super) Arc<ArcSwap<Challenges>>);

impl ResolvesServerCert for Snapshot {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().tls.get(&tls::host(hello.server_name()?)?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_looks_like_a_challenge_is_one() {
        let prefix = "/.well-known/acme-challenge";
        for (path, expected) in [
            ("/abc_-1", Some("abc_-1")),
            ("/", Some("")),
            ("", Some("")),
            ("/../../etc/passwd", Some("../../etc/passwd")),
            ("%2fabc", Some("")),
            ("/a%2Fb", Some("a%2Fb")),
            ("s/abc", None),
        ] {
            assert_eq!(token(&format!("{prefix}{path}")), expected, "{path}");
        }
        assert_eq!(token("/x/.well-known/acme-challenge/abc"), None);
        assert_eq!(token("*"), None);
    }
}
