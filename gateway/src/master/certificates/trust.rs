//! What others are asked to trust: the local CA's own key and subject once more, with name constraints (RFC 5280 section
//! 4.2.1.10), so that whoever steals the key can speak for this house's names and for no other site.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, GeneralSubtree, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, NameConstraints, SerialNumber,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    parse_x509_certificate,
    time::ASN1Time,
};

use super::local::CaError;
use crate::{model::Host, sys};

/// Names that no authority may issue for (RFC 6761, 6762, 8375, and ICANN's `internal`): nobody's site is among them.
const SPECIAL: [&str; 7] = ["localhost", "test", "example", "invalid", "internal", "home.arpa", "local"];

/// The file, and what it permits.
pub(super) struct Trust {
    file: PathBuf,
    root_pem: String,
    zone: Host,
    /// What the file permits; empty: there is none that could be used.
    permitted: BTreeSet<String>,
}

impl Trust {
    /// The file beside this root; what it permits, where it is one of the same key and subject.
    pub(super) fn new(folder: &Path, zone: &Host, root_pem: &str) -> Self {
        let file = folder.join("local-ca-trust.pem");
        let permitted = sys::files::read_regular(&file, 1 << 20).ok().and_then(|bytes| permitted(&bytes, root_pem));
        Self { file, root_pem: root_pem.to_owned(), zone: zone.clone(), permitted: permitted.unwrap_or_default() }
    }

    /// Writes the file anew where it permits too little for these hosts. Those who trust the one before have to be asked again,
    /// so one that permits more than is needed by now is left as it is.
    pub(super) fn cover<'a>(&mut self, hosts: impl Iterator<Item = &'a Host>, key: &KeyPair) {
        let wanted = wanted(&self.zone, hosts);
        if wanted.is_subset(&self.permitted) {
            return;
        }
        let written = mint(&self.root_pem, key, &wanted).and_then(|pem| {
            let written = sys::files::write_atomic(&self.file, pem.as_bytes(), 0o644);
            written.map_err(|error| CaError::File(self.file.clone(), error.to_string()))
        });
        match written {
            Ok(()) => self.permitted = wanted,
            Err(error) => tracing::error!(%error, "the local CA's constrained certificate cannot be written"),
        }
    }
}

/// The zone, the special names, and each host outside them: a deterministic list.
fn wanted<'a>(zone: &Host, hosts: impl Iterator<Item = &'a Host>) -> BTreeSet<String> {
    let mut wanted: BTreeSet<String> = SPECIAL.iter().map(|&name| name.to_owned()).collect();
    let special: Vec<Host> = SPECIAL.iter().filter_map(|name| name.parse().ok()).collect();
    wanted.insert(zone.to_string());
    let outside = hosts.filter(|host| !host.is_within(zone) && !special.iter().any(|special| host.is_within(special)));
    wanted.extend(outside.map(ToString::to_string));
    wanted
}

/// What a certificate permits, if it is the root's key and subject, whole, and of a life as long as the root's.
fn permitted(bytes: &[u8], root_pem: &str) -> Option<BTreeSet<String>> {
    let (own, root) =
        (CertificateDer::from_pem_slice(bytes).ok()?, CertificateDer::from_pem_slice(root_pem.as_bytes()).ok()?);
    let ((_, own), (_, root)) = (parse_x509_certificate(&own).ok()?, parse_x509_certificate(&root).ok()?);
    let same = own.subject().as_raw() == root.subject().as_raw()
        && own.public_key().raw == root.public_key().raw
        && own.validity() == root.validity()
        && own.verify_signature(Some(root.public_key())).is_ok();
    let constraints = own.name_constraints().ok().flatten().filter(|_| same)?;
    let subtrees = constraints.value.permitted_subtrees.iter().flatten();
    let name = |base: &GeneralName<'_>| match base {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    Some(subtrees.filter_map(|subtree| name(&subtree.base)).collect())
}

fn mint(root_pem: &str, key: &KeyPair, permitted: &BTreeSet<String>) -> Result<String, CaError> {
    let der =
        CertificateDer::from_pem_slice(root_pem.as_bytes()).map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
    let (_, root) = parse_x509_certificate(&der).map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = subject(&root);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let dates = |time: ASN1Time| time.to_datetime();
    (params.not_before, params.not_after) = (dates(root.validity().not_before), dates(root.validity().not_after));
    if let Some(identifier) = key_identifier(&root) {
        params.key_identifier_method = KeyIdMethod::PreSpecified(identifier);
    }
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: permitted.iter().cloned().map(GeneralSubtree::DnsName).collect(),
        excluded_subtrees: Vec::new(),
    });
    // One issuer never gives a number twice: NSS refuses two certificates of one that are not the same.
    let names: Vec<&str> = permitted.iter().map(String::as_str).collect();
    let mut serial = digest(&SHA256, names.join("\n").as_bytes()).as_ref()[..16].to_vec();
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from(serial));
    let pem = params.self_signed(key)?.pem();
    // Two subjects that only look alike would be two authorities.
    match self::permitted(pem.as_bytes(), root_pem) {
        Some(found) if found == *permitted => Ok(pem),
        _ => Err(CaError::Mint(rcgen::Error::CouldNotParseCertificate)),
    }
}

/// As the root has it: it was made here, of an organization and a common name.
fn subject(root: &X509Certificate<'_>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    for attribute in root.subject().iter_organization() {
        subject.push(DnType::OrganizationName, attribute.as_str().unwrap_or_default());
    }
    for attribute in root.subject().iter_common_name() {
        subject.push(DnType::CommonName, attribute.as_str().unwrap_or_default());
    }
    subject
}

fn key_identifier(root: &X509Certificate<'_>) -> Option<Vec<u8>> {
    root.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
        _ => None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
