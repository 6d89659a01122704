//! One job's side of the link: what it tells the master, and what it waits for.

use std::{cell::Cell, os::fd::AsFd, rc::Rc};

use serde::Serialize;
use tokio::sync::watch;

use super::{MasterLink, NOTHING};
use crate::{
    sys::memfd,
    wire::{Answers, FromAcme, Issued, JobId, Keepsake, LinkError},
};

/// What the master has said about a job. Counted, so that an acknowledgement for what was given up half way is not taken for
/// the next one's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// How many keepsakes are on disk.
    pub(super) kept: u64,
    /// How many sets of answers are answered by.
    pub(super) answering: u64,
    /// It is to be given up.
    pub(super) cancelled: bool,
}

/// A job's line to the master.
pub(super) struct Mailbox {
    link: Rc<MasterLink>,
    job: JobId,
    heard: watch::Receiver<Heard>,
    keeps: Cell<u64>,
    answers: Cell<u64>,
}

impl Mailbox {
    /// For `job`; what is heard about it comes through the sender.
    pub(super) fn new(link: Rc<MasterLink>, job: JobId) -> (Self, watch::Sender<Heard>) {
        let (sender, heard) = watch::channel(Heard::default());
        (Self { link, job, heard, keeps: Cell::new(0), answers: Cell::new(0) }, sender)
    }

    /// Ends when the job is cancelled; never, if it is not.
    pub(super) async fn cancelled(&self) {
        if self.heard.clone().wait_for(|heard| heard.cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Has `keepsake` on disk.
    ///
    /// # Errors
    /// The master has gone.
    pub(super) async fn keep(&self, keepsake: &Keepsake) -> Result<(), LinkError> {
        let fd = seal(keepsake)?;
        self.link.send(&FromAcme::Keep { job: self.job }, &[fd.as_fd()]).await?;
        // A send that was given up has sent nothing: counted is what was sent.
        let mine = self.keeps.get() + 1;
        self.keeps.set(mine);
        self.wait(|heard| heard.kept >= mine).await
    }

    /// Has every proxy answer so. Does not wait.
    ///
    /// # Errors
    /// The master has gone.
    pub(super) async fn answer(&self, answers: &Answers) -> Result<(), LinkError> {
        let fd = seal(answers)?;
        self.link.send(&FromAcme::Answers { job: self.job }, &[fd.as_fd()]).await?;
        if !(answers.http.is_empty() && answers.tls.is_empty()) {
            self.answers.set(self.answers.get() + 1);
        }
        Ok(())
    }

    /// Waits until they do.
    ///
    /// # Errors
    /// The master has gone.
    pub(super) async fn answering(&self) -> Result<(), LinkError> {
        let mine = self.answers.get();
        self.wait(|heard| heard.answering >= mine).await
    }

    /// Says what the order is at. A line for people: it is dropped, if there is no room for it.
    pub(super) fn step(&self, line: impl Into<String>) {
        let (link, job, line) = (self.link.clone(), self.job, line.into());
        tokio::task::spawn_local(async move {
            let _ = link.send(&FromAcme::Step { job, line }, NOTHING).await;
        });
    }

    /// The order's good end.
    ///
    /// # Errors
    /// The master has gone.
    pub(super) async fn issued(&self, issued: &Issued) -> Result<(), LinkError> {
        let fd = seal(issued)?;
        self.link.send(&FromAcme::Issued { job: self.job }, &[fd.as_fd()]).await
    }

    /// Says one thing without anything beside it.
    ///
    /// # Errors
    /// The master has gone.
    pub(super) async fn say(&self, message: &FromAcme) -> Result<(), LinkError> {
        self.link.send(message, NOTHING).await
    }

    /// Which job it is.
    pub(super) fn job(&self) -> JobId {
        self.job
    }

    async fn wait(&self, enough: impl FnMut(&Heard) -> bool) -> Result<(), LinkError> {
        self.heard.clone().wait_for(enough).await.map(drop).map_err(|_| LinkError::Gone)
    }
}

fn seal(value: &impl Serialize) -> Result<std::os::fd::OwnedFd, LinkError> {
    let bytes = serde_json::to_vec(value).map_err(|error| LinkError::Io(error.into()))?;
    memfd::seal("landlord-acme", &bytes).map_err(LinkError::Io)
}
