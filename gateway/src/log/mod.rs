//! The log role: reads every worker's output; bounded, rotated, followable.
//!
//! Each pipe is always read, whatever becomes of what is in it: a worker never waits for its log. Where landlord itself logs
//! to systemd's journal, tenants' lines go there as well. When the master closes
//! the link, what is left in the pipes is written, and the role ends.

mod bucket;
mod file;
mod journal;
mod lines;
mod reader;
mod shelf;
mod sink;

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    process::ExitCode,
    rc::Rc,
};

use tokio::{sync::mpsc, task::LocalSet};

use crate::{
    sys::{identity, journal::Writer},
    wire::{FromLog, Link, LinkError, PROTOCOL, ToLog},
};
use file::Bounds;
use journal::Journal;
use shelf::Shelf;

type MasterLink = Link<FromLog, ToLog>;

/// Reads and writes until the master closes the link; as `identity` (uid, gid), if one is given; to the journal too, if it is
/// `journaled`.
pub fn main(link: OwnedFd, identity: Option<(u32, u32)>, journaled: bool) -> ExitCode {
    // A signal that ended it would lose the workers' last words.
    match identity::settle_in(identity).and_then(|()| run(link, journaled)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the log role ends");
            ExitCode::FAILURE
        }
    }
}

fn run(link: OwnedFd, journaled: bool) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let link = MasterLink::new(link)?;
        let journal = journaled.then(|| Journal::new(Writer::default()));
        match serve(&link, journal).await {
            Ok(()) | Err(LinkError::Gone) => Ok(()),
            Err(error) => Err(io::Error::other(error)),
        }
    })
}

async fn serve(link: &MasterLink, journal: Option<Rc<Journal>>) -> Result<(), LinkError> {
    let nothing: &[BorrowedFd<'_>] = &[];
    link.send(&FromLog::Hello { protocol: PROTOCOL }, nothing).await?;
    let (facts, mut told) = mpsc::unbounded_channel();
    let mut shelf = None;
    let sending = journal.as_ref().map(Journal::start);
    loop {
        let received = tokio::select! {
            received = link.recv() => received,
            // We hold a sender ourselves, so the channel never ends.
            Some(fact) = told.recv() => {
                match link.send(&fact, nothing).await {
                    // The master has hung up: what is said by `recv`, after all that it sent before.
                    Ok(()) | Err(LinkError::Gone) => continue,
                    Err(error) => return Err(error),
                }
            }
        };
        match received {
            Ok(Some((ToLog::Hello { protocol, file_bytes, files }, mut fds))) => match fds.pop() {
                // A master that has resumed tells all again: what is read already goes on being read.
                Some(_) if protocol == PROTOCOL && shelf.is_some() => link.send(&FromLog::Ready, nothing).await?,
                Some(folder) if protocol == PROTOCOL => {
                    let bounds = Bounds { folder: Rc::new(folder), bytes: file_bytes, files };
                    shelf = Some(Shelf::new(bounds, journal.clone(), facts.clone()));
                    link.send(&FromLog::Ready, nothing).await?;
                }
                Some(_) => return Err(LinkError::Malformed(format!("protocol {protocol}, and we speak {PROTOCOL}"))),
                None => return Err(LinkError::Malformed("a Hello without a folder".to_owned())),
            },
            Ok(Some((message, fds))) => match &mut shelf {
                Some(shelf) => obey(shelf, message, fds),
                None => tracing::error!("the master said something before Hello"),
            },
            Ok(None) => break,
            // Whoever sends one strange message can still send good ones.
            Err(LinkError::Malformed(error)) => tracing::error!(error, "a message that is none of ours"),
            Err(error) => return Err(error),
        }
    }
    if let Some(shelf) = shelf {
        shelf.finish();
    }
    if let (Some(journal), Some(sending)) = (journal, sending) {
        sending.abort();
        journal.finish().await;
    }
    Ok(())
}

fn obey(shelf: &mut Shelf, message: ToLog, mut fds: Vec<OwnedFd>) {
    let opened = match (message, fds.pop()) {
        (ToLog::Tenant { tenant }, Some(pipe)) => shelf.open_tenant(&tenant, pipe),
        (ToLog::Access, Some(pipe)) => shelf.open_access(pipe),
        (ToLog::Close { tenant }, _) => {
            shelf.close_tenant(&tenant);
            Ok(())
        }
        (ToLog::Tenant { .. } | ToLog::Access | ToLog::Hello { .. }, _) => Err(io::ErrorKind::InvalidInput.into()),
    };
    if let Err(error) = opened {
        tracing::error!(%error, "a pipe that the master sent cannot be read");
    }
}

#[cfg(test)]
mod tests;
