//! The local CA: one root in `<state>/certs`, and a leaf for each exact host (browsers refuse `*.localhost`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};

use super::trust::Trust;
use crate::{
    model::{Certificate, CertificateSet, Host},
    sys,
};

/// A root lasts longer than the laptop.
const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// A leaf is minted at every start, and again when a third of its life is left.
const LEAF_LIFE: Duration = Duration::from_secs(90 * 86_400);

/// A browser's clock may be behind ours.
const CLOCK_SKEW: Duration = Duration::from_secs(86_400);

/// Mints and remembers leaves.
pub(in crate::master) struct LocalCa {
    issuer: Issuer<'static, KeyPair>,
    leaves: BTreeMap<Host, Leaf>,
    trust: Trust,
}

struct Leaf {
    certificate: Certificate,
    minted: SystemTime,
}

impl Leaf {
    fn is_fresh(&self) -> bool {
        self.minted.elapsed().is_ok_and(|age| age < LEAF_LIFE * 2 / 3)
    }
}

/// Why there is no CA.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file of it cannot be read or written.
    #[error("{path}: {1}", path = .0.display())]
    File(PathBuf, String),
    /// The library refused.
    #[error("the local CA: {0}")]
    Mint(#[from] rcgen::Error),
}

impl LocalCa {
    /// The CA kept in `folder`, or a new one if there is none. One that cannot be used is put aside, never overwritten.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(in crate::master) fn open(folder: &Path, zone: &Host) -> Result<Self, CaError> {
        let (root_file, key_file) = (folder.join("local-ca.pem"), folder.join("local-ca.key"));
        let read = |path: &Path| match sys::files::read_regular(path, 64 * 1024) {
            Ok(bytes) => String::from_utf8(bytes).ok(),
            Err(_) => None,
        };
        let usable = match (read(&root_file), read(&key_file)) {
            (Some(root_pem), Some(key_pem)) => Self::issuer(&root_pem, &key_pem)
                .map_err(|error| error.to_string())
                .and_then(|issuer| Self::new(issuer, Trust::new(folder, zone, &root_pem)).tried(&root_pem)),
            _ => Err("one of its two files is missing, or is none that can be read".to_owned()),
        };
        let error = match usable {
            Ok(mut ca) => {
                ca.trust.cover([].into_iter(), ca.issuer.key());
                return Ok(ca);
            }
            Err(error) => error,
        };
        let stamp = jiff::Timestamp::now().as_second();
        // Whatever is there, a lone key or a folder too, is kept: somebody may still need it.
        for file in [&root_file, &key_file].into_iter().filter(|file| file.symlink_metadata().is_ok()) {
            tracing::error!(file = %file.display(), error, "the local CA is unusable: put aside, a new one is made");
            sys::files::put_aside(file, stamp).map_err(|e| CaError::File(file.clone(), e.to_string()))?;
        }
        let (root_pem, key_pem) = mint_root()?;
        for (file, text, mode) in [(&key_file, &key_pem, 0o600), (&root_file, &root_pem, 0o644)] {
            sys::files::write_atomic(file, text.as_bytes(), mode)
                .map_err(|e| CaError::File(file.clone(), e.to_string()))?;
        }
        let issuer = Self::issuer(&root_pem, &key_pem)?;
        let mut ca = Self::new(issuer, Trust::new(folder, zone, &root_pem));
        ca.trust.cover([].into_iter(), ca.issuer.key());
        Ok(ca)
    }

    fn new(issuer: Issuer<'static, KeyPair>, trust: Trust) -> Self {
        Self { issuer, leaves: BTreeMap::new(), trust }
    }

    fn issuer(root_pem: &str, key_pem: &str) -> Result<Issuer<'static, KeyPair>, rcgen::Error> {
        Issuer::from_ca_cert_pem(root_pem, KeyPair::from_pem(key_pem)?)
    }

    /// Itself, if whoever trusts `root_pem` would trust what it signs: a flipped bit may leave both files well formed.
    fn tried(self, root_pem: &str) -> Result<Self, String> {
        let host: Host = "localhost".parse().map_err(|_| "localhost is no host")?;
        let leaf = self.mint(&host).map_err(|error| error.to_string())?;
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string());
        let mut roots = RootCertStore::empty();
        roots.add(der(root_pem)?).map_err(|error| error.to_string())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let visitor = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let (chain, name) = (der(&leaf.certificate.chain_pem)?, ServerName::try_from(host.as_str().to_owned()));
        let name = name.map_err(|error| error.to_string())?;
        let trusted = visitor
            .map_err(|error| error.to_string())?
            .verify_server_cert(&chain, &[], &name, &[], UnixTime::now())
            .map_err(|error| error.to_string());
        // The root's own dates do not count here (RFC 5280 section 6.1.1 d): a wrong clock replaces nothing.
        trusted.map(|_| self)
    }

    /// A certificate for each of these hosts; leaves of hosts that are gone are forgotten, old ones minted anew.
    ///
    /// # Errors
    /// The library refused a name.
    pub(in crate::master) fn cover<'a>(
        &mut self,
        hosts: impl Iterator<Item = &'a Host>,
    ) -> Result<CertificateSet, CaError> {
        let mut kept = BTreeMap::new();
        for host in hosts {
            let leaf = match self.leaves.remove(host).filter(Leaf::is_fresh) {
                Some(leaf) => leaf,
                None => self.mint(host)?,
            };
            kept.insert(host.clone(), leaf);
        }
        self.leaves = kept;
        self.trust.cover(self.leaves.keys(), self.issuer.key());
        Ok(CertificateSet { certificates: self.leaves.values().map(|leaf| leaf.certificate.clone()).collect() })
    }

    /// Each host's leaf.
    pub(in crate::master) fn leaves(&self) -> impl Iterator<Item = (&Host, &Certificate)> {
        self.leaves.iter().map(|(host, leaf)| (host, &leaf.certificate))
    }

    /// Whether a leaf has come to the last third of its life, or the clock was set back behind its making.
    pub(in crate::master) fn is_stale(&self) -> bool {
        !self.leaves.values().all(Leaf::is_fresh)
    }

    fn mint(&self, host: &Host) -> Result<Leaf, CaError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([host.as_str().to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        // RFC 6125: the name that counts is the SAN; a CN has at most 64 characters, so it is left out when longer.
        if host.as_str().len() <= 64 {
            params.distinguished_name.push(DnType::CommonName, host.as_str());
        }
        let minted = SystemTime::now();
        params.not_before = (minted - CLOCK_SKEW).into();
        params.not_after = (minted + LEAF_LIFE).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &self.issuer)?;
        // The root itself is not sent: whoever trusts it has it (RFC 8446 §4.4.2).
        let certificate =
            Certificate { names: vec![host.as_str().to_owned()], chain_pem: leaf.pem(), key_pem: key.serialize_pem() };
        Ok(Leaf { certificate, minted })
    }
}

