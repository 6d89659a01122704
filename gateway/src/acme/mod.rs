//! The acme role: orders certificates, and speaks to the authority and to DNS alone.
//!
//! It keeps nothing and reads no file but the system's own: what must outlive it is told to the master as a keepsake, and
//! acknowledged before an order goes on. When the master closes the link, it ends.

mod account;
mod challenge;
mod client;
mod desk;
mod dns;
mod leaf;
mod mailbox;
mod order;
mod pace;
mod problem;
mod records;
mod renewal;
#[cfg(test)]
mod tests;
mod words;

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    process::ExitCode,
    rc::Rc,
};

use tokio::task::LocalSet;

use crate::{
    sys::{identity, memfd},
    wire::{AcmeSettings, FromAcme, Link, LinkError, PROTOCOL, ToAcme},
};
use desk::Desk;
use dns::Dns;
use records::Records;

type MasterLink = Link<FromAcme, ToAcme>;

/// Settings, plans and certificates are at most this long.
const MEMFD: usize = 4 * 1024 * 1024;
const NOTHING: &[BorrowedFd<'_>] = &[];

/// Works until the master closes the link; as `identity` (uid, gid), if one is given. Call it before any other thread is
/// started.
pub fn main(link: OwnedFd, identity: Option<(u32, u32)>) -> ExitCode {
    // A signal that ended it would leave challenge records behind.
    match identity::settle_in(identity).and_then(|()| run(link, Dns::new)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the acme role ends");
            ExitCode::FAILURE
        }
    }
}

fn run<R: Records + 'static>(link: OwnedFd, records: impl Fn(&AcmeSettings) -> R) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        match serve(Rc::new(MasterLink::new(link)?), records).await {
            Ok(()) | Err(LinkError::Gone) => Ok(()),
            Err(error) => Err(io::Error::other(error)),
        }
    })
}

/// Does what the master asks, until it has gone. `records` makes what writes challenge records.
async fn serve<R: Records + 'static>(
    link: Rc<MasterLink>,
    records: impl Fn(&AcmeSettings) -> R,
) -> Result<(), LinkError> {
    link.send(&FromAcme::Hello { protocol: PROTOCOL }, NOTHING).await?;
    let mut desk = None;
    loop {
        match link.recv().await {
            Ok(Some((ToAcme::Hello { protocol: PROTOCOL }, _))) => {}
            Ok(Some((ToAcme::Hello { protocol }, _))) => {
                return Err(LinkError::Malformed(format!("protocol {protocol}, and we speak {PROTOCOL}")));
            }
            Ok(Some((ToAcme::Configure, mut fds))) => {
                let settings: AcmeSettings = sealed(fds.pop())?;
                let records = records(&settings);
                desk = Some(Desk::new(link.clone(), settings, records).map_err(LinkError::Malformed)?);
                link.send(&FromAcme::Ready, NOTHING).await?;
            }
            Ok(Some((message, fds))) => match &mut desk {
                Some(desk) => desk.take(message, fds)?,
                None => tracing::error!("the master asked for work before Configure"),
            },
            Ok(None) => return Ok(()),
            // Whoever sends one strange message can still send good ones.
            Err(LinkError::Malformed(error)) => tracing::error!(error, "a message that is none of ours"),
            Err(error) => return Err(error),
        }
    }
}

/// What came sealed beside a message. The error does not quote it: it is secret.
fn sealed<T: serde::de::DeserializeOwned>(fd: Option<OwnedFd>) -> Result<T, LinkError> {
    let fd = fd.ok_or_else(|| LinkError::Malformed("a message without its memfd".to_owned()))?;
    let bytes = memfd::read(fd, MEMFD).map_err(LinkError::Io)?;
    serde_json::from_slice(&bytes)
        .map_err(|why| LinkError::Malformed(format!("a memfd: line {} column {}", why.line(), why.column())))
}
