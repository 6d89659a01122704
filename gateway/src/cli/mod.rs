//! One file per operator verb.

mod arguments;
mod certs;
mod check;
mod client;
mod diary;
mod dns;
mod doctor;
mod env;
mod exit;
mod firewall;
mod follow;
mod generate;
mod help;
mod logs;
mod order;
mod out;
mod pages;
mod paint;
mod preflight;
mod roles;
mod run;
mod status;
mod sweep;
mod table;
mod tail;
mod trust;
mod unit;
mod upgrade;

use std::{os::fd::RawFd, path::Path, process::ExitCode};

use clap::Parser;

use crate::{
    config, master,
    model::{Gateway, Rejection},
    sys,
    wire::ControlRequest,
};
use arguments::{Arguments, CertsOrder, DnsOrder, UnitOrder, Verb};

/// Does what the command line says; the exit code is one of those that `landlord --help` lists.
pub fn main() -> ExitCode {
    let Arguments { config, verb } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and the version are "errors" too, of code 0. A closed pipe is no reason to complain.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE));
        }
    };
    let config = config.as_deref().filter(|path| !path.as_os_str().is_empty());
    match verb {
        Verb::Run { handover } => start(config, handover),
        Verb::Preflight { settings } => preflight::preflight(settings),
        Verb::Check { json } => check::check(config, json),
        Verb::Status { name, json, watch } => with_gateway(config, |it| status::status(it, name, json, watch)),
        Verb::Start { name } => with_gateway(config, |it| order::give(it, &ControlRequest::Start { tenant: name })),
        Verb::Stop { name } => with_gateway(config, |it| order::give(it, &ControlRequest::Stop { tenant: name })),
        Verb::Restart { name } => with_gateway(config, |it| order::give(it, &ControlRequest::Restart { tenant: name })),
        Verb::Reload { accept_removals } => {
            with_gateway(config, |it| order::give(it, &ControlRequest::Reload { accept_removals }))
        }
        Verb::Upgrade { binary } => with_gateway(config, |it| upgrade::upgrade(it, binary.as_deref())),
        Verb::Logs { name, access, follow, lines } => {
            with_gateway(config, |it| logs::logs(it, name.as_ref(), access, follow, lines))
        }
        Verb::Env { name, order } => with_gateway(config, |it| env::env(it, &name, order)),
        Verb::Certs { order: None, json } => with_gateway(config, |it| certs::show(it, json)),
        Verb::Certs { order: Some(CertsOrder::Renew { name }), .. } => {
            with_gateway(config, |it| order::give(it, &ControlRequest::Renew { name }))
        }
        Verb::Certs { order: Some(CertsOrder::Check { names, directory }), .. } => {
            with_gateway(config, |it| order::give_aloud(it, &ControlRequest::TryCertificates { names, directory }))
        }
        Verb::Dns { order: DnsOrder::Providers { name, json } } => dns::providers(name.as_deref(), json),
        Verb::Trust { print, install, remove } => with_gateway(config, |it| match (print, install, remove) {
            (true, ..) => trust::print(it),
            (_, true, _) => trust::install(it),
            (.., true) => trust::remove(it),
            _ => trust::show(it),
        }),
        Verb::Firewall { print, remove } => with_gateway(config, |it| match (print, remove) {
            (true, _) => firewall::print(it),
            (_, true) => firewall::remove(it),
            _ => firewall::load(it),
        }),
        Verb::Doctor { json } => doctor::doctor(config, json),
        Verb::Generate { folder } => generate::generate(&folder),
        Verb::Unit { order: UnitOrder::Start { name } } => with_gateway(config, |it| unit::start(it, &name)),
        Verb::Unit { order: UnitOrder::Stop { name } } => with_gateway(config, |it| unit::stop(it, &name)),
        Verb::Role(role) => roles::play(role),
        Verb::Sweep => sweep::sweep(),
    }
}

/// `landlord run`: by the settings that an earlier life had in force, or else by those of the file.
fn start(config: Option<&Path>, handover: Option<RawFd>) -> ExitCode {
    // After an upgrade the kernel has named us by the number of the descriptor that was executed.
    let _ = sys::process::set_name("landlord");
    // First of all, while there is one thread and nothing else is open.
    let unusable = |error| out::complain(&format!("landlord: what it was started with cannot be used: {error}"));
    let mut inherited = sys::fdstore::take_inherited().map_err(unusable).unwrap_or_default();
    if let Some(number) = handover {
        inherited.extend(sys::reexec::take(number).map_err(unusable).unwrap_or_default());
    }
    if let Some(gateway) = master::settings(&inherited) {
        return run::run(gateway, inherited);
    }
    match config::gateway::load(config) {
        Ok(gateway) => {
            mention_unread(&gateway);
            run::run(gateway, inherited)
        }
        Err(wrong) => misconfigured(&wrong),
    }
}

/// Whoever stands beside a landlord.toml may think that it counts.
fn mention_unread(gateway: &Gateway) {
    if gateway.file.is_none() && Path::new("landlord.toml").exists() {
        out::complain("landlord: ./landlord.toml is not read unless it is named: --config landlord.toml");
    }
}

/// Runs a verb that only has to find landlord's folders: a landlord.toml that was broken since the start must not keep an
/// operator from asking a running landlord.
fn with_gateway(config: Option<&Path>, verb: impl FnOnce(&Gateway) -> ExitCode) -> ExitCode {
    match config::gateway::load_leniently(config) {
        (Some(gateway), wrong) => {
            tell(&wrong);
            mention_unread(&gateway);
            verb(&gateway)
        }
        (None, wrong) => misconfigured(&wrong),
    }
}

fn misconfigured(wrong: &[Rejection]) -> ExitCode {
    tell(wrong);
    exit::CONFIG.into()
}

fn tell(wrong: &[Rejection]) {
    for rejection in wrong {
        out::complain(&rejection.to_string());
    }
}
