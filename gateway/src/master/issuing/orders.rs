//! Orders under way: what must be on disk before they go on, how they end, and what is said of them.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    AGAIN,
    held::{Held, facts},
    jobs::Work,
    papers::Placed,
};
use crate::{
    machine::{Now, issuance::Event},
    master::{certificates, house::House},
    model::{Failure, FailureKind, Subject, TenantName},
    wire::{Issued, JobId, Keepsake, ToAcme},
};

/// Between two lines about a disk that is full.
const SAID: Duration = Duration::from_secs(60);

/// What is not on disk yet, and waits for that.
#[derive(Default)]
pub(super) struct Unkept {
    keepsakes: Vec<(JobId, Keepsake)>,
    certificates: Vec<(Subject, Issued)>,
    pub(super) tried: Now,
    said: Option<Now>,
}

impl Unkept {
    pub(super) fn is_empty(&self) -> bool {
        self.keepsakes.is_empty() && self.certificates.is_empty()
    }

    /// Nobody waits for its keepsakes any more.
    pub(super) fn forget_role(&mut self) {
        self.keepsakes.clear();
    }
}

impl House {
    /// Keeps what must outlive the role, and only then has it go on.
    pub(super) fn on_keep(&mut self, job: JobId, keepsake: Keepsake) {
        match self.keep_it(job, &keepsake) {
            Ok(()) => {
                let work = self.issuing.as_ref().and_then(|issuing| issuing.jobs.work(job));
                if let (Keepsake::Order(_), Some(Work::Order(subject))) = (&keepsake, work) {
                    // From now on it is gone on with, and is no new one for the authority.
                    let subject = subject.clone();
                    self.tell_issuance(Event::Placed(subject));
                }
                if let Some(issuing) = &self.issuing {
                    issuing.role.send(ToAcme::Kept { job }, Vec::new());
                }
            }
            Err(error) => {
                self.say_unwritten(&error);
                if let Some(issuing) = &mut self.issuing {
                    issuing.unkept.keepsakes.push((job, keepsake));
                }
            }
        }
    }

    fn keep_it(&mut self, job: JobId, keepsake: &Keepsake) -> std::io::Result<()> {
        let directory = self.directory_of(job);
        let Some(issuing) = &mut self.issuing else { return Ok(()) };
        let (papers, work) = (&mut issuing.papers, issuing.jobs.work(job));
        match (keepsake, work) {
            (Keepsake::Account(account), _) => papers.keep_account(&directory, account.clone()),
            (Keepsake::Key(key_pem), Some(Work::Order(subject))) => {
                let order = Placed { directory, url: None, key_pem: key_pem.clone() };
                papers.keep_order(subject, Some(order))
            }
            (Keepsake::Order(url), Some(Work::Order(subject))) => {
                let Some(order) = papers.order(subject, &directory).cloned() else {
                    tracing::error!(host = %subject, "an order without a key: it is not gone on with after a crash");
                    return Ok(());
                };
                papers.keep_order(subject, Some(Placed { url: Some(url.clone()), ..order }))
            }
            (Keepsake::Record(record) | Keepsake::Removed(record), Some(Work::Order(subject))) => {
                papers.note(Some(subject), record, matches!(keepsake, Keepsake::Record(_)))
            }
            (Keepsake::Record(record) | Keepsake::Removed(record), Some(Work::Trial)) => {
                papers.note(None, record, matches!(keepsake, Keepsake::Record(_)))
            }
            (Keepsake::Removed(record), Some(Work::Clean(subject, _))) => papers.note(subject.as_ref(), record, false),
            // A certificate that is thrown away needs no key and no order tomorrow; what has ended, nothing at all.
            _ => Ok(()),
        }
    }

    /// Where a job's account is.
    fn directory_of(&self, job: JobId) -> String {
        let issuing = self.issuing.as_ref();
        let trial = issuing.filter(|it| it.jobs.work(job) == Some(&Work::Trial)).and_then(|it| it.trial.as_ref());
        trial.map_or_else(|| self.gateway.acme.directory.clone(), |trial| trial.directory().to_owned())
    }

    /// What could not be written may be written now.
    pub(super) fn keep_again(&mut self) {
        let now = self.now();
        let Some(issuing) = &mut self.issuing else { return };
        if issuing.unkept.is_empty() || now.since(issuing.unkept.tried) < AGAIN {
            return;
        }
        issuing.unkept.tried = now;
        let keepsakes = std::mem::take(&mut issuing.unkept.keepsakes);
        let certificates = std::mem::take(&mut issuing.unkept.certificates);
        for (job, keepsake) in keepsakes {
            self.on_keep(job, keepsake);
        }
        for (subject, issued) in certificates {
            self.take_certificate(subject, issued);
        }
    }

    /// A disk that is full is told, and not with every file that it takes not.
    pub(super) fn say_unwritten(&mut self, error: &std::io::Error) {
        let now = self.now();
        let Some(issuing) = &mut self.issuing else { return };
        if issuing.unkept.said.is_none_or(|said| now.since(said) >= SAID) {
            issuing.unkept.said = Some(now);
            let path = self.gateway.state.join("acme");
            tracing::error!(path = %path.display(), event = "full", %error, "disk: orders wait until what they must know after a crash can be written");
        }
    }

    /// What an order is at, for those who wait for it.
    pub(super) fn on_step(&mut self, job: JobId, line: &str) {
        let tried = self.is_tried(job);
        let Some(issuing) = &mut self.issuing else { return };
        issuing.jobs.step(job, line);
        match issuing.jobs.work(job) {
            Some(Work::Order(subject)) => {
                self.untold = true;
                tracing::debug!(host = %subject, line, "cert");
                for asker in issuing.askers.get(subject).into_iter().flatten() {
                    asker.progress(line);
                }
            }
            Some(Work::Trial) if tried => self.on_trial_step(line),
            _ => {}
        }
    }

