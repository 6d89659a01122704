//! The flood: a process of its own, so that sending it takes nothing from the threads that measure. It runs only where a
//! processor has nothing else to do (SCHED_IDLE, sched(7)): a flood comes from other machines, and is to cost what it does
//! to the gateway, not what it takes to send. It is no smaller for that: what it sent is in the table.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use harness::{
    client::Site,
    process,
    traffic::{Kind, Load, Traffic},
};
use serde::{Deserialize, Serialize};

use crate::FLOODED;

/// The first argument of that process.
pub(crate) const WORD: &str = "flood";

/// A flood on its way.
pub(crate) struct Flood(Child);

/// What it is made of.
#[derive(Clone, Copy)]
pub(crate) struct Water {
    pub(crate) path: &'static str,
    /// Requests a second.
    pub(crate) rate: u32,
    /// Percent of them that come on a connection of their own; of the others, half by HTTP/2.
    pub(crate) new: u32,
}

/// What became of it.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Fate {
    pub(crate) sent: u64,
    pub(crate) ok: u64,
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// No answer at all.
    pub(crate) errors: u64,
}

impl Flood {
    pub(crate) fn start(address: SocketAddr, ca: &Path, water: Water, lasts: Duration) -> Result<Self, String> {
        let Water { path, rate, new } = water;
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = process::leashed(Path::new("chrt"));
        command
            .args(["--idle", "0"])
            .arg(&program)
            .args([WORD, &address.to_string()])
            .arg(ca)
            .args([path, &rate.to_string(), &new.to_string(), &lasts.as_millis().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        process::spawn(command).map(Self).map_err(|error| format!("the flood: {error}"))
    }

    pub(crate) fn ended(self) -> Result<Fate, String> {
        let output = self.0.wait_with_output().map_err(|error| error.to_string())?;
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("the flood ended with {}: {error}", output.status))
    }
}

/// The process: ADDRESS CA PATH RATE NEW MILLISECONDS.
pub(crate) fn main(words: &[String]) -> Result<(), String> {
    let [address, ca, path, rate, new, lasts] = words else {
        return Err("flood ADDRESS CA PATH RATE NEW MILLISECONDS".into());
    };
    let number = |word: &String| word.parse::<u32>().map_err(|error| format!("{word}: {error}"));
    let (rate, new) = (number(rate)?, number(new)?.min(100));
    let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
    let lasts = Duration::from_millis(lasts.parse().map_err(|error| format!("{lasts}: {error}"))?);
    let site = Site::new(address, FLOODED, Path::new(ca));
    let kept = (100 - new) / 2;
    let shares = [(Kind::KeepAlive, kept), (Kind::Http2, kept), (Kind::NewConnection, new)];
    let crowds = shares.map(|(kind, percent)| {
        let load = Load { path: path.clone(), ..Load::new(kind, (rate * percent / 100).max(1)) };
        Traffic::start(site.clone(), load.watchful())
    });
    std::thread::sleep(lasts);
    let mut fate = Fate::default();
    for report in crowds.map(Traffic::stop) {
        fate.sent += report.sent;
        fate.ok += report.ok;
        fate.errors += report.errors.values().sum::<u64>();
        for (status, count) in report.statuses {
            *fate.statuses.entry(status).or_default() += count;
        }
    }
    serde_json::to_writer(std::io::stdout(), &fate).map_err(|error| error.to_string())
}
