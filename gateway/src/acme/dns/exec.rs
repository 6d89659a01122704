//! A program of the operator's that writes the records: `PROGRAM present|cleanup FQDN VALUE`, the arguments that lego gives,
//! with the variables that certbot gives.

use std::{path::PathBuf, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};

use super::providers::Fields;
use crate::{config::duration, sys::signals, wire::Record};

/// What is kept of what it says: the last of it.
const KEPT: usize = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(60);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program, and how long one run may take.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    timeout: Duration,
}

impl Program {
    /// # Errors
    /// The timeout is no duration, or the path is not absolute.
    pub(super) fn new(fields: &Fields<'_>) -> Result<Self, String> {
        let path = PathBuf::from(fields.maybe("program").unwrap_or_default());
        if !path.is_absolute() {
            return Err(format!("program must be an absolute path: {}", path.display()));
        }
        let timeout = fields.maybe("timeout").map(|text| duration::parse(&text)).transpose();
        Ok(Self { path, timeout: timeout.map_err(|error| error.to_string())?.unwrap_or(TIMEOUT) })
    }

    /// Runs it to its end. `action` is `present` or `cleanup`.
    ///
    /// # Errors
    /// It cannot be run, takes too long, or ends with anything but 0: the last line that it said.
    pub(super) async fn run(&self, action: &str, record: &Record) -> Result<(), String> {
        let path = self.path.display();
        let spawned = self.command(action, record).spawn();
        let child = spawned.map_err(|error| format!("{path} cannot be run: {error}"))?;
        let mut group = Group(child);
        let (out, err) = (group.0.stdout.take(), group.0.stderr.take());
        // A child of its own that keeps the pipes open must not outlast it: the group is killed when it has ended.
        let ended = async { tokio::join!(group.ended(), tail(out), tail(err)) };
        let Ok((status, out, err)) = tokio::time::timeout(self.timeout, ended).await else {
            return Err(format!("{path} did not end within {} s and was killed", self.timeout.as_secs_f32()));
        };
        let status = status.map_err(|error| format!("{path} cannot be waited for: {error}"))?;
        if status.success() {
            return Ok(());
        }
        let said = last_line(&err).or_else(|| last_line(&out)).unwrap_or_else(|| "it said nothing".to_owned());
        Err(format!("{path} {action} ended with {status}: {said}"))
    }

    fn command(&self, action: &str, record: &Record) -> Command {
        let name = record.name.trim_end_matches('.');
        let domain = name.strip_prefix("_acme-challenge.").unwrap_or(name);
        let mut command = Command::new(&self.path);
        command
            .args([action, &record.name, &record.value])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PATH.into()))
            .env("HOME", std::env::var_os("HOME").unwrap_or_else(|| "/".into()))
            .env("CERTBOT_DOMAIN", domain)
            .env("CERTBOT_VALIDATION", &record.value)
            .env("ACME_FQDN", &record.name)
            .env("ACME_VALUE", &record.value)
            .env("ACME_ZONE", &record.zone)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        signals::default_in(command.as_std_mut());
        command
    }
}

/// A program and all that it has started. They end with it, and with whoever waits for it: also with an order that is
/// cancelled.
struct Group(Child);

impl Group {
    async fn ended(&mut self) -> std::io::Result<std::process::ExitStatus> {
        let number = self.0.id();
        let status = self.0.wait().await;
        // What it left behind holds the pipes. Its group keeps its number as long as somebody is in it.
        kill(number);
        status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // None once it is reaped: then the number may be another's.
        kill(self.0.id());
    }
}

fn kill(number: Option<u32>) {
    if let Some(number) = number.and_then(|number| i32::try_from(number).ok()) {
        // It may have gone already.
        let _ = killpg(Pid::from_raw(number), Signal::SIGKILL);
    }
}

/// The last of what a pipe brings until it is closed.
async fn tail(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return kept };
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        let excess = kept.len().saturating_sub(KEPT);
        kept.drain(..excess);
    }
    kept
}

/// The last line with something in it, without what a terminal would make of it.
fn last_line(said: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|char| !char.is_control()).take(300).collect())
}
