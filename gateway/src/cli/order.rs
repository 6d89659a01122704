//! `landlord start`, `stop`, `restart`, `reload` and `upgrade`: an order, its progress, its end.

use std::{os::fd::BorrowedFd, process::ExitCode, time::Duration};

use super::{
    client::{Client, ClientError, Reply},
    exit, out,
};
use crate::{
    model::Gateway,
    wire::{ControlRequest, Outcome},
};

/// Between two looks whether somebody is there.
const GLANCE: Duration = Duration::from_secs(1);

/// Gives `request` to a running landlord and waits until it is done.
pub(super) fn give(gateway: &Gateway, request: &ControlRequest) -> ExitCode {
    give_with(gateway, request, &[])
}

/// [`give`] with descriptors beside the request.
pub(super) fn give_with(gateway: &Gateway, request: &ControlRequest, fds: &[BorrowedFd<'_>]) -> ExitCode {
    tell(wait(gateway, request, fds, out::progress))
}

/// [`give`], of which every line stays: they are what was asked for.
pub(super) fn give_aloud(gateway: &Gateway, request: &ControlRequest) -> ExitCode {
    tell(wait(gateway, request, &[], |line| out::line(&out::harmless(line))))
}

/// [`give`], but not for longer than somebody is there who could answer: a socket that systemd keeps takes requests also
/// while nobody is.
pub(super) fn give_while(gateway: &Gateway, request: &ControlRequest, is_there: impl Fn() -> bool) -> ExitCode {
    let end = Client::ask(gateway, request).and_then(|client| {
        loop {
            match client.reply_within(GLANCE)? {
                Some(Reply::Progress(line)) => out::progress(&line),
                Some(Reply::Done(outcome)) => return Ok(outcome),
                Some(other) => return Err(ClientError::Strange(format!("{other:?}"))),
                None if is_there() => {}
                None => return Err(ClientError::Gone),
            }
        }
    });
    tell(end)
}

fn tell(end: Result<Outcome, ClientError>) -> ExitCode {
    out::progress("");
    match end {
        Ok(Outcome { ok: true, message }) => {
            out::line(&out::harmless(&message));
            exit::DONE
        }
        Ok(Outcome { ok: false, message }) => {
            out::complain(&out::harmless(&message));
            exit::FAILED
        }
        Err(error) => {
            out::complain(&error.to_string());
            error.code()
        }
    }
}

fn wait(
    gateway: &Gateway,
    request: &ControlRequest,
    fds: &[BorrowedFd<'_>],
    told: impl Fn(&str),
) -> Result<Outcome, ClientError> {
    let client = Client::ask_with(gateway, request, fds)?;
    loop {
        match client.reply()? {
            Reply::Progress(line) => told(&line),
            Reply::Done(outcome) => return Ok(outcome),
            other => return Err(ClientError::Strange(format!("{other:?}"))),
        }
    }
}
