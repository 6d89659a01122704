//! `landlord firewall`: the rules that keep tenants from each other's ports on loopback. landlord.service runs it before it
//! starts, with rights that the service itself does not have.

use std::{process::ExitCode, time::Duration};

use super::{exit, out};
use crate::{
    master::PROXY_UID,
    model::{Gateway, PortRange},
    sys::{
        firewall::{self, FirewallError, Table},
        identity,
    },
};

/// A machine that boots has other things to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// The table that these settings need.
pub(super) fn table(gateway: &Gateway) -> Table {
    let PortRange { first, last } = gateway.ports;
    Table { first, last, proxy: PROXY_UID }
}

/// Loads the rules, in the place of those that are there.
pub(super) fn load(gateway: &Gateway) -> ExitCode {
    if gateway.users.is_none() {
        out::complain(
            "landlord: by these settings no tenant is a user of its own, and no rule could tell one from another: \
             [users] in landlord.toml",
        );
        return exit::FAILED;
    }
    let PortRange { first, last } = gateway.ports;
    let done = format!("On loopback, only root and the gateway reach ports {first} to {last}.");
    tell(run(&table(gateway).text(), "landlord firewall"), &done)
}

/// Removes them.
pub(super) fn remove(gateway: &Gateway) -> ExitCode {
    let PortRange { first, last } = gateway.ports;
    let done = format!("On loopback, everybody reaches ports {first} to {last}.");
    tell(run(&table(gateway).removal(), "landlord firewall --remove"), &done)
}

/// Shows them, and changes nothing.
pub(super) fn print(gateway: &Gateway) -> ExitCode {
    out::raw(table(gateway).text().as_bytes());
    exit::DONE
}

/// `verb` is what is tried again with more rights.
fn run(text: &str, verb: &str) -> Result<(), String> {
    if !identity::is_root() {
        return Err(format!("only root may change the rules of the network: sudo {verb}"));
    }
    firewall::run(text, PATIENCE).map_err(|error| match error {
        FirewallError::Refused(_) if !firewall::is_permitted() => {
            format!("{error}; this process lacks CAP_NET_ADMIN, as in a container: run it where the network is made")
        }
        error => error.to_string(),
    })
}

fn tell(result: Result<(), String>, done: &str) -> ExitCode {
    match result {
        Ok(()) => {
            out::line(done);
            exit::DONE
        }
        Err(error) => {
            out::complain(&format!("landlord: {error}"));
            exit::FAILED
        }
    }
}
