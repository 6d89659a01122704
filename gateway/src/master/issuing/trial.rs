//! `landlord certs check`: orders whose certificates are thrown away, at a directory where that costs nothing; whether it would
//! work. One name at a time, one such run at a time, and nothing of it reaches the machine that plans the real ones.

use std::{collections::VecDeque, time::Duration};

use super::{jobs::Work, role::seal};
use crate::{
    machine::Now,
    master::{certificates, control::Replies, house::House},
    model::{Acme, Challenge, Failure, Finding, Subject},
    wire::{Issued, JobId, OrderPlan, ToAcme},
};

/// For one name.
const PATIENCE: Duration = Duration::from_secs(600);
/// To give up, with its records removed.
const CLEANING: Duration = Duration::from_secs(60);

/// A run.
pub(super) struct Trial {
    queue: VecDeque<Subject>,
    directory: String,
    current: Option<Current>,
    good: usize,
    bad: Vec<String>,
    asker: Replies,
}

struct Current {
    subject: Subject,
    job: JobId,
    deadline: Now,
    /// The deadline has passed, and the role was told.
    given_up: bool,
}

impl Trial {
    pub(super) fn directory(&self) -> &str {
        &self.directory
    }

    pub(super) fn deadline(&self) -> Option<Now> {
        Some(self.current.as_ref()?.deadline)
    }
}

impl House {
    /// Tries names, or all that are wanted.
    pub(in crate::master) fn try_certificates(
        &mut self,
        names: &[String],
        directory: Option<String>,
        replies: Replies,
    ) {
        let named: Result<Vec<Subject>, String> = names.iter().map(|name| self.subject_named(name)).collect();
        let mut subjects = match named {
            Ok(subjects) => subjects,
            Err(reason) => return replies.done(false, reason),
        };
        let zone = self.subject_named(self.gateway.zone.as_str());
        let Some(issuing) = &mut self.issuing else {
            return replies.done(false, zone.err().unwrap_or_default());
        };
        if issuing.trial.is_some() {
            return replies.done(false, "another check is under way: wait for its end");
        }
        if !issuing.ready {
            let notice = self.notices.get("acme-settings").or_else(|| self.notices.get("acme"));
            let reason = notice.map_or("the acme role is being started: try again in a moment", String::as_str);
            return replies.done(false, reason);
        }
        if directory.as_deref() == Some(Acme::PRODUCTION) {
            let reason = "what Let's Encrypt issues counts, also when it is thrown away, and renewals would be refused for a \
                          week: a check asks its staging environment";
            return replies.done(false, reason);
        }
        if subjects.is_empty() {
            subjects.extend(issuing.wanted.iter().cloned());
        }
        subjects.dedup();
        let configured = &self.gateway.acme.directory;
        let directory = directory.unwrap_or_else(|| match configured.as_str() {
            Acme::PRODUCTION => Acme::STAGING.to_owned(),
            other => other.to_owned(),
        });
        replies.progress(&format!("asking {directory}; what it issues is thrown away"));
        let queue = subjects.into();
        issuing.trial = Some(Trial { queue, directory, current: None, good: 0, bad: Vec::new(), asker: replies });
        self.try_next();
    }

    fn try_next(&mut self) {
        let now = self.now();
        let Some(issuing) = &mut self.issuing else { return };
        let Some(trial) = &mut issuing.trial else { return };
        trial.current = None;
        let next = trial.queue.pop_front().filter(|_| trial.asker.is_there());
        let Some(subject) = next else {
            let Some(Trial { good, bad, asker, .. }) = issuing.trial.take() else { return };
            let message = match bad.as_slice() {
                [] if good == 1 => "it would be issued".to_owned(),
                [] => format!("all {good} would be issued"),
                bad => format!("{} of {} would not be issued: {}", bad.len(), good + bad.len(), bad.join(", ")),
            };
            return asker.done(bad.is_empty(), message);
        };
        let job = issuing.jobs.begin(Work::Trial);
        let host = subject.host().clone();
        let looks = matches!(subject, Subject::Domain(_));
        trial.current = Some(Current { subject, job, deadline: now + PATIENCE, given_up: false });
        if looks {
            // What is missing is told without asking anybody else.
            issuing.role.send(ToAcme::Look { job, host }, Vec::new());
        } else {
            self.try_order();
        }
    }

