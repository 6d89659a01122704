//! `landlord unit start|stop NAME`: what `landlord@NAME.service` runs. Hidden: people say `landlord start`, or `systemctl`.

use std::process::{Command, ExitCode};

use super::{
    client::{Client, Reply},
    exit, order, out,
};
use crate::{
    model::{Gateway, TenantName},
    sys::notify::{Manager, Word},
    wire::ControlRequest,
};

/// As `landlord start`; returns at once when landlord itself has told the unit to be up.
pub(super) fn start(gateway: &Gateway, name: &TenantName) -> ExitCode {
    let code = order::give(gateway, &ControlRequest::UnitStart { tenant: name.clone() });
    if code == exit::DONE
        && let Some(manager) = Manager::find()
        && let Some(sentence) = sentence(gateway, name)
    {
        // A status that does not arrive is no reason to fail.
        let _ = manager.tell(&[Word::Status(&sentence)]);
    }
    code
}

/// As `landlord stop`, which is remembered; when landlord itself is being stopped, nothing: that is nobody's wish about this
/// tenant.
pub(super) fn stop(gateway: &Gateway, name: &TenantName) -> ExitCode {
    if house_is_closing() {
        out::line("landlord itself is stopping: nothing is remembered");
        return exit::DONE;
    }
    match Client::ask(gateway, &ControlRequest::Status { tenant: Some(name.clone()) }) {
        Err(error) if error.is_not_running() => {
            out::line("landlord is not running: nothing is to be stopped, and nothing is remembered");
            exit::DONE
        }
        // systemd starts a landlord that has crashed only when this has ended: to wait for it here would be for ever.
        _ => order::give_while(gateway, &ControlRequest::UnitStop { tenant: name.clone() }, || !house_is_away()),
    }
}

/// What `systemctl` says; nothing where it cannot be asked.
fn says(args: &[&str]) -> String {
    let said = Command::new("systemctl").args(args).output();
    said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default()
}

fn house_is_away() -> bool {
    says(&["show", "--value", "--property=MainPID", "landlord.service"]) == "0"
}

fn house_is_closing() -> bool {
    if says(&["is-system-running"]) == "stopping" {
        return true;
    }
    if says(&["show", "--value", "--property=ActiveState", "landlord.service"]) == "deactivating" {
        return true;
    }
    // NUMBER UNIT TYPE STATE: a stop, or a restart, may wait for this very unit to be stopped first.
    let jobs = says(&["list-jobs", "--no-legend", "landlord.service"]);
    jobs.lines().any(|job| matches!(job.split_whitespace().nth(2), Some("stop" | "restart")))
}

/// What `systemctl status` shows beside the unit.
fn sentence(gateway: &Gateway, name: &TenantName) -> Option<String> {
    let client = Client::ask(gateway, &ControlRequest::Status { tenant: Some(name.clone()) }).ok()?;
    let Ok(Reply::Status(status)) = client.reply() else { return None };
    let entry = status.tenants.into_iter().next()?;
    Some(match (entry.generation, entry.pid) {
        (Some(generation), Some(pid)) => format!("{}: begun with generation {generation}, pid {pid}", entry.url),
        _ => entry.url,
    })
}
