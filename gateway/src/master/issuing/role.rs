//! The acme role: started and told everything, listened to, and what follows from its end.

use std::os::fd::OwnedFd;

use serde::{Serialize, de::DeserializeOwned};

use super::secrets;
use crate::{
    machine::{
        issuance::Event,
        worker::{Event as Fact, Phase},
    },
    master::{event, house::House, roles::Post},
    sys,
    wire::{FromAcme, PROTOCOL, ToAcme},
};

/// Bytes of what the role sends along.
const CAP: usize = 4 << 20;

impl House {
    /// Starts the role and tells it what it works with, as its secrets are now.
    pub(in crate::master) fn start_acme(&mut self, attempt: u32) -> std::io::Result<u32> {
        let gathered = secrets::gather(&self.gateway);
        let Some(issuing) = &mut self.issuing else { return Err(std::io::Error::other("it is not wanted")) };
        match gathered {
            Ok(settings) => issuing.settings = Some(settings),
            // What it was told before still holds: a file that is gone for a moment ends nothing.
            Err(error) => tracing::warn!(error, "the acme role starts with what it was told before"),
        }
        let settings = issuing.settings.as_ref().ok_or_else(|| std::io::Error::other("its secrets are missing"))?;
        let settings = seal("acme", settings)?;
        let wrap = event::Event::Acme;
        let pid = issuing.role.spawn::<FromAcme>(attempt, &mut self.vault, &self.events, wrap)?;
        issuing.role.send(ToAcme::Hello { protocol: PROTOCOL }, Vec::new());
        issuing.role.send(ToAcme::Configure, vec![settings]);
        Ok(pid)
    }

    /// Its process has ended, and with it all that it was at. What it had to have on disk is there.
    pub(in crate::master) fn on_acme_exit(&mut self) {
        let Some(issuing) = &mut self.issuing else { return };
        issuing.role.child = None;
        issuing.role.hang_up(&mut self.vault);
        self.leave_acme();
    }

    /// It ends, or has: all that it was at is another one's.
    pub(in crate::master) fn leave_acme(&mut self) {
        let Some(issuing) = &mut self.issuing else { return };
        issuing.ready = false;
        issuing.jobs.forget();
        issuing.board.clear();
        issuing.unkept.forget_role();
        self.tell_answers();
        self.end_trial("the acme role has ended; see landlord's log");
        self.tell_issuance(Event::RoleGone);
    }

    /// A fact that the role tells.
    pub(in crate::master) fn on_acme(&mut self, attempt: u32, fact: FromAcme, fds: Vec<OwnedFd>) {
        // One that was told to end may have said something before: what it was told does not hold any more.
        let current = self.issuing.as_ref().is_some_and(|it| {
            let phase = it.role.worker.phase();
            it.role.worker.view().attempt == attempt && matches!(phase, Phase::Starting | Phase::Running)
        });
        if !current || self.farewell.has_begun() {
            return;
        }
        match fact {
            FromAcme::Hello { protocol } if protocol != PROTOCOL => {
                tracing::error!(protocol, "the acme role speaks another protocol");
            }
            FromAcme::Hello { .. } => {}
            FromAcme::Ready => {
                self.role_fact(Post::Acme, Fact::Healthy { attempt });
                if let Some(issuing) = &mut self.issuing {
                    issuing.ready = true;
                }
                // First what an earlier one has left: a record of its may be in the way of a new one.
                self.clean();
                self.tell_issuance(Event::RoleReady);
            }
            FromAcme::Keep { job } => match read(fds) {
                Ok(keepsake) => self.on_keep(job, keepsake),
                Err(error) => self.distrust_acme(&error),
            },
            FromAcme::Answers { job } => match read(fds) {
                Ok(answers) => {
                    if let Some(issuing) = &mut self.issuing {
                        issuing.board.put(job, answers);
                    }
                }
                Err(error) => self.distrust_acme(&error),
            },
            FromAcme::Step { job, line } => self.on_step(job, &line),
            FromAcme::Issued { job } => match read(fds) {
                Ok(issued) => self.on_issued(job, issued),
                Err(error) => self.distrust_acme(&error),
            },
            FromAcme::Failed { job, failure } => self.on_failed(job, failure),
            FromAcme::Looked { job, finding } => self.on_looked(job, finding),
            FromAcme::Renewal { job, answer } => self.on_renewal(job, answer),
            FromAcme::Cleaned { job, error } => self.on_cleaned(job, error),
        }
    }

    /// One that does not keep to what was agreed is ended, and comes back.
    fn distrust_acme(&self, error: &std::io::Error) {
        tracing::error!(%error, "the acme role sent what is no message of its own: it is ended");
        if let Some(child) = self.issuing.as_ref().and_then(|issuing| issuing.role.child.as_ref()) {
            child.signal(libc::SIGKILL);
        }
    }

    /// Tells the proxies that let visitors in what is to be answered, if that has changed.
    pub(in crate::master) fn tell_answers(&mut self) {
        let Some(issuing) = &mut self.issuing else { return };
        let (serial, sealed) = match issuing.board.news() {
            Ok(Some(news)) => news,
            Ok(None) => return,
            Err(error) => return tracing::error!(%error, "the answers to the authority cannot be told"),
        };
        for proxy in self.proxies.supervised() {
            match sealed.try_clone() {
                Ok(copy) => proxy.role.send(crate::wire::ToProxy::Answers { serial }, vec![copy]),
                Err(error) => tracing::error!(%error, "a proxy cannot be told"),
            }
        }
    }

    /// All that is to be answered, for a proxy that knows nothing.
    pub(in crate::master) fn all_answers(&self) -> Option<std::io::Result<(u64, OwnedFd)>> {
        Some(self.issuing.as_ref()?.board.whole())
    }

    /// Tells the role which of its answers every proxy gives that lets visitors in.
    pub(in crate::master) fn tell_answering(&mut self) {
        let newest = self.proxies.newest.facts.answering;
        let next = self.proxies.next.as_ref().filter(|next| next.facts.started);
        let least = next.map_or(newest, |next| next.facts.answering.min(newest));
        let Some(issuing) = &mut self.issuing else { return };
        for job in issuing.board.answered(least) {
            issuing.role.send(ToAcme::Answering { job }, Vec::new());
        }
    }
}

/// As it travels beside its message.
pub(super) fn seal<T: Serialize>(name: &str, value: &T) -> std::io::Result<OwnedFd> {
    sys::memfd::seal(name, &serde_json::to_vec(value)?)
}

fn read<T: DeserializeOwned>(fds: Vec<OwnedFd>) -> std::io::Result<T> {
    let fd = fds.into_iter().next().ok_or_else(|| std::io::Error::other("nothing came along"))?;
    Ok(serde_json::from_slice(&sys::memfd::read(fd, CAP)?)?)
}
