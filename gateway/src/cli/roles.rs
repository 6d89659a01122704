//! The hidden verbs: what `landlord run` starts itself again as.

use std::{io, os::fd::OwnedFd, process::ExitCode};

use super::{arguments::Role, diary, exit, out};
use crate::{acme, count, exec, log, proxy, sys};

/// Becomes `role` for the rest of this process's life.
pub(super) fn play(role: Role) -> ExitCode {
    match role {
        Role::Proxy { link, journal, identity } => {
            on_link("proxy", link, journal, |link| proxy::main(link, identity.pair()))
        }
        Role::Log { link, journal, identity } => {
            on_link("log", link, journal, |link| log::main(link, identity.pair(), journal))
        }
        Role::Acme { link, journal, identity } => {
            on_link("acme", link, journal, |link| acme::main(link, identity.pair()))
        }
        Role::Count { order, tenants, out, identity } => {
            diary::open(false);
            count::main(order, tenants, out, identity.pair())
        }
        Role::Exec { plan } => exec::main(plan),
    }
}

fn on_link(name: &str, number: i32, journal: bool, role: impl FnOnce(OwnedFd) -> ExitCode) -> ExitCode {
    diary::open(journal);
    let link: io::Result<OwnedFd> = sys::fd::inherited(number);
    match link {
        Ok(link) => {
            // `ps` would show the number of the descriptor that it was executed through. A wrong name hurts nobody.
            let _ = sys::process::set_name(&format!("landlord-{name}"));
            role(link)
        }
        Err(error) => {
            out::complain(&format!(
                "landlord {name} is started by `landlord run`, with a link: descriptor {number}: {error}"
            ));
            ExitCode::from(exit::USAGE)
        }
    }
}
