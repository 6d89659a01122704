//! `landlord certs renew`: an operator wants a certificate anew, now.

use crate::{
    machine::issuance::Event,
    master::{control::Replies, house::House},
    model::{Host, Subject},
};

impl House {
    /// Orders the certificate that has this name; the operator is answered when it is served, or when it was not to be had.
    pub(in crate::master) fn renew(&mut self, name: &str, replies: Replies) {
        let subject = match self.subject_named(name) {
            Ok(subject) => subject,
            Err(reason) => return replies.done(false, reason),
        };
        let Some(issuing) = &mut self.issuing else { return };
        if !issuing.ready {
            let notice = self.notices.get("acme-settings").or_else(|| self.notices.get("acme"));
            let reason = notice.map_or("the acme role is being started: try again in a moment", String::as_str);
            return replies.done(false, reason);
        }
        if issuing.jobs.is_ordering(&subject) {
            replies.progress("an order is under way already: its end is waited for");
            return issuing.askers.entry(subject).or_default().push(replies);
        }
        replies.progress(&format!("ordering a certificate for {}", subject.names().join(" and ")));
        issuing.askers.entry(subject.clone()).or_default().push(replies);
        self.tell_issuance(Event::Renew(subject));
    }

    /// Whoever waits for a renewal of it is told why there is none.
    pub(super) fn refuse_renewal(&mut self, subject: &Subject, reason: &str) {
        let askers = self.issuing.as_mut().and_then(|issuing| issuing.askers.remove(subject));
        for asker in askers.into_iter().flatten() {
            asker.done(false, format!("{subject}: {reason}"));
        }
    }

    /// Operators who wait are told that nobody will answer them any more.
    pub(in crate::master) fn dismiss_certificate_askers(&mut self, reason: &str) {
        self.end_trial(reason);
        let Some(issuing) = &mut self.issuing else { return };
        for asker in std::mem::take(&mut issuing.askers).into_values().flatten() {
            asker.done(false, reason);
        }
        for (asker, message) in issuing.served.drain(..) {
            asker.done(true, message);
        }
    }

    /// Which certificate has this name.
    pub(super) fn subject_named(&self, name: &str) -> Result<Subject, String> {
        let Some(issuing) = &self.issuing else { return Err(self.certificates.not_ours_to_order()) };
        let host: Host = name
            .strip_prefix("*.")
            .unwrap_or(name)
            .trim_end_matches('.')
            .parse()
            .map_err(|error: crate::model::HostError| error.to_string())?;
        let subject = match Subject::of(&host, &self.gateway.zone) {
            Subject::Zone(zone) if name.starts_with("*.") && host != zone => None,
            Subject::Domain(_) if name.starts_with("*.") => None,
            subject => Some(subject),
        };
        let known = subject.filter(|subject| issuing.wanted.contains(subject));
        known.ok_or_else(|| format!("no certificate is for {name}: `landlord certs` lists all"))
    }
}
