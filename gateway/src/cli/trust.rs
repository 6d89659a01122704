//! `landlord trust`: the local CA's root, and the places where this machine and its browsers look for authorities.
//!
//! What is handed out is the root that can speak for this house's names alone (RFC 5280 section 4.2.1.10): a stolen key is
//! then of no use against the rest of the web.

mod root;
mod stores;

use std::process::ExitCode;

use super::{exit, out};
use crate::{
    model::{Gateway, TlsProvider},
    sys::identity,
};
use root::Root;
use stores::{Found, Store};

/// What came of a change of one store.
type Outcome = Result<(), String>;

/// Where the root is, what it covers, and who trusts it.
pub(super) fn show(gateway: &Gateway) -> ExitCode {
    with_root(gateway, |root| {
        out::line(&format!("{}\n{}", root.file.display(), root.describe()));
        let stores = stores::all();
        let (mut outdated, mut missing_in) = (false, stores.is_empty());
        for store in &stores {
            let found = store.look(root);
            missing_in |= found == Found::Nothing;
            let (mark, remark) = match found {
                Found::Same => ("trusted by", ""),
                Found::Nothing => ("not in", ""),
                Found::Other => ("an older one is in", ": names have come since"),
            };
            outdated |= !remark.is_empty();
            out::line(&format!("{mark} {store}{remark}"));
        }
        missing(&stores);
        out::line("");
        if outdated || missing_in {
            let why = if outdated { "brings them up to date" } else { "has this machine and its browsers trust it" };
            out::line(&format!("sudo landlord trust --install {why}."));
        }
        out::line("On another machine, import what landlord trust --print writes.");
        exit::DONE
    })
}

/// The root to stdout, PEM.
pub(super) fn print(gateway: &Gateway) -> ExitCode {
    with_root(gateway, |root| {
        out::raw(root.pem.as_bytes());
        exit::DONE
    })
}

/// Puts the root into every store that there is.
pub(super) fn install(gateway: &Gateway) -> ExitCode {
    with_root(gateway, |root| {
        each(|store| match store.look(root) {
            Found::Same => Ok(format!("{store} trusts it already")),
            Found::Other => store.install(root).map(|()| format!("{store} trusts it, in place of an older one")),
            Found::Nothing => store.install(root).map(|()| format!("{store} trusts it")),
        })
    })
}

/// Takes the root, and older ones of the same authority, out of every store that there is.
pub(super) fn remove(gateway: &Gateway) -> ExitCode {
    with_root(gateway, |root| {
        each(|store| match store.look(root) {
            Found::Nothing => Ok(format!("{store} does not have it")),
            Found::Same | Found::Other => store.remove(root).map(|()| format!("{store} has forgotten it")),
        })
    })
}

fn each(change: impl Fn(&Store) -> Result<String, String>) -> ExitCode {
    let stores = stores::all();
    let mut code = exit::DONE;
    for store in &stores {
        match change(store) {
            Ok(done) => out::line(&done),
            Err(why) => {
                out::complain(&format!("{store}: {}", out::harmless(&why)));
                code = exit::FAILED;
            }
        }
    }
    missing(&stores);
    code
}

/// Whom nothing was done for, and why.
fn missing(stores: &[Store]) {
    if !stores.iter().any(|store| matches!(store, Store::System { .. })) {
        out::line(
            "this machine's own store was passed over: it has no update-ca-certificates; give it what --print writes",
        );
    }
    let has_browser = stores.iter().any(|store| matches!(store, Store::Browser { .. }));
    if stores::certutil().is_none() {
        out::line("browsers were passed over: apt install libnss3-tools brings certutil, which their stores need");
    } else if !has_browser {
        out::line("browsers were passed over: none of this user's has a store yet; start it once");
    }
}

fn with_root(gateway: &Gateway, act: impl FnOnce(&Root) -> ExitCode) -> ExitCode {
    let from = match gateway.tls {
        TlsProvider::Local => None,
        TlsProvider::Acme => Some("a public authority, or one of your own"),
        TlsProvider::Files => Some("files"),
    };
    if let Some(from) = from {
        out::line(&format!(
            "certificates come from {from} (`tls.provider` in landlord.toml): there is nothing to trust"
        ));
        return exit::DONE;
    }
    match Root::read(&gateway.state) {
        Ok(root) => act(&root),
        Err(why) => {
            let advice = if identity::is_root() { "" } else { "; or try again with sudo" };
            out::complain(&format!("{why}{advice}"));
            exit::FAILED
        }
    }
}
