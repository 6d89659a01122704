//! The table of `landlord status`, for people.

use std::time::Duration;

use super::{
    certs,
    out::harmless,
    paint::{Paint, paint},
};
use crate::{
    config::{duration, size},
    model::{CertificateState, Storage},
    wire::{DomainEntry, Draining, Status, StatusEntry, TenantState, Wall},
};

const HEADINGS: [&str; 10] = ["NAME", "STATE", "URL", "APP", "ENV", "PORT", "PID", "UPTIME", "RESTARTS", "REASON"];
/// The column that gets what is left of the width.
const REASON: usize = 9;
const STATE: usize = 1;

/// The whole picture as text, lines ended. `width` cuts the reasons to what is left of a line; `None` leaves them whole.
pub(super) fn draw(status: &Status, width: Option<usize>, colour: bool) -> String {
    let mut text = String::new();
    if status.tenants.is_empty() {
        text.push_str("no tenants: drop a file such as acme.toml into the folder of tenants\n");
    } else {
        rows(&mut text, &status.tenants, width, colour);
    }
    for rejection in &status.rejected {
        text.push_str(&format!("\n{}\n", paint(&rejection.to_string(), Paint::Red, colour)));
    }
    if let Some(line) = draining(&status.gateway.draining) {
        text.push_str(&format!("\n{line}\n"));
    }
    for notice in &status.notices {
        text.push_str(&format!("\n{}\n", paint(&harmless(notice), Paint::Yellow, colour)));
    }
    walls(&mut text, status, colour);
    text
}

/// How full a tenant's storage is.
pub(super) fn storage(storage: &Storage) -> String {
    match storage.limit {
        None => format!("{}, no limit", size::Rounded(storage.used)),
        Some(limit) => {
            format!("{} of {}, {} %", size::Rounded(storage.used), size::Rounded(limit), storage.percent())
        }
    }
}

/// What keeps tenants apart and does not hold. Where they are all one user, as on a laptop, that says it all, and calmly; where
/// they are not, each is something to be mended.
fn walls(text: &mut String, status: &Status, colour: bool) {
    let mut open: Vec<&Wall> = status.gateway.walls.iter().filter(|wall| !wall.holds).collect();
    if let Some(users) = open.iter().find(|wall| wall.name == "users") {
        // What is wrong with one tenant's folder has nothing to do with users.
        let names: Vec<&str> = open.iter().map(|wall| wall.name.as_str()).filter(|name| *name != "storage").collect();
        // Where it is a notice as well, it was said above.
        let why =
            if status.notices.contains(&users.note) { String::new() } else { format!(": {}", harmless(&users.note)) };
        let names = harmless(&names.join(", "));
        text.push_str(&format!("\nTenants are not kept apart by {names}{why}. See `landlord doctor`.\n"));
        open.retain(|wall| wall.name == "storage");
    }
    for wall in open {
        let line = format!("Tenants are not kept apart by {}: {}", harmless(&wall.name), harmless(&wall.note));
        text.push_str(&format!("\n{}\n", paint(&line, Paint::Yellow, colour)));
    }
}

/// A sentence about older proxies.
fn draining(older: &[Draining]) -> Option<String> {
    let who = match older.len() {
        0 => return None,
        1 => "1 older proxy ends its".to_owned(),
        more => format!("{more} older proxies end their"),
    };
    let counts: Option<Vec<u64>> = older.iter().map(|proxy| proxy.connections).collect();
    Some(match counts.map(|counts| counts.iter().sum::<u64>()) {
        // What is left is the wait for its process.
        Some(0) if older.len() == 1 => "1 older proxy is about to end".to_owned(),
        Some(0) => format!("{} older proxies are about to end", older.len()),
        Some(1) => format!("{who} last connection"),
        Some(sum) => format!("{who} last {sum} connections"),
        None => format!("{who} last connections"),
    })
}

