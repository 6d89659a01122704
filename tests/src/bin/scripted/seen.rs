//! What this worker has been asked, health probes left out.

use std::sync::{Condvar, Mutex};

/// Counts of requests.
#[derive(Default)]
pub(crate) struct Seen {
    counts: Mutex<Counts>,
    idle: Condvar,
}

/// As `/seen` tells them.
#[derive(Clone, Default, serde::Serialize)]
pub(crate) struct Counts {
    /// Heads received whole.
    pub(crate) heads: u64,
    /// Requests received whole, body included.
    pub(crate) complete: u64,
    /// Requests whose body broke off.
    pub(crate) aborted: u64,
    /// Targets of the last hundred, oldest first.
    pub(crate) targets: Vec<String>,
    #[serde(skip)]
    in_flight: u64,
}

impl Seen {
    pub(crate) fn head(&self, target: &str) {
        self.change(|counts| {
            counts.heads += 1;
            if counts.targets.len() == 100 {
                counts.targets.remove(0);
            }
            counts.targets.push(target.to_owned());
        });
    }

    pub(crate) fn complete(&self) {
        self.change(|counts| counts.complete += 1);
    }

    pub(crate) fn aborted(&self) {
        self.change(|counts| counts.aborted += 1);
    }

    pub(crate) fn begin(&self) {
        self.change(|counts| counts.in_flight += 1);
    }

    pub(crate) fn end(&self) {
        self.change(|counts| counts.in_flight -= 1);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts.lock().expect("no answer panics").clone()
    }

    pub(crate) fn wait_idle(&self) {
        let counts = self.counts.lock().expect("no answer panics");
        drop(self.idle.wait_while(counts, |counts| counts.in_flight > 0));
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().expect("no answer panics"));
        self.idle.notify_all();
    }
}
