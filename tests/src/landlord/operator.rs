//! The operator's side: commands, and what `status` says.

use std::{
    ffi::OsStr,
    process::{Command, Stdio},
    sync::mpsc::channel,
    time::Duration,
};

use nix::sys::signal::Signal;

use super::Landlord;
use crate::{Entry, PATIENCE, Watch, binaries, process, status};

/// How a command ended and what it said.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Both streams.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Itself, when it exited with `code`; panics with what it said otherwise.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code. It said:\n{}{}", self.stdout, self.stderr);
        self
    }

    /// The proxy that serves now, as an upgrade names it. Numbers of processes begin anew: the highest need not be the newest.
    #[track_caller]
    pub fn new_proxy(&self) -> u32 {
        let told = self.stdout.split("a new proxy serves, pid ").nth(1);
        let digits = told.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no new proxy: {}", self.said()))
    }
}

impl Landlord {
    /// Runs `landlord ARGS` to its end.
    #[track_caller]
    pub fn landlord<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S]) -> Ran {
        let bound = PATIENCE * 4;
        self.landlord_within(bound, args).unwrap_or_else(|| panic!("landlord {args:?} goes on for more than {bound:?}"))
    }

    /// Runs `landlord ARGS`; `None` when it had to be killed because it went on for longer than `bound`.
    pub fn landlord_within<S: AsRef<OsStr>>(&self, bound: Duration, args: &[S]) -> Option<Ran> {
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("landlord can be started");
        let pid = child.id();
        let (told, end) = channel();
        let waiter = std::thread::spawn(move || told.send(child.wait_with_output()));
        let output = end.recv_timeout(bound).ok();
        if output.is_none() {
            process::signal(pid, Signal::SIGKILL);
        }
        let _ = waiter.join();
        let output = output?.expect("what it says can be read");
        Some(Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// `landlord ARGS`, ready to be started by the test itself.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = process::leashed(&binaries::program("landlord"));
        command.args(args).env("LANDLORD_CONFIG", self.config()).current_dir(self.dir.path());
        command
    }

    /// What `landlord status --json` says now.
    #[track_caller]
    pub fn status(&self) -> Vec<Entry> {
        let ran = self.landlord(&["status", "--json"]).expect(0);
        status::parse(&ran.stdout).unwrap_or_else(|error| panic!("status --json wrote {:?}: {error}", ran.stdout))
    }

    /// One tenant of [`Landlord::status`].
    #[track_caller]
    pub fn entry(&self, name: &str) -> Entry {
        let fleet = self.status();
        fleet.iter().find(|e| e.name == name).unwrap_or_else(|| panic!("no {name} in {fleet:#?}")).clone()
    }

    /// Every state from now on.
    pub fn watch(&self) -> Watch {
        let mut command = self.command(&["status", "--watch", "--json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Watch::follow(process::spawn(command).expect("landlord can be started"))
    }

    /// Waits until the tenant is in `state`, and tells what it then is.
    #[track_caller]
    pub fn wait_state(&self, name: &str, state: &str) -> Entry {
        self.wait_entry(name, &format!("{name} is {state}"), |entry| entry.state == state)
    }

    /// Waits until `wanted` takes the tenant's entry.
    #[track_caller]
    pub fn wait_entry(&self, name: &str, what: &str, mut wanted: impl FnMut(&Entry) -> bool) -> Entry {
        let fleet = self.watch().until(what, |fleet| fleet.iter().any(|e| e.name == name && wanted(e)));
        fleet.into_iter().find(|entry| entry.name == name).expect("the watch found it")
    }

    /// Waits until nothing is known of the tenant.
    #[track_caller]
    pub fn wait_gone(&self, name: &str) {
        self.watch().until(&format!("{name} is gone"), |fleet| fleet.iter().all(|entry| entry.name != name));
    }
}