fn rows(text: &mut String, tenants: &[StatusEntry], width: Option<usize>, colour: bool) {
    let cells: Vec<[String; 10]> = tenants.iter().map(row).collect();
    let mut widths = HEADINGS.map(str::len);
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let before: usize = widths[..REASON].iter().map(|width| width + 2).sum();
    let left = width.map_or(usize::MAX, |width| width.saturating_sub(before).max(REASON_LEAST));
    push_line(text, &HEADINGS.map(str::to_owned), &widths, left, |_, heading| paint(heading, Paint::Bold, colour));
    for (row, entry) in cells.iter().zip(tenants) {
        push_line(text, row, &widths, left, |column, cell| match column {
            STATE => paint(cell, paint_of(entry.state), colour),
            _ => cell.to_owned(),
        });
        for domain in entry.domains.iter().filter(|domain| domain.state != CertificateState::Valid) {
            text.push_str(&paint(&remark(domain), Paint::Yellow, colour));
            text.push('\n');
        }
    }
}

/// A custom domain whose certificate is not as it should be.
fn remark(domain: &DomainEntry) -> String {
    let reason = if domain.reason.is_empty() { String::new() } else { format!(": {}", harmless(&domain.reason)) };
    format!("  {}  certificate {}{reason}", harmless(&domain.host), certs::word(domain.state))
}

/// A narrow terminal wraps rather than to hide a reason.
const REASON_LEAST: usize = 20;

