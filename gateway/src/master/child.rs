//! One child process: its pidfd, and a task that tells the loop when it has ended.

use std::{
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

use tokio::sync::mpsc;

use super::event::{Event, Who};
use crate::sys::{
    self,
    process::{Name, Pidfd},
};

/// A running child. Signals go through its pidfd, so that a number used again is never hit.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: u32,
    /// What no other process ever has.
    pub(super) name: Name,
    pidfd: Rc<Pidfd>,
}

impl Child {
    /// Watches `child`; its end, and what its shim reported, is told once as [`Event::Exited`].
    ///
    /// # Errors
    /// Its pidfd cannot be polled.
    pub(super) fn watch(
        child: sys::spawn::Child,
        who: Who,
        attempt: u32,
        report: Option<OwnedFd>,
        events: mpsc::UnboundedSender<Event>,
    ) -> std::io::Result<Self> {
        // A child of ours keeps its number until it is reaped.
        Self::over(Name::of(child.pid), child.pidfd, who, attempt, report, events)
    }

    /// Watches a process that an earlier life of ours has started. `None`: it has gone, whoever has its number now.
    ///
    /// # Errors
    /// It cannot be opened or polled.
    pub(super) fn adopt(
        name: Name,
        who: Who,
        attempt: u32,
        events: mpsc::UnboundedSender<Event>,
    ) -> std::io::Result<Option<Self>> {
        let Some(pidfd) = sys::process::reopen(name.pid, name.started)? else { return Ok(None) };
        Self::over(name, pidfd, who, attempt, None, events).map(Some)
    }

    fn over(
        name: Name,
        pidfd: OwnedFd,
        who: Who,
        attempt: u32,
        report: Option<OwnedFd>,
        events: mpsc::UnboundedSender<Event>,
    ) -> std::io::Result<Self> {
        let pidfd = Rc::new(Pidfd::new(pidfd)?);
        let watched = pidfd.clone();
        tokio::task::spawn_local(async move {
            let exit = match watched.ended().await {
                Ok(exit) => exit,
                Err(error) => {
                    tracing::error!(?who, %error, "a child cannot be waited for");
                    sys::process::Exit { code: None, signal: None }
                }
            };
            let _ = events.send(Event::Exited { who, attempt, exit, report: report.and_then(said) });
        });
        Ok(Self { pid: name.pid, name, pidfd })
    }

    /// The descriptor that stands for it.
    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends a signal; to a child that has ended already, nothing.
    pub(super) fn signal(&self, signal: i32) {
        if let Err(error) = self.pidfd.signal(signal) {
            tracing::error!(pid = self.pid, signal, %error, "a child cannot be signalled");
        }
    }
}

/// What was reported before the end: the shim's reason for giving up, the answer of a program that was offered. All of it is in
/// the pipe by now; whoever else may hold the other end, as what a stranger's program has started does, is not waited for.
fn said(report: OwnedFd) -> Option<String> {
    sys::fd::never_wait(&report).ok()?;
    let mut text = Vec::new();
    // The error of an empty pipe that is still held comes after what was in it.
    let _ = std::fs::File::from(report).take(4096).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    (!text.is_empty()).then_some(text)
}
