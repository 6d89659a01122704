//! The ACME server's own certificate, and the CA that signed it: what `[acme] root` is for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// Where a server's certificate and key are.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The CA's certificate.
    pub(super) root: PathBuf,
    /// A leaf for 127.0.0.1 and localhost.
    pub(super) certificate: PathBuf,
    /// Its key, PKCS#8.
    pub(super) key: PathBuf,
}

impl Identity {
    /// A CA that signs one leaf and is forgotten.
    pub(super) fn make(dir: &Path) -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "The tests' own CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca_key = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&ca_key).expect("a CA certificate");
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])
            .and_then(|leaf| leaf.signed_by(&key, &Issuer::from_params(&params, &ca_key)))
            .expect("a leaf");
        let identity = Self { root: root(dir), certificate: dir.join("server.pem"), key: dir.join("server.key") };
        fs::write(&identity.root, ca.pem()).expect("the CA is written");
        fs::write(&identity.certificate, leaf.pem()).expect("the leaf is written");
        fs::write(&identity.key, key.serialize_pem()).expect("its key is written");
        identity
    }
}

/// The CA's certificate in an authority's folder.
pub(super) fn root(dir: &Path) -> PathBuf {
    dir.join("root.pem")
}