fn push_line(
    text: &mut String,
    cells: &[String; 10],
    widths: &[usize; 10],
    left: usize,
    painted: impl Fn(usize, &str) -> String,
) {
    let mut line = String::new();
    for (column, cell) in cells.iter().enumerate() {
        if column == REASON {
            line.push_str(&painted(column, &cut(cell, left)));
        } else {
            let padding = widths[column] - cell.chars().count() + 2;
            line.push_str(&painted(column, cell));
            line.push_str(&" ".repeat(padding));
        }
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

fn row(entry: &StatusEntry) -> [String; 10] {
    let text = |text: &str| if text.is_empty() { "-".to_owned() } else { harmless(text) };
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    [
        text(&entry.name),
        word(entry.state).to_owned(),
        text(&entry.url),
        text(&entry.app),
        text(&entry.environment),
        number(entry.port.map(u64::from)),
        number(entry.pid.map(u64::from)),
        if entry.uptime_s > 0 { uptime(entry.uptime_s) } else { "-".to_owned() },
        entry.restarts.to_string(),
        harmless(&entry.reason),
    ]
}

/// Two units at most: `3d4h`, `12m5s`.
fn uptime(seconds: u64) -> String {
    let rounded = match seconds {
        0..3600 => seconds,
        3600..86_400 => seconds - seconds % 60,
        _ => seconds - seconds % 3600,
    };
    duration::Display(Duration::from_secs(rounded)).to_string()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn word(state: TenantState) -> &'static str {
    match state {
        TenantState::Starting => "starting",
        TenantState::Running => "running",
        TenantState::Holding => "holding",
        TenantState::Sleeping => "sleeping",
        TenantState::Backoff => "backoff",
        TenantState::Failed => "failed",
        TenantState::Suspended => "suspended",
        TenantState::Stopped => "stopped",
        TenantState::Rejected => "rejected",
        TenantState::Removed => "removed",
    }
}

fn paint_of(state: TenantState) -> Paint {
    match state {
        TenantState::Running => Paint::Green,
        TenantState::Starting | TenantState::Holding | TenantState::Backoff => Paint::Yellow,
        TenantState::Failed | TenantState::Rejected => Paint::Red,
        TenantState::Sleeping | TenantState::Suspended | TenantState::Stopped | TenantState::Removed => Paint::Dim,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Place, Rejection},
        wire::Started,
    };

    fn entry(name: &str, state: TenantState, reason: &str) -> StatusEntry {
        StatusEntry {
            name: name.to_owned(),
            state,
            reason: reason.to_owned(),
            hosts: Vec::new(),
            url: format!("https://{name}.localhost:8443"),
            app: "workspace".to_owned(),
            environment: "prod".to_owned(),
            port: Some(20_000),
            pid: (state == TenantState::Running).then_some(4711),
            generation: Some(1),
            restarts: 2,
            uptime_s: if state == TenantState::Running { 3725 } else { 0 },
            since: String::new(),
            domains: Vec::new(),
            storage: None,
        }
    }

    fn status() -> Status {
        let place = Place { file: "/t/Bad.toml".into(), line: None, column: None, text: None };
        Status {
            tenants: vec![
                entry("acme", TenantState::Running, ""),
                entry("globex-industries", TenantState::Failed, "exit status 3, five times within a minute"),
            ],
            rejected: vec![Rejection { tenant: None, place, error: "no name".to_owned(), hint: None }],
            notices: vec!["4 removals are \x1b[2Jheld back".to_owned()],
            gateway: Started {
                pid: 1,
                proxy_pid: None,
                draining: Vec::new(),
                version: String::new(),
                zone: String::new(),
                since: String::new(),
                walls: Vec::new(),
            },
        }
    }

    #[test]
    fn columns_fit_their_widest_cell() {
        let expected = "\
NAME               STATE    URL                                       APP        ENV   PORT   PID   UPTIME  RESTARTS  REASON
acme               running  https://acme.localhost:8443               workspace  prod  20000  4711  1h2m    2
globex-industries  failed   https://globex-industries.localhost:8443  workspace  prod  20000  -     -       2         exit status 3, five times within a minute

/t/Bad.toml: no name

4 removals are \\u{1b}[2Jheld back
";
        assert_eq!(draw(&status(), None, false), expected);
    }

    #[test]
    fn domains_that_are_not_served_have_a_line_below_their_tenant() {
        let domain = |host: &str, state, reason: &str| DomainEntry {
            host: host.to_owned(),
            state,
            reason: reason.to_owned(),
            not_after: None,
        };
        let mut status = status();
        status.tenants[0].domains = vec![
            domain("acme.org", CertificateState::Valid, ""),
            domain("portal.acme.com", CertificateState::Dns, "no A record"),
            domain("shop.acme.com", CertificateState::Waiting, ""),
        ];
        let drawn = draw(&status, None, false);
        let lines: Vec<&str> = drawn.lines().skip(1).take(4).collect();
        assert!(lines[0].starts_with("acme ") && lines[3].starts_with("globex"), "{drawn}");
        assert_eq!(
            lines[1..3],
            ["  portal.acme.com  certificate dns: no A record", "  shop.acme.com  certificate waiting"]
        );
        assert!(!drawn.contains("acme.org"), "{drawn}");
    }

    #[test]
    fn older_proxies_are_told_of_with_what_they_have_left() {
        let shown = |counts: &[Option<u64>]| {
            let older = counts.iter().map(|connections| Draining { pid: 1, connections: *connections }).collect();
            let gateway = Started { draining: older, ..status().gateway };
            draw(&Status { tenants: Vec::new(), rejected: Vec::new(), notices: Vec::new(), gateway }, None, false)
        };
        assert!(!shown(&[]).contains("proxy"));
        assert!(shown(&[Some(0)]).ends_with("\n1 older proxy is about to end\n"));
        assert!(shown(&[Some(0), Some(0)]).ends_with("\n2 older proxies are about to end\n"));
        assert!(shown(&[Some(1)]).ends_with("\n1 older proxy ends its last connection\n"));
        assert!(shown(&[Some(5), Some(7)]).ends_with("\n2 older proxies end their last 12 connections\n"));
        assert!(shown(&[Some(5), None]).ends_with("\n2 older proxies end their last connections\n"));
    }

    #[test]
    fn a_reason_is_cut_at_the_terminals_edge() {
        let drawn = draw(&status(), Some(140), false);
        let longest = drawn.lines().map(|line| line.chars().count()).max();
        assert_eq!(longest, Some(140));
        assert!(drawn.contains("exit status 3, five t…"), "{drawn}");
    }

    #[test]
    fn colours_only_where_wanted() {
        assert!(draw(&status(), None, true).contains("\x1b[32mrunning\x1b[0m"));
        assert!(!draw(&status(), None, false).contains('\x1b'));
    }
}
