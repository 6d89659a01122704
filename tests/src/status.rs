//! `landlord status --json`, once and as a stream of events.

use std::{
    process::Child,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::{Output, PATIENCE, process};

/// One tenant, as scripts see it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// `starting running holding sleeping backoff failed suspended stopped rejected removed`
    pub state: String,
    /// A sentence for a person.
    pub reason: String,
    /// Every host.
    pub hosts: Vec<String>,
    /// The canonical address.
    pub url: String,
    /// Its app.
    pub app: String,
    /// Its environment.
    pub environment: String,
    /// The serving generation's port.
    pub port: Option<u16>,
    /// Its worker.
    pub pid: Option<u32>,
    /// Its generation.
    pub generation: Option<u64>,
    /// Restarts after crashes.
    pub restarts: u32,
    /// Seconds since it became healthy.
    pub uptime_s: u64,
    /// RFC 3339.
    pub since: String,
    /// What its folder takes up.
    pub storage: Option<Storage>,
}

/// How full a tenant's storage is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Storage {
    /// Bytes.
    pub used: u64,
    /// Bytes.
    pub limit: Option<u64>,
    /// `ok warn full`
    pub state: String,
}

/// Reads what `status --json` printed.
pub(crate) fn parse(text: &str) -> serde_json::Result<Vec<Entry>> {
    serde_json::from_str(text)
}

/// A running `landlord status --watch --json`: every state, as it comes.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    lines: Output,
    errors: Output,
    next: usize,
}

impl Watch {
    pub(crate) fn follow(mut child: Child) -> Self {
        let lines = Output::follow(child.stdout.take().expect("stdout is piped"));
        let errors = Output::follow(child.stderr.take().expect("stderr is piped"));
        Self { child, lines, errors, next: 0 }
    }

    /// The next state that `wanted` takes; states that it does not take are gone for this watch.
    ///
    /// # Panics
    /// After [`PATIENCE`], with the last state seen.
    #[track_caller]
    pub fn until(&mut self, what: &str, wanted: impl FnMut(&[Entry]) -> bool) -> Vec<Entry> {
        match self.within(PATIENCE, wanted) {
            Ok(fleet) => fleet,
            Err(last) => panic!("waited in vain for this: {what}\nlast state: {last:#?}\n{}", self.errors.text()),
        }
    }

    /// Like [`Watch::until`] with a bound of one's own; `Err` has the last state.
    pub fn within(
        &mut self,
        bound: Duration,
        mut wanted: impl FnMut(&[Entry]) -> bool,
    ) -> Result<Vec<Entry>, Vec<Entry>> {
        let end = Instant::now() + bound;
        let mut last = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Some((number, line)) = self.lines.next_line(self.next, left, |line| line.starts_with('[')) else {
                return Err(last);
            };
            self.next = number + 1;
            let fleet = parse(&line).unwrap_or_else(|error| panic!("status --watch --json wrote {line:?}: {error}"));
            if wanted(&fleet) {
                return Ok(fleet);
            }
            last = fleet;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = process::wait(&mut self.child, PATIENCE);
    }
}
