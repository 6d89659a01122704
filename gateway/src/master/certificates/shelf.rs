//! Issued certificates that are served: the zone's and each custom domain's, as far as they are there.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{choice::choose, x509::Read};
use crate::model::{Certificate, CertificateSet, Host, Subject};

/// What was loaded from disk, or issued since.
#[derive(Default)]
pub(in crate::master) struct Shelf {
    held: BTreeMap<Subject, (Certificate, Read)>,
}

impl Shelf {
    /// Puts one in the place of the one before.
    pub(in crate::master) fn put(&mut self, subject: Subject, certificate: Certificate, read: Read) {
        self.held.insert(subject, (certificate, read));
    }

    /// What the one that is there says.
    pub(in crate::master) fn get(&self, subject: &Subject) -> Option<&Read> {
        self.held.get(subject).map(|(_, read)| read)
    }

    /// Forgets one; its file stays.
    pub(in crate::master) fn remove(&mut self, subject: &Subject) {
        self.held.remove(subject);
    }

    /// The certificates of these hosts.
    pub(in crate::master) fn cover<'a>(&self, hosts: impl Iterator<Item = &'a Host>) -> CertificateSet {
        let all = self.held.iter().map(|(subject, (_, read))| (subject, read));
        let chosen = choose(hosts, all, Timestamp::now()).chosen;
        let certificate = |(subject, names): (&Subject, Vec<String>)| {
            let (certificate, _) = self.held.get(subject)?;
            Some(Certificate { names, ..certificate.clone() })
        };
        CertificateSet { certificates: chosen.into_iter().filter_map(certificate).collect() }
    }
}
