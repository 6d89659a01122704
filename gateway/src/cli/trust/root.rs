//! The root that is handed out: what it says.

use std::path::{Path, PathBuf};

use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

use crate::sys::files::{self, ReadError};

/// Bytes of a certificate's file.
const CAP: u64 = 1 << 20;

/// A certificate of the local CA.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) file: PathBuf,
    pub(super) pem: String,
    /// Its certificate.
    pub(super) der: Vec<u8>,
    /// By which a store knows it: the same for every root of this authority's key.
    pub(super) name: String,
    subject: String,
    until: String,
    covers: Vec<String>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum RootError {
    #[error("there is no {}: landlord makes it when it runs for the first time", .0.display())]
    Missing(PathBuf),
    #[error("{path}: {1}", path = .0.display())]
    Unreadable(PathBuf, ReadError),
    #[error("{} is no certificate in PEM: landlord makes a new one when it is started again", .0.display())]
    Strange(PathBuf),
}

impl Root {
    /// The one of the house with this state folder.
    pub(super) fn read(state: &Path) -> Result<Self, RootError> {
        let file = state.join("certs").join("local-ca-trust.pem");
        let bytes = files::read_regular(&file, CAP).map_err(|error| match error {
            ReadError::NotFound => RootError::Missing(file.clone()),
            _ => RootError::Unreadable(file.clone(), error),
        })?;
        let pem = String::from_utf8(bytes).map_err(|_| RootError::Strange(file.clone()))?;
        Self::parse(file.clone(), pem).ok_or(RootError::Strange(file))
    }

    fn parse(file: PathBuf, pem: String) -> Option<Self> {
        let der = certificate(&pem)?;
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        let key = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, parsed.public_key().raw);
        let name: String = key.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let subject = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let subject = subject.unwrap_or("a root without a name").to_owned();
        let until = jiff::Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()?;
        let until = until.strftime("%Y-%m-%d").to_string();
        let covers = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::NameConstraints(constraints) => Some(constraints.permitted_subtrees.as_ref()?),
            _ => None,
        });
        let covers = covers.into_iter().flatten().filter_map(|subtree| match subtree.base {
            GeneralName::DNSName(name) => Some(name.to_owned()),
            _ => None,
        });
        let covers = covers.collect();
        Some(Self { name: format!("landlord-local-ca-{name}"), file, pem, der, subject, until, covers })
    }

    /// What it is and covers, for people.
    pub(super) fn describe(&self) -> String {
        let covers = if self.covers.is_empty() {
            "every name: it says no bounds".to_owned()
        } else {
            format!("{}, and all below them", self.covers.join(", "))
        };
        format!("{}, until {}\ncovers {covers}", self.subject, self.until)
    }
}

/// The first certificate of a PEM text.
pub(super) fn certificate(pem: &str) -> Option<Vec<u8>> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    (pem.label == "CERTIFICATE").then_some(pem.contents)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(super) mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, GeneralSubtree, IsCa, KeyPair, NameConstraints};

    use super::*;

    /// The root of `key` for `names`, in a state folder.
    pub(crate) fn root(state: &Path, key: &KeyPair, names: &[&str]) -> Root {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "landlord local CA 1");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.name_constraints = (!names.is_empty()).then(|| NameConstraints {
            permitted_subtrees: names.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned())).collect(),
            excluded_subtrees: Vec::new(),
        });
        let pem = params.self_signed(key).unwrap().pem();
        std::fs::create_dir_all(state.join("certs")).unwrap();
        std::fs::write(state.join("certs/local-ca-trust.pem"), pem).unwrap();
        Root::read(state).unwrap()
    }

    #[test]
    fn it_says_what_it_covers_and_is_known_by_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let first = root(folder.path(), &key, &["apps.test", "localhost"]);
        assert!(first.describe().starts_with("landlord local CA 1, until "), "{}", first.describe());
        assert!(first.describe().ends_with("covers apps.test, localhost, and all below them"), "{}", first.describe());
        let second = root(folder.path(), &key, &[]);
        assert!(second.describe().contains("every name"), "{}", second.describe());
        assert!(first.name == second.name && first.der != second.der);
        assert_ne!(root(folder.path(), &KeyPair::generate().unwrap(), &[]).name, first.name);
    }

    #[test]
    fn what_is_not_there_or_no_certificate_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Root::read(folder.path()), Err(RootError::Missing(_))));
        std::fs::create_dir(folder.path().join("certs")).unwrap();
        for text in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(folder.path().join("certs/local-ca-trust.pem"), text).unwrap();
            assert!(matches!(Root::read(folder.path()), Err(RootError::Strange(_))), "{text:?}");
        }
    }
}
