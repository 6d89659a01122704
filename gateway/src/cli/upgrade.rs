//! `landlord upgrade`: this program, or another one, is offered to the landlord that runs.

use std::{fs::File, os::fd::AsFd, path::Path, process::ExitCode};

use super::{exit, order, out};
use crate::{model::Gateway, wire::ControlRequest};

/// Offers `binary`, or else the program that this is, and waits until the newest proxy serves or all is as before.
///
/// It is handed over as an open file: what is looked at is then what is run, whatever happens to its name.
pub(super) fn upgrade(gateway: &Gateway, binary: Option<&Path>) -> ExitCode {
    let path = binary.unwrap_or(Path::new("/proc/self/exe"));
    match File::open(path) {
        Ok(program) => order::give_with(gateway, &ControlRequest::Upgrade, &[program.as_fd()]),
        Err(error) => {
            out::complain(&format!("{}: {error}", path.display()));
            exit::FAILED
        }
    }
}