    /// The end of an order.
    pub(super) fn on_issued(&mut self, job: JobId, issued: Issued) {
        let tried = self.is_tried(job);
        let Some(issuing) = &mut self.issuing else { return };
        issuing.board.end(job);
        match issuing.jobs.end(job) {
            Some(Work::Order(subject)) => self.take_certificate(subject, issued),
            Some(Work::Trial) if tried => self.on_trial_issued(&issued),
            _ => {}
        }
    }

    /// Looked at, written down, and only then served.
    fn take_certificate(&mut self, subject: Subject, issued: Issued) {
        let checked = certificates::check(&issued.chain_pem, &issued.key_pem, &subject.names());
        let now = Timestamp::now();
        let checked = checked.and_then(|read| match read.not_after <= now {
            true => Err(format!("it has ended at {} already", read.not_after)),
            false => Ok(()),
        });
        if let Err(reason) = checked {
            let detail = format!("what the authority has issued cannot be served: {reason}");
            let failure = Failure { kind: FailureKind::Request, detail, retry_after: None, order_ended: true };
            return self.take_failure(subject, failure);
        }
        let Some(issuing) = &mut self.issuing else { return };
        let stored = issuing.chest.store(&subject, &issued.chain_pem, &issued.key_pem);
        let stored = stored.and_then(|(certificate, read)| {
            let facts = facts(&read);
            Ok((Held::new(&certificate, read).map_err(|error| error.to_string())?, facts))
        });
        let (held, facts) = match stored {
            Ok(stored) => stored,
            Err(reason) => {
                // The authority keeps it, and so do we: it is not ordered again.
                issuing.unkept.certificates.push((subject, issued));
                return self.say_unwritten(&std::io::Error::other(reason));
            }
        };
        let (not_after, issuer) = (facts.not_after, held.read.issuer.clone());
        let before = issuing.held.insert(subject.clone(), held);
        issuing.papers.end_well(&subject);
        for asker in issuing.askers.remove(&subject).unwrap_or_default() {
            let message = format!("{subject} has a new certificate by {issuer}, valid until {not_after}");
            issuing.served.push((asker, message));
        }
        self.uncertified = true;
        let event = if before.is_some() { "renewed" } else { "issued" };
        let tenant = self.tenant_with(&subject).map(ToString::to_string);
        tracing::info!(tenant, host = %subject, event, %not_after, issuer, "cert");
        self.clean_for(&subject);
        self.tell_issuance(Event::Issued(subject, facts));
    }

    /// The end of an order that brought nothing.
    pub(super) fn on_failed(&mut self, job: JobId, failure: Failure) {
        let tried = self.is_tried(job);
        let Some(issuing) = &mut self.issuing else { return };
        issuing.board.end(job);
        match issuing.jobs.end(job) {
            Some(Work::Order(subject)) => self.take_failure(subject, failure),
            Some(Work::Trial) if tried => self.on_trial_failed(&failure),
            _ => {}
        }
    }

    fn take_failure(&mut self, subject: Subject, failure: Failure) {
        if failure.order_ended
            && let Some(issuing) = &mut self.issuing
            && let Err(error) = issuing.papers.keep_order(&subject, None)
        {
            self.say_unwritten(&error);
        }
        self.log_failure(Some(&subject), &failure);
        self.clean_for(&subject);
        self.tell_issuance(Event::Failed(subject.clone(), failure.clone()));
        self.refuse_renewal(&subject, &failure.detail);
    }

    /// What an authority's limits forbid is a matter of its own; the rest the machine says, with the time of the next try.
    pub(super) fn log_failure(&self, subject: Option<&Subject>, failure: &Failure) {
        let scope = match failure.kind {
            FailureKind::NameLimited => subject.map(ToString::to_string).unwrap_or_default(),
            FailureKind::AccountLimited => "account".to_owned(),
            _ => return,
        };
        let retry_after = failure.retry_after.map(|wait| wait.as_secs());
        tracing::warn!(scope, retry_after, error = failure.detail, "acme");
    }

    /// What the machine has to say.
    pub(super) fn log_certificate(
        &mut self,
        subject: Option<Subject>,
        event: &'static str,
        reason: &str,
        next: Option<Timestamp>,
    ) {
        let next = next.map(|at| format!("{at:.0}"));
        let Some(subject) = subject else {
            return match event {
                "clock" => tracing::warn!(reason, next, "clock"),
                _ => tracing::warn!(event, reason, next, "acme"),
            };
        };
        let tenant = self.tenant_with(&subject).map(ToString::to_string);
        match event {
            "failed" => tracing::warn!(tenant, host = %subject, event, error = reason, next, "cert"),
            "expiring" => tracing::error!(tenant, host = %subject, event, error = reason, next, "cert"),
            _ => tracing::info!(tenant, host = %subject, event, reason, next, "cert"),
        }
        match event {
            // Nothing comes of it now, and whoever waits is told why.
            "waiting" | "limited" => self.refuse_renewal(&subject, reason),
            _ => {}
        }
    }

    /// Whose custom domain it is.
    pub(super) fn tenant_with(&self, subject: &Subject) -> Option<&TenantName> {
        let Subject::Domain(host) = subject else { return None };
        let mut seats = self.seats.iter().filter(|(_, seat)| !seat.removed);
        seats.find(|(_, seat)| seat.spec.hosts.contains(host)).map(|(name, _)| name)
    }
}
