//! `landlord preflight`, hidden: asked of a program before the one that runs becomes it.

use std::{os::fd::RawFd, process::ExitCode};

use super::{exit, out};
use crate::{master, sys};

/// Bytes of the settings.
const CAP: usize = 16 << 20;

/// Whether this program could go on by these settings from what is written down; if not, why, on standard output.
pub(super) fn preflight(settings: RawFd) -> ExitCode {
    let settings = sys::fd::inherited(settings).and_then(|sealed| sys::memfd::read(sealed, CAP));
    let looked = settings
        .map_err(|error| format!("the settings in force: {error}"))
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| format!("the settings in force: {error}")))
        .and_then(|gateway| master::preflight(&gateway));
    match looked {
        Ok(()) => {
            out::line(master::GO);
            exit::DONE
        }
        Err(reason) => {
            out::line(&reason);
            exit::FAILED
        }
    }
}