/// When a leaf is minted anew.
pub(super) fn renewal(read: &super::Read) -> jiff::Timestamp {
    read.not_after - jiff::SignedDuration::try_from(LEAF_LIFE / 3).unwrap_or_default()
}

fn mint_root() -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "landlord");
    // The same name twice in a trust store would hide which one is whose.
    let serial = jiff::Timestamp::now().as_millisecond();
    params.distinguished_name.push(DnType::CommonName, format!("landlord local CA {serial}"));
    params.not_before = (SystemTime::now() - CLOCK_SKEW).into();
    params.not_after = (SystemTime::now() + ROOT_LIFE).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root = params.self_signed(&key)?;
    Ok((root.pem(), key.serialize_pem()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_renewed_before_its_end_and_when_the_clock_went_back() {
        let temp = tempfile::tempdir().unwrap();
        let mut ca = LocalCa::open(temp.path(), &"localhost".parse().unwrap()).unwrap();
        let host: Host = "acme.localhost".parse().unwrap();
        let key = |set: CertificateSet| set.certificates[0].key_pem.clone();
        let first = key(ca.cover([&host].into_iter()).unwrap());
        assert!(!ca.is_stale());
        assert!(key(ca.cover([&host].into_iter()).unwrap()) == first, "a fresh one is kept");
        for minted in [SystemTime::now() - LEAF_LIFE * 2 / 3, SystemTime::now() + CLOCK_SKEW] {
            ca.leaves.get_mut(&host).unwrap().minted = minted;
            assert!(ca.is_stale());
            assert!(key(ca.cover([&host].into_iter()).unwrap()) != first);
            assert!(!ca.is_stale());
        }
    }
}
