//! What a certificate says (RFC 5280), and whether it can be served at all: nothing is told to a proxy that was not looked at
//! here.

use std::sync::OnceLock;

use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use rustls::{
    crypto::{CryptoProvider, aws_lc_rs},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::{
    certificate::X509Certificate,
    error::X509Error,
    extensions::{GeneralName, ParsedExtension},
    parse_x509_certificate,
    time::ASN1Time,
    x509::X509Name,
};

use crate::model::Host;

/// What a leaf says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::master) struct Read {
    /// Its DNS names in lower case, in its order; wildcards begin with `*.`.
    pub(in crate::master) names: Vec<String>,
    /// Its issuer's common name, else organization.
    pub(in crate::master) issuer: String,
    /// In hex.
    pub(in crate::master) serial: String,
    /// The first second of its life.
    pub(in crate::master) not_before: Timestamp,
    /// The last one.
    pub(in crate::master) not_after: Timestamp,
    /// Its identifier for renewal information (RFC 9773 section 4.1), where it says which key has signed it.
    pub(in crate::master) renewal_id: Option<String>,
}

impl Read {
    /// Whether it is for this host: by its very name, or by a wildcard in the place of the first label (RFC 9525 section 6.3).
    pub(in crate::master) fn covers(&self, name: &str) -> bool {
        let wildcard = name.split_once('.').map(|(_, above)| above).filter(|_| !name.starts_with('*'));
        let above = |own: &String| wildcard.is_some_and(|above| own.strip_prefix("*.") == Some(above));
        self.names.iter().any(|own| own == name || above(own))
    }

    /// Whether it can be used at this time.
    pub(in crate::master) fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// Looks at a chain, leaf first, and its key: every certificate can be read, each is issued by the one after it, the key is the
/// leaf's, servers may use it, and it is for all of `names`. The dates are told and not judged.
///
/// # Errors
/// A sentence about the first fault.
pub(in crate::master) fn check(chain_pem: &str, key_pem: &str, names: &[String]) -> Result<Read, String> {
    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("its chain is no PEM: {error}"))?;
    let parsed = chain.iter().enumerate().map(|(at, der)| parse(at, der)).collect::<Result<Vec<_>, _>>()?;
    let leaf = parsed.first().ok_or("it holds no certificate")?;
    let read = read(leaf)?;
    if let Some(missing) = names.iter().find(|name| !read.covers(name)) {
        return Err(format!("it is for {}, not for {missing}", read.names.join(", ")));
    }
    serves(leaf)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| "its private key is no PEM of one")?;
    CertifiedKey::from_der(chain.clone(), key, provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "its private key is not that of the certificate".to_owned(),
        error => format!("its private key cannot be used: {error}"),
    })?;
    for (at, pair) in parsed.windows(2).enumerate() {
        if let [issued, issuer] = pair {
            issued_by(issued, issuer).map_err(|why| format!("certificate {} of its chain {why}", at + 1))?;
        }
    }
    Ok(read)
}

fn parse<'a>(at: usize, der: &'a CertificateDer<'static>) -> Result<X509Certificate<'a>, String> {
    match parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(format!("certificate {} of its chain has bytes after its end", at + 1)),
        Err(error) => Err(format!("certificate {} of its chain cannot be read: {error}", at + 1)),
    }
}

fn read(leaf: &X509Certificate<'_>) -> Result<Read, String> {
    let mut names: Vec<String> = Vec::new();
    let alternative = leaf.subject_alternative_name().map_err(|error| format!("its names cannot be read: {error}"))?;
    for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
        if let GeneralName::DNSName(name) = name {
            let name = name.to_ascii_lowercase();
            // What could be no host's is of no use here: an underscore, `*.*.x`.
            if name.strip_prefix("*.").unwrap_or(&name).parse::<Host>().is_ok() && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    if names.is_empty() {
        return Err("it has no DNS name (subjectAltName), and browsers look nowhere else".to_owned());
    }
    let validity = leaf.validity();
    Ok(Read {
        names,
        issuer: of_whom(leaf.issuer()),
        serial: leaf.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
        not_before: timestamp(validity.not_before)?,
        not_after: timestamp(validity.not_after)?,
        renewal_id: renewal_id(leaf),
    })
}

fn of_whom(name: &X509Name<'_>) -> String {
    let (mut common, mut organization) = (name.iter_common_name(), name.iter_organization());
    let text = common.next().or_else(|| organization.next()).and_then(|it| it.as_str().ok());
    text.map_or_else(|| name.to_string(), str::to_owned)
}

fn timestamp(time: ASN1Time) -> Result<Timestamp, String> {
    Timestamp::from_second(time.timestamp()).map_err(|error| format!("its dates are none: {error}"))
}

/// The identifier of the key that signed it and the serial number's bytes as DER has them, a leading zero included.
fn renewal_id(leaf: &X509Certificate<'_>) -> Option<String> {
    let key = leaf.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(found) => found.key_identifier.as_ref(),
        _ => None,
    })?;
    Some(format!("{}.{}", BASE64URL_NOPAD.encode(key.0), BASE64URL_NOPAD.encode(leaf.raw_serial())))
}

/// Whether servers may use it (RFC 5280 section 4.2.1.12): one that may not, every visitor refuses.
fn serves(leaf: &X509Certificate<'_>) -> Result<(), String> {
    let usage = leaf.extended_key_usage().map_err(|error| format!("its purposes cannot be read: {error}"))?;
    match usage {
        Some(usage) if !usage.value.server_auth && !usage.value.any => {
            Err("it is not for servers (serverAuth)".to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether one is the issuer of the other, by name and by signature. A signature of a kind that we do not know is the visitor's
/// to judge.
fn issued_by(issued: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> Result<(), String> {
    if issued.issuer().as_raw() != issuer.subject().as_raw() {
        let (wanted, found) = (of_whom(issued.issuer()), of_whom(issuer.subject()));
        return Err(format!("was issued by {wanted:?}, and {found:?} comes after it"));
    }
    match issued.verify_signature(Some(issuer.public_key())) {
        Ok(()) | Err(X509Error::SignatureUnsupportedAlgorithm) => Ok(()),
        Err(_) => Err("was not signed by the one that comes after it".to_owned()),
    }
}

/// Made once: ten thousand certificates are looked at in one go.
fn provider() -> &'static CryptoProvider {
    static PROVIDER: OnceLock<CryptoProvider> = OnceLock::new();
    PROVIDER.get_or_init(aws_lc_rs::default_provider)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(super) mod tests;
