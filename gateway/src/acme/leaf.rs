//! The certificate's key, its request, and what came of it.

use instant_acme::KeyAuthorization;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::model::{Certificate, Host};

/// No authority's chain is near this long.
const LONGEST_CHAIN: usize = 10;

/// The plan's key, or a new one (ECDSA, P-256). The second says whether it is new.
///
/// # Errors
/// The library's words.
pub(super) fn key(pem: Option<&str>) -> Result<(KeyPair, bool), String> {
    if let Some(pem) = pem {
        match KeyPair::from_pem(pem) {
            Ok(key) => return Ok((key, false)),
            Err(error) => tracing::warn!(%error, "the key that was kept for a certificate is none: making another"),
        }
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| format!("no key can be made: {error}"))?;
    Ok((key, true))
}

/// A request for a certificate for exactly `names` (RFC 8555 section 7.4), DER.
///
/// # Errors
/// The library's words.
pub(super) fn request(names: &[String], key: &KeyPair) -> Result<Vec<u8>, String> {
    let why = |error: rcgen::Error| format!("no request can be made: {error}");
    let mut params = CertificateParams::new(names.to_vec()).map_err(why)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key).map_err(why)?.der().to_vec())
}

/// Why a downloaded chain cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChainError {
    /// It could be better the next time.
    #[error("what the authority sent is no certificate chain: {0}")]
    Garbage(String),
    /// It will not become ours.
    #[error("the authority issued a certificate for another key than ours")]
    AnotherKey,
}

/// Whether `chain_pem` is certificates, and the first one's key is ours.
///
/// # Errors
/// It is not.
pub(super) fn check(chain_pem: &str, key: &KeyPair) -> Result<(), ChainError> {
    let garbage = |why: &str| ChainError::Garbage(why.to_owned());
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| garbage(&error.to_string()))?;
    if chain.is_empty() || chain.len() > LONGEST_CHAIN {
        return Err(garbage(&format!("{} certificates", chain.len())));
    }
    for (at, der) in chain.iter().enumerate() {
        let (rest, parsed) = x509_parser::parse_x509_certificate(der).map_err(|error| garbage(&error.to_string()))?;
        if !rest.is_empty() {
            return Err(garbage("bytes after a certificate"));
        }
        if at == 0 && *parsed.public_key().subject_public_key.data != *key.public_key_raw() {
            return Err(ChainError::AnotherKey);
        }
    }
    Ok(())
}

/// What is shown for a TLS-ALPN-01 challenge (RFC 8737 section 3): one name, and the digest in a critical extension.
///
/// # Errors
/// The library's words.
pub(super) fn for_challenge(host: &Host, authorization: &KeyAuthorization) -> Result<Certificate, String> {
    let why = |error: rcgen::Error| format!("no challenge certificate can be made: {error}");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(why)?;
    let mut params = CertificateParams::new(vec![host.to_string()]).map_err(why)?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(authorization.digest().as_ref())];
    let chain_pem = params.self_signed(&key).map_err(why)?.pem();
    Ok(Certificate { names: vec![host.to_string()], chain_pem, key_pem: key.serialize_pem() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_kept_key_is_used_again_and_a_spoilt_one_is_not() {
        let (made, new) = key(None).unwrap();
        assert!(new);
        let (again, new) = key(Some(&made.serialize_pem())).unwrap();
        assert!(!new);
        assert_eq!(again.public_key_raw(), made.public_key_raw());
        assert!(key(Some("-----BEGIN PRIVATE KEY-----")).unwrap().1);
    }

    #[test]
    fn only_a_chain_for_our_key_will_do() {
        let (ours, _) = key(None).unwrap();
        let (other, _) = key(None).unwrap();
        let issue = |key: &KeyPair| {
            CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(key).unwrap().pem()
        };
        assert_eq!(check(&issue(&ours), &ours), Ok(()));
        assert_eq!(check(&format!("{}{}", issue(&ours), issue(&other)), &ours), Ok(()));
        assert_eq!(check(&issue(&other), &ours), Err(ChainError::AnotherKey));
        let short = issue(&ours).lines().filter(|line| !line.starts_with("MII")).collect::<Vec<_>>().join("\n");
        for garbage in ["", "<html>", &issue(&ours).repeat(11), &short] {
            assert!(matches!(check(garbage, &ours), Err(ChainError::Garbage(_))), "{garbage:?}");
        }
    }
}
