//! What is served of what an authority has issued, and how the proxies are told.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    machine::issuance::Facts,
    master::certificates::Read,
    model::{Certificate, Host, Subject},
};

/// A certificate that is served.
pub(super) struct Held {
    /// Chain and key as the proxies are told, so that ten thousand of them are not written anew for one that has changed.
    told: String,
    pub(super) read: Read,
}

impl Held {
    pub(super) fn new(certificate: &Certificate, read: Read) -> std::io::Result<Self> {
        let (chain, key) = (&certificate.chain_pem, &certificate.key_pem);
        let told =
            format!("\"chain_pem\":{},\"key_pem\":{}}}", serde_json::to_string(chain)?, serde_json::to_string(key)?);
        Ok(Self { told, read })
    }

    /// A `model::Certificate` for these hosts. They are named one by one, where it has a wildcard too: a name that is nobody's
    /// gets no handshake.
    fn tell(&self, hosts: &BTreeSet<&Host>, text: &mut String) {
        text.push_str("{\"names\":[");
        for (at, host) in hosts.iter().enumerate() {
            text.push_str(if at == 0 { "\"" } else { "\",\"" });
            // Letters, digits, hyphens and dots.
            text.push_str(host.as_str());
        }
        text.push_str("\"],");
        text.push_str(&self.told);
    }
}

/// What the machine is told of a certificate.
pub(super) fn facts(read: &Read) -> Facts {
    Facts { not_before: read.not_before, not_after: read.not_after, renewal_id: read.renewal_id.clone() }
}

/// A `model::CertificateSet`: what is held for these hosts.
pub(super) fn certificate_set<'a>(
    hosts: impl Iterator<Item = &'a Host>,
    zone: &Host,
    held: &BTreeMap<Subject, Held>,
) -> String {
    let mut serve: BTreeMap<Subject, BTreeSet<&Host>> = BTreeMap::new();
    for host in hosts {
        serve.entry(Subject::of(host, zone)).or_default().insert(host);
    }
    let mut text = String::from("{\"certificates\":[");
    for (held, hosts) in serve.iter().filter_map(|(subject, hosts)| Some((held.get(subject)?, hosts))) {
        if !text.ends_with('[') {
            text.push(',');
        }
        held.tell(hosts, &mut text);
    }
    text.push_str("]}");
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::CertificateSet;

    #[test]
    fn what_is_told_is_a_certificate_set_with_every_host_by_its_name() {
        let read = Read {
            names: Vec::new(),
            issuer: String::new(),
            serial: String::new(),
            not_before: Timestamp::UNIX_EPOCH,
            not_after: Timestamp::UNIX_EPOCH,
            renewal_id: None,
        };
        let host = |name: &str| name.parse::<Host>().unwrap();
        let held = |key: &str| {
            let (names, chain_pem, key_pem) = (Vec::new(), "-----\n\"x\"\n".into(), key.into());
            Held::new(&Certificate { names, chain_pem, key_pem }, read.clone()).unwrap()
        };
        let zone = host("apps.test");
        let all = BTreeMap::from([
            (Subject::Zone(zone.clone()), held("zone")),
            (Subject::Domain(host("shop.test")), held("shop")),
            (Subject::Domain(host("gone.test")), held("gone")),
        ]);
        let hosts = ["b.apps.test", "a.apps.test", "shop.test", "new.test"].map(host);
        let told: CertificateSet = serde_json::from_str(&certificate_set(hosts.iter(), &zone, &all)).unwrap();
        let told: Vec<_> = told.certificates.iter().map(|it| (it.names.join(" "), it.key_pem.as_str())).collect();
        assert_eq!(told, [("a.apps.test b.apps.test".to_owned(), "zone"), ("shop.test".to_owned(), "shop")]);
        assert!(serde_json::from_str::<CertificateSet>(&certificate_set(hosts[3..].iter(), &zone, &all)).is_ok());
    }
}
