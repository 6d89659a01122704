//! `landlord status`: what every tenant is doing.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use super::{
    client::{Client, ClientError, Reply},
    exit, out, table,
};
use crate::{
    model::{Gateway, TenantName},
    wire::{ControlRequest, Status, StatusEntry},
};

/// How often a watched table is drawn anew, for the uptimes in it.
const TICK: Duration = Duration::from_secs(1);

/// Shows every tenant, or one; once, or until the reader goes away.
pub(super) fn status(gateway: &Gateway, name: Option<TenantName>, json: bool, watch: bool) -> ExitCode {
    let shown = if watch { watched(gateway, name, json) } else { once(gateway, name, json) };
    shown.unwrap_or_else(|error| {
        out::complain(&error.to_string());
        error.code()
    })
}

fn once(gateway: &Gateway, name: Option<TenantName>, json: bool) -> Result<ExitCode, ClientError> {
    let client = Client::ask(gateway, &ControlRequest::Status { tenant: name.clone() })?;
    let status = match client.reply()? {
        Reply::Status(status) => only(status, name.as_ref()),
        reply => return ended(reply),
    };
    let asked = name;
    if let Some(name) = asked.as_ref().filter(|_| status.tenants.is_empty()) {
        out::complain(&format!("there is no tenant {name}: `landlord status` lists them all"));
        return Ok(exit::FAILED);
    }
    if json {
        out::line(&as_json(&status, true)?);
    } else {
        out::raw(table::draw(&status, out::columns(), out::has_colour()).as_bytes());
        if let (Some(_), [StatusEntry { storage: Some(storage), .. }]) = (&asked, &status.tenants[..]) {
            out::line(&format!("\nstorage: {}", table::storage(storage)));
        }
    }
    Ok(exit::DONE)
}

fn watched(gateway: &Gateway, name: Option<TenantName>, json: bool) -> Result<ExitCode, ClientError> {
    let ask = || Client::ask(gateway, &ControlRequest::Watch { tenant: name.clone() });
    let mut client = ask()?;
    let redraws = out::is_terminal() && !json;
    let mut latest: Option<(Status, Instant)> = None;
    // By the landlord that is asked now.
    let mut answered = false;
    loop {
        let reply = if redraws { client.reply_within(TICK) } else { client.reply().map(Some) };
        match reply {
            Ok(Some(Reply::Status(status))) => {
                latest = Some((only(status, name.as_ref()), Instant::now()));
                answered = true;
            }
            Ok(Some(reply)) => return ended(reply),
            Ok(None) => {}
            // It became another program, or crashed: the next one answers on the same socket.
            Err(ClientError::Gone) if answered => {
                (client, answered) = (ask()?, false);
                continue;
            }
            Err(error) => return Err(error),
        }
        let Some((status, received)) = &latest else { continue };
        if json {
            out::line(&as_json(status, false)?);
        } else if redraws {
            redraw(&older(status, received.elapsed()));
        } else {
            out::line(&table::draw(status, None, false));
        }
    }
}

/// The table from the terminal's top, cut at its height.
fn redraw(status: &Status) {
    let drawn = table::draw(status, out::columns(), out::has_colour());
    let rows = out::rows().unwrap_or(usize::MAX).saturating_sub(1);
    let visible: Vec<&str> = drawn.lines().take(rows).collect();
    // Each line is cleared behind its text, the rest of the screen at the end: nothing flickers.
    out::raw(format!("\x1b[H{}\x1b[K\n\x1b[J", visible.join("\x1b[K\n")).as_bytes());
}

/// The same a while later.
fn older(status: &Status, passed: Duration) -> Status {
    let mut status = status.clone();
    for entry in status.tenants.iter_mut().filter(|entry| entry.uptime_s > 0) {
        entry.uptime_s += passed.as_secs();
    }
    status
}

/// What concerns `name`, if one was asked for.
fn only(mut status: Status, name: Option<&TenantName>) -> Status {
    if let Some(name) = name {
        status.tenants.retain(|entry| entry.name == name.as_str());
        status.rejected.retain(|rejection| rejection.tenant.as_ref() == Some(name));
    }
    status
}

fn ended(reply: Reply) -> Result<ExitCode, ClientError> {
    match reply {
        Reply::Done(outcome) => {
            out::complain(&out::harmless(&outcome.message));
            Ok(exit::FAILED)
        }
        other => Err(ClientError::Strange(format!("{other:?}"))),
    }
}

fn as_json(status: &Status, pretty: bool) -> Result<String, ClientError> {
    let text =
        if pretty { serde_json::to_string_pretty(&status.tenants) } else { serde_json::to_string(&status.tenants) };
    text.map_err(|error| ClientError::Strange(error.to_string()))
}
