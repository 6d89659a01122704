//! `landlord certs` and the domains in `landlord status`: what is served, until when, and what is wrong.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Certificates, folder::Shown, x509::Read};
use crate::{
    model::{CertificateState, Host, TenantName},
    wire::{CertificateEntry, CertificateSource, DomainEntry},
};

/// One that ends within this, or within a sixth of its life if that is less, is renewed too late.
const LATE: SignedDuration = SignedDuration::from_hours(14 * 24);

impl Certificates {
    /// Every certificate of our own CA or of the folder, in the order of names; of an ACME server, none: those are told with what
    /// is being done about them.
    pub(in crate::master) fn entries(&self, tenants: &BTreeMap<&Host, &TenantName>) -> Vec<CertificateEntry> {
        let now = Timestamp::now();
        let mut entries: Vec<CertificateEntry> = match self {
            Self::Local(ca) => {
                let read = ca
                    .leaves()
                    .filter_map(|(host, it)| Some((host, super::check(&it.chain_pem, &it.key_pem, &[]).ok()?)));
                read.map(|(host, read)| CertificateEntry {
                    tenant: tenants.get(host).map(ToString::to_string),
                    next_renewal: Some(super::local::renewal(&read).to_string()),
                    ..entry(&read, CertificateSource::Local, now)
                })
                .collect()
            }
            Self::Files(folder) => {
                let missing = folder.uncovered().iter().map(|host| CertificateEntry {
                    tenant: tenants.get(host).map(ToString::to_string),
                    ..missing(host, &format!("no certificate in {} is for it", folder.path().display()))
                });
                folder.all().map(|shown| of_file(&shown, tenants, now)).chain(missing).collect()
            }
            Self::Acme => Vec::new(),
        };
        entries.sort_by(|a, b| a.name.cmp(&b.name).then(a.not_after.cmp(&b.not_after)));
        entries
    }

    /// The certificates of a tenant's hosts, where they are from a folder: those outside the zone, and those without one.
    pub(in crate::master) fn domains(&self, hosts: &[Host], zone: &Host) -> Vec<DomainEntry> {
        let Self::Files(folder) = self else { return Vec::new() };
        let now = Timestamp::now();
        let told = hosts.iter().filter(|host| !host.is_within(zone) || folder.uncovered().contains(host));
        let of = |host: &Host| folder.all().find(|shown| shown.hosts.iter().any(|it| it == host.as_str()));
        told.map(|host| match of(host) {
            Some(shown) => {
                let (state, reason) = state(shown.read, now);
                let reason = shown.wrong.map_or(reason, |wrong| format!("the newest file is not used: {wrong}"));
                let not_after = Some(shown.read.not_after.to_string());
                DomainEntry { host: host.to_string(), state, reason, not_after }
            }
            None => {
                let reason = format!("no certificate in {} is for it", folder.path().display());
                DomainEntry { host: host.to_string(), state: CertificateState::Failed, reason, not_after: None }
            }
        })
        .collect()
    }
}

fn of_file(shown: &Shown<'_>, tenants: &BTreeMap<&Host, &TenantName>, now: Timestamp) -> CertificateEntry {
    let mut owners =
        shown.hosts.iter().map(|name| name.parse::<Host>().ok().and_then(|host| tenants.get(&host).copied()));
    // The certificate of one tenant alone is its own.
    let first = owners.next().flatten();
    let tenant = first.filter(|first| owners.all(|owner| owner == Some(first))).map(ToString::to_string);
    let mut entry = CertificateEntry { tenant, ..entry(shown.read, CertificateSource::Files, now) };
    if shown.hosts.is_empty() && entry.reason.is_empty() {
        entry.reason = "nobody's host is served by it".to_owned();
    }
    if let Some(wrong) = shown.wrong {
        entry.last_error = Some(wrong.to_owned());
        entry.reason = format!("the newest file is not used: {wrong}");
    }
    entry.alarm &= !shown.hosts.is_empty();
    entry
}

fn missing(host: &Host, reason: &str) -> CertificateEntry {
    CertificateEntry {
        name: host.to_string(),
        names: vec![host.to_string()],
        tenant: None,
        source: CertificateSource::Files,
        state: CertificateState::Failed,
        reason: reason.to_owned(),
        issuer: None,
        serial: None,
        not_before: None,
        not_after: None,
        next_renewal: None,
        next_try: None,
        last_error: None,
        last_error_at: None,
        failures: 0,
        expires_in_s: None,
        alarm: false,
    }
}

/// What a certificate says of itself; of its renewal nothing is known.
pub(in crate::master) fn entry(read: &Read, source: CertificateSource, now: Timestamp) -> CertificateEntry {
    let (state, reason) = state(read, now);
    CertificateEntry {
        name: read.names.first().cloned().unwrap_or_default(),
        names: read.names.clone(),
        tenant: None,
        source,
        state,
        reason,
        issuer: Some(read.issuer.clone()),
        serial: Some(read.serial.clone()),
        not_before: Some(read.not_before.to_string()),
        not_after: Some(read.not_after.to_string()),
        next_renewal: None,
        next_try: None,
        last_error: None,
        last_error_at: None,
        failures: 0,
        expires_in_s: Some(read.not_after.duration_since(now).as_secs()),
        alarm: state == CertificateState::Expiring,
    }
}

fn state(read: &Read, now: Timestamp) -> (CertificateState, String) {
    let (life, left) = (read.not_after.duration_since(read.not_before), read.not_after.duration_since(now));
    if left.is_negative() {
        (CertificateState::Expiring, format!("it has ended at {}: put a newer one in its place", read.not_after))
    } else if now < read.not_before {
        (CertificateState::Waiting, format!("it begins at {}", read.not_before))
    } else if left < LATE.min(life / 6) {
        (CertificateState::Expiring, format!("it ends at {}: put a newer one in its place", read.not_after))
    } else {
        (CertificateState::Valid, String::new())
    }
}