    fn try_order(&mut self) {
        let Some(issuing) = &mut self.issuing else { return };
        let Some(trial) = &mut issuing.trial else { return };
        let Some(current) = &mut trial.current else { return };
        let challenges = match &current.subject {
            Subject::Zone(_) => vec![Challenge::Dns01],
            Subject::Domain(_) => self.gateway.acme.challenges.clone(),
        };
        let plan = OrderPlan {
            names: current.subject.names(),
            challenges,
            directory: trial.directory.clone(),
            account: issuing.papers.account(&trial.directory).cloned(),
            key_pem: None,
            order_url: None,
            replaces: None,
            // Another directory may have others.
            profile: self.gateway.acme.profile.clone().filter(|_| trial.directory == self.gateway.acme.directory),
        };
        match seal("order", &plan) {
            Ok(sealed) => {
                current.job = issuing.jobs.begin(Work::Trial);
                issuing.role.send(ToAcme::Order { job: current.job }, vec![sealed]);
            }
            Err(error) => self.end_try(Err(error.to_string())),
        }
    }

    pub(super) fn on_trial_looked(&mut self, finding: Finding) {
        match finding {
            Finding::Missing(sentence) => return self.end_try(Err(sentence)),
            // Where we cannot see, the authority may.
            Finding::Unknown(remark) | Finding::Ready(Some(remark)) => self.on_trial_step(&remark),
            Finding::Ready(None) => {}
        }
        self.try_order();
    }

    pub(super) fn on_trial_step(&mut self, line: &str) {
        let trial = self.issuing.as_ref().and_then(|issuing| issuing.trial.as_ref());
        if let Some((trial, current)) = trial.and_then(|trial| Some((trial, trial.current.as_ref()?))) {
            trial.asker.progress(&format!("{}: {line}", current.subject));
        }
    }

    pub(super) fn on_trial_issued(&mut self, issued: &Issued) {
        let trial = self.issuing.as_ref().and_then(|issuing| issuing.trial.as_ref());
        let Some(names) = trial.and_then(|trial| Some(trial.current.as_ref()?.subject.names())) else { return };
        let checked = certificates::check(&issued.chain_pem, &issued.key_pem, &names);
        self.end_try(checked.map(|read| format!("would be issued by {}, valid until {}", read.issuer, read.not_after)));
    }

    pub(super) fn on_trial_failed(&mut self, failure: &Failure) {
        self.end_try(Err(failure.detail.clone()));
    }

    fn end_try(&mut self, result: Result<String, String>) {
        let Some(trial) = self.issuing.as_mut().and_then(|issuing| issuing.trial.as_mut()) else { return };
        let Some(Current { subject, .. }) = trial.current.take() else { return };
        match result {
            Ok(sentence) => {
                trial.good += 1;
                trial.asker.progress(&format!("{subject}: {sentence}"));
            }
            Err(reason) => {
                trial.bad.push(subject.to_string());
                trial.asker.progress(&format!("{subject}: would not be issued: {reason}"));
            }
        }
        self.try_next();
    }

    /// One that takes too long is given up.
    pub(super) fn on_trial_time(&mut self) {
        let now = self.now();
        let Some(issuing) = &mut self.issuing else { return };
        let current = issuing.trial.as_mut().and_then(|trial| trial.current.as_mut());
        let Some(current) = current.filter(|current| current.deadline <= now) else { return };
        if std::mem::replace(&mut current.given_up, true) {
            return self.end_try(Err("it was given up, and did not end".into()));
        }
        current.deadline = now + CLEANING;
        issuing.role.send(ToAcme::Cancel { job: current.job }, Vec::new());
    }

    /// Whether this job is the one that is waited for; one of a run before may end late.
    pub(super) fn is_tried(&self, job: JobId) -> bool {
        let trial = self.issuing.as_ref().and_then(|issuing| issuing.trial.as_ref());
        trial.and_then(|trial| trial.current.as_ref()).is_some_and(|current| current.job == job)
    }

    /// Nothing more comes of it.
    pub(super) fn end_trial(&mut self, reason: &str) {
        let Some(issuing) = &mut self.issuing else { return };
        let Some(trial) = issuing.trial.take() else { return };
        if let Some(current) = &trial.current {
            issuing.role.send(ToAcme::Cancel { job: current.job }, Vec::new());
        }
        trial.asker.done(false, reason);
    }
}
