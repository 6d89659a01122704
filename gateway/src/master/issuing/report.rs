//! What is told of certificates: `landlord certs`, the domains in `landlord status`, and alarms.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Issuing;
use crate::{
    machine::issuance::View,
    master::{house::House, seat::Seat},
    model::{CertificateState, Host, Subject, TenantName},
    wire::{CertificateEntry, CertificateSource, DomainEntry},
};

/// More alarms than this are told as a number.
const ALARMS: usize = 10;

impl House {
    /// One entry for each certificate that is wanted of an authority.
    pub(in crate::master) fn acme_entries(&self) -> Vec<CertificateEntry> {
        let Some(issuing) = &self.issuing else { return Vec::new() };
        let present = self.seats.iter().filter(|(_, seat)| !seat.removed);
        let owners: BTreeMap<&Host, &TenantName> =
            present.flat_map(|(name, seat)| seat.spec.hosts.iter().map(move |host| (host, name))).collect();
        let now = Timestamp::now();
        let entry = |subject: &Subject| {
            let owner = match subject {
                Subject::Zone(_) => None,
                Subject::Domain(host) => owners.get(host).map(ToString::to_string),
            };
            issuing.entry(subject, owner, now)
        };
        issuing.wanted.iter().filter_map(entry).collect()
    }

    /// A tenant's custom domains, and the certificate of each.
    pub(in crate::master) fn domains(&self, seat: &Seat) -> Vec<DomainEntry> {
        let Some(issuing) = &self.issuing else {
            return self.certificates.domains(&seat.spec.hosts, &self.gateway.zone);
        };
        let now = Timestamp::now();
        let entry = |host: &Host| {
            let subject = Subject::of(host, &self.gateway.zone);
            let view = issuing.view(&subject, now).filter(|_| matches!(subject, Subject::Domain(_)))?;
            let held = issuing.held.get(&subject);
            Some(DomainEntry {
                host: host.to_string(),
                state: view.state,
                reason: view.reason,
                not_after: held.map(|held| held.read.not_after.to_string()),
            })
        };
        seat.spec.hosts.iter().filter_map(entry).collect()
    }

    /// Certificates that end soon and could not be renewed, a sentence each.
    pub(in crate::master) fn certificate_alarms(&self) -> Vec<String> {
        let Some(issuing) = &self.issuing else { return Vec::new() };
        let now = Timestamp::now();
        let alarm = |subject: &Subject| {
            let view = issuing.machine.view(subject, now).filter(|view| view.alarm)?;
            let left = issuing.held.get(subject).map(|held| held.read.not_after.duration_since(now).as_secs());
            let when = match left {
                None => "is not there, and could not be ordered".to_owned(),
                Some(left) if left <= 0 => "has expired, and could not be renewed".to_owned(),
                Some(left) => format!("expires in {} and could not be renewed", spoken(left)),
            };
            let why = view.last_error.unwrap_or(view.reason);
            Some(format!("the certificate of {subject} {when}: {why}"))
        };
        let mut alarms: Vec<String> = issuing.wanted.iter().filter_map(alarm).collect();
        if alarms.len() > ALARMS {
            let more = alarms.len() - ALARMS;
            alarms.truncate(ALARMS);
            alarms.push(format!("{more} more certificates expire soon and could not be renewed: see `landlord certs`"));
        }
        alarms
    }
}

/// What a tenant's status says of those of its domains that cannot be served.
pub(in crate::master) fn missing(domains: &[DomainEntry]) -> impl Iterator<Item = String> {
    domains.iter().filter_map(|domain| {
        let what = match domain.state {
            CertificateState::Valid => return None,
            CertificateState::Expiring => "its certificate ends soon and could not be renewed",
            CertificateState::Ordering => "its certificate is being ordered",
            CertificateState::Dns | CertificateState::Waiting | CertificateState::Failed => "it has no certificate yet",
        };
        let reason = if domain.reason.is_empty() { String::new() } else { format!(": {}", domain.reason) };
        Some(format!("{}: {what}{reason}", domain.host))
    })
}

impl Issuing {
    /// What the machine says of it, and the role of the order under way.
    fn view(&self, subject: &Subject, now: Timestamp) -> Option<View> {
        let mut view = self.machine.view(subject, now)?;
        if view.state == CertificateState::Waiting && self.settings.is_none() {
            view.reason = "no authority can be asked: `landlord status` says what is missing".to_owned();
        } else if view.state == CertificateState::Ordering && view.reason.is_empty() {
            view.reason = self.jobs.last_step(subject).unwrap_or_default().to_owned();
        }
        Some(view)
    }

    fn entry(&self, subject: &Subject, tenant: Option<String>, now: Timestamp) -> Option<CertificateEntry> {
        let view = self.view(subject, now)?;
        let read = self.held.get(subject).map(|held| &held.read);
        // To the second, as everything about certificates is.
        let time = |at: Timestamp| format!("{at:.0}");
        Some(CertificateEntry {
            name: subject.to_string(),
            names: subject.names(),
            tenant,
            source: CertificateSource::Acme,
            state: view.state,
            reason: view.reason,
            issuer: read.map(|read| read.issuer.clone()),
            serial: read.map(|read| read.serial.clone()),
            not_before: read.map(|read| time(read.not_before)),
            not_after: read.map(|read| time(read.not_after)),
            next_renewal: view.next_renewal.map(time),
            next_try: view.next_try.map(time),
            last_error: view.last_error,
            last_error_at: view.last_error_at.map(time),
            failures: view.failures,
            expires_in_s: read.map(|read| read.not_after.duration_since(now).as_secs()),
            alarm: view.alarm,
        })
    }
}

/// A time that is left, in the largest unit that says something.
fn spoken(seconds: i64) -> String {
    match (seconds / 86_400, seconds / 3_600, seconds / 60) {
        (days @ 2.., _, _) => format!("{days} days"),
        (_, hours @ 2.., _) => format!("{hours} hours"),
        (_, _, minutes @ 2..) => format!("{minutes} minutes"),
        _ => format!("{seconds} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_in_words() {
        let said = [5 * 86_400 + 1, 47 * 3_600, 119 * 60, 90].map(spoken);
        assert_eq!(said, ["5 days", "47 hours", "119 minutes", "90 seconds"]);
    }

    #[test]
    fn a_status_says_what_is_missing_and_nothing_of_what_is_well() {
        let domain = |host: &str, state, reason: &str| DomainEntry {
            host: host.into(),
            state,
            reason: reason.into(),
            not_after: None,
        };
        let domains = [
            domain("a.example", CertificateState::Valid, "odd, but well"),
            domain("b.example", CertificateState::Dns, "no A record"),
            domain("c.example", CertificateState::Ordering, ""),
        ];
        let said: Vec<String> = missing(&domains).collect();
        assert_eq!(
            said,
            ["b.example: it has no certificate yet: no A record", "c.example: its certificate is being ordered"]
        );
    }
}
