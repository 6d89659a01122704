//! Certificates: where each is from, where it lies, and which of them are served.

use std::path::{Path, PathBuf};

use crate::model::{CertificateSet, Gateway, Host, TlsProvider};

mod chest;
mod choice;
mod entries;
mod folder;
mod local;
mod pem;
mod sources;
mod trust;
mod x509;

pub(super) use chest::{Chest, Loaded};
pub(super) use folder::Folder;
pub(super) use local::{CaError, LocalCa};
pub(super) use x509::{Read, check};

/// Where the certificates are from, as `[tls] provider` says.
pub(super) enum Certificates {
    /// Our own CA.
    Local(LocalCa),
    /// A folder that somebody else fills.
    Files(Folder),
    /// An ACME server: what it has issued is with whoever asks it.
    Acme,
}

impl Certificates {
    /// As the settings say, with what is kept below `<state>/certs`.
    ///
    /// # Errors
    /// The local CA cannot be made.
    pub(super) fn open(gateway: &Gateway) -> Result<Self, CaError> {
        let folder = gateway.state.join("certs");
        Ok(match gateway.tls {
            TlsProvider::Local => Self::Local(LocalCa::open(&folder, &gateway.zone)?),
            TlsProvider::Files => Self::Files(Folder::open(gateway.certificates.as_deref().unwrap_or(&folder))),
            TlsProvider::Acme => Self::Acme,
        })
    }

    /// A certificate for each of these hosts, as far as there is one.
    ///
    /// # Errors
    /// The local CA cannot mint one.
    pub(super) fn cover<'a>(&mut self, hosts: impl Iterator<Item = &'a Host>) -> Result<CertificateSet, CaError> {
        match self {
            Self::Local(ca) => ca.cover(hosts),
            Self::Files(folder) => Ok(folder.cover(hosts)),
            Self::Acme => Ok(CertificateSet::default()),
        }
    }

    /// Looks at what may have changed by itself: files, and the passing of months. Whether the proxies are to be told.
    pub(super) fn look(&mut self) -> bool {
        match self {
            Self::Local(ca) => ca.is_stale(),
            Self::Files(folder) => folder.look(),
            Self::Acme => false,
        }
    }

    /// What is to be said about the house.
    pub(super) fn notice(&self) -> Option<String> {
        match self {
            Self::Files(folder) => folder.notice(),
            Self::Local(_) | Self::Acme => None,
        }
    }

    /// Why there is nothing to order here.
    pub(super) fn not_ours_to_order(&self) -> String {
        match self {
            Self::Local(_) => "certificates are the local CA's, which renews them by itself: nothing is ordered",
            Self::Files(_) => "certificates are somebody else's files: whoever puts them there renews them",
            Self::Acme => "nothing is ordered: see `landlord status`",
        }
        .to_owned()
    }

    /// Folders in which a change is a reason to look.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        match self {
            Self::Files(folder) => folder.folders(),
            Self::Local(_) | Self::Acme => Vec::new(),
        }
    }
}

/// Whether what lies in `<state>/certs` can be gone on with, tried on a copy of it.
///
/// # Errors
/// A sentence for a person.
pub(super) fn preflight(gateway: &Gateway, folder: &Path) -> Result<(), String> {
    match gateway.tls {
        TlsProvider::Local => LocalCa::open(folder, &gateway.zone).map(drop).map_err(|error| error.to_string()),
        // A bad file hurts its own names only, and is said when it is read.
        TlsProvider::Files | TlsProvider::Acme => Ok(()),
    }
}
