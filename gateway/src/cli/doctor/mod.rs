//! `landlord doctor`: what this machine gives, what landlord therefore does or does not do, and how to get the rest.
//!
//! Works for everybody, without settings and without a running landlord, and changes nothing.

mod certificates;
mod finding;
mod house;
mod kernel;
mod limits;
mod ports;
mod report;
mod service;
mod storage;
mod time;
mod walls;

use std::{fs, path::Path, process::ExitCode, time::Duration};

use super::{
    client::{Client, ClientError, Reply},
    exit, out,
};
use crate::{
    config,
    model::{Gateway, Rejection},
    wire::{ControlRequest, Status},
};
use finding::{Finding, Level};

/// A running landlord that has not answered by then hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is looked at.
struct Subject {
    /// The settings, as far as they can be read.
    gateway: Option<Gateway>,
    /// What is wrong in them.
    wrong: Vec<Rejection>,
    /// The landlord that runs by them.
    running: Result<Status, ClientError>,
}

impl Subject {
    /// A file of the running landlord's in /proc, or else of our own: a service sees another machine than a shell does.
    fn of_process(&self, file: &str) -> String {
        let running = self.running.as_ref().ok().and_then(|it| read(&format!("/proc/{}/{file}", it.gateway.pid)));
        running.or_else(|| read(&format!("/proc/self/{file}"))).unwrap_or_default()
    }
}

/// Shows all that is found; code 1 when something is a problem.
pub(super) fn doctor(config: Option<&Path>, json: bool) -> ExitCode {
    let (gateway, wrong) = config::gateway::load_leniently(config);
    let running = gateway.as_ref().map_or(Err(ClientError::Gone), ask);
    let subject = Subject { gateway, wrong, running };
    let mut findings = Vec::new();
    house::examine(&subject, &mut findings);
    service::examine(&subject, &mut findings);
    kernel::examine(&subject, &mut findings);
    walls::examine(&subject, &mut findings);
    ports::examine(&subject, &mut findings);
    limits::examine(&subject, &mut findings);
    storage::examine(&subject, &mut findings);
    time::examine(&mut findings);
    certificates::examine(&subject, &mut findings);
    if json {
        match serde_json::to_string_pretty(&findings) {
            Ok(text) => out::line(&text),
            Err(error) => {
                out::complain(&format!("landlord: {error}"));
                return exit::FAILED;
            }
        }
    } else {
        out::raw(report::draw(findings.clone(), out::columns(), out::has_colour()).as_bytes());
    }
    if findings.iter().any(|finding| finding.level == Level::Problem) { exit::FAILED } else { exit::DONE }
}

fn ask(gateway: &Gateway) -> Result<Status, ClientError> {
    let client = Client::ask(gateway, &ControlRequest::Status { tenant: None })?;
    match client.reply_within(PATIENCE)? {
        Some(Reply::Status(status)) => Ok(status),
        Some(reply) => Err(ClientError::Strange(format!("{reply:?}"))),
        None => Err(ClientError::Silent(PATIENCE)),
    }
}

/// The trimmed text of a file of the kernel's; `None` where there is none for us.
fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Whether a program of this name can be found, where a service or a shell would look.
pub(in crate::cli) fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(Into::into);
    std::env::split_paths(&path).chain(usual).map(|folder| folder.join(name)).find(|program| program.is_file())
}
