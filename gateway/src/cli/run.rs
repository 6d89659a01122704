//! `landlord run`: the gateway, in the foreground.

use std::{os::fd::OwnedFd, process::ExitCode};

use super::{diary, exit, out, table};
use crate::{
    master::{self, OpenError},
    model::{Gateway, TlsProvider},
    sys::{self, listen::ListenError},
    wire::Status,
};

/// Runs the gateway until it is told to stop, with what this process was started with.
pub(super) fn run(gateway: Gateway, inherited: Vec<(String, OwnedFd)>) -> ExitCode {
    diary::open(sys::journal::has_stderr());
    let file = gateway.file.clone();
    match master::run(gateway, Box::new(welcome), inherited) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::complain(&format!("landlord: {error}"));
            let settings =
                file.map_or_else(|| "a landlord.toml (landlord run --config FILE)".into(), |f| f.display().to_string());
            match error {
                OpenError::Listen(ListenError::AddrInUse { .. }) => out::complain(&format!(
                    "Nothing was started. End that process, or choose other ports under [listen] in {settings}."
                )),
                OpenError::Listen(_) => {
                    out::complain(&format!("Nothing was started. The addresses are under [listen] in {settings}."));
                }
                OpenError::Lock(..) => out::complain(
                    "Another landlord runs on this state: `landlord status` shows it. A second one needs a `state` of its own.",
                ),
                OpenError::State(..) => {
                    out::complain(&format!(
                        "landlord needs folders that it can write: `state` and `run` in {settings}."
                    ));
                }
                OpenError::Ca(_) | OpenError::System(..) => {}
            }
            exit::FAILED
        }
    }
}

/// The table of companies, how to trust the CA, and where to drop a file.
fn welcome(gateway: &Gateway, status: &Status) {
    let root = gateway.state.join("certs").join("local-ca.pem");
    let (root, tenants) = (short(&root), short(&gateway.tenants));
    out::line("");
    out::raw(table::draw(status, out::columns(), out::has_colour()).as_bytes());
    out::line("");
    match gateway.tls {
        TlsProvider::Local => {
            out::line(&format!("Trust the CA:   sudo landlord trust --install, or: curl --cacert {root} https://…"));
        }
        TlsProvider::Acme | TlsProvider::Files => out::line("Certificates:   landlord certs"),
    }
    out::line(&format!("Let one in:     drop NAME.toml (it may be empty) into {tenants}/"));
}

/// Relative to where the person stands, where that is shorter.
fn short(path: &std::path::Path) -> String {
    let here = std::env::current_dir().ok();
    let below = here.as_deref().filter(|here| *here != std::path::Path::new("/"));
    let relative = below.and_then(|here| path.strip_prefix(here).ok());
    relative.unwrap_or(path).display().to_string()
}
