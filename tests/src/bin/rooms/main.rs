//! What companies that use up whatever they get cost their neighbours: memory, processes, the processor. Each has a control
//! group of its own, with the controllers of a real cgroup v2; for that a machine is emulated, whose clock counts its own
//! instructions, so that nothing else that this machine does is in the figures. Quiet and troubled rounds take turns, once as
//! landlord is installed and once without its groups; the ratio of the two is the figure.
//!
//! Visitors are in that machine too: outside of it there is another time. They go before everything else there
//! (`SCHED_FIFO`), so that what they measure is the way through landlord and the worker, and never their own turn.
//!
//! `scripts/bench rooms` builds it and runs it; it uses the programs beside itself, and what `scripts/test` installs.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its figures are its output")]

mod company;
mod inside;
mod results;
mod trouble;

use std::{process::ExitCode, time::Duration};

use harness::{
    binaries,
    machine::{SCRIPTED, Vm, units},
};

/// This program in the emulated machine, and the first argument that it has there.
const ROOMS: &str = "/usr/lib/landlord-tests/rooms";
const INSIDE: &str = "inside";
/// The worker of those that make trouble.
const WORKER: &str = "/usr/lib/landlord-tests/worker.py";
/// Before each line that is for the outside.
const SAID: &str = "ROOMS ";
/// The bench is over by then.
const LONGEST: Duration = Duration::from_secs(3600);

/// How it is measured.
pub(crate) struct Arguments {
    /// Requests a second of each crowd.
    pub(crate) rate: u32,
    pub(crate) rounds: u32,
    pub(crate) seconds: u64,
    /// This trouble alone.
    pub(crate) only: Option<String>,
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let within = words.first().is_some_and(|word| word == INSIDE);
    if within {
        words.remove(0);
    }
    let outcome = arguments(words.clone().into_iter())
        .and_then(|arguments| if within { inside::measure(&arguments) } else { emulate(&words) });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("rooms: {why}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut found = Arguments { rate: 10, rounds: 3, seconds: 5, only: None };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            "--rate" => found.rate = value()?.parse().map_err(|error| format!("--rate: {error}"))?,
            "--rounds" => found.rounds = value()?.parse().map_err(|error| format!("--rounds: {error}"))?,
            "--seconds" => found.seconds = value()?.parse().map_err(|error| format!("--seconds: {error}"))?,
            "--only" => found.only = Some(value()?),
            other => {
                return Err(format!("{other}? usage: rooms [--rate N] [--rounds N] [--seconds N] [--only NAME]"));
            }
        }
    }
    let names = trouble::ALL.map(|trouble| trouble.name);
    match &found.only {
        Some(only) if !names.contains(&only.as_str()) => Err(format!("--only {only}? there are {}", names.join(", "))),
        _ => Ok(found),
    }
}

/// Boots a machine that measures, and says what it says.
fn emulate(words: &[String]) -> Result<(), String> {
    let mut finished = false;
    let said = machine(words).run_heard(|line| {
        if let Some((_, line)) = line.split_once(SAID) {
            println!("{line}");
            finished |= line == inside::END;
        }
    });
    if finished { Ok(()) } else { Err(format!("the machine was off before it was done:\n{said}")) }
}

fn machine(words: &[String]) -> Vm {
    let service = format!(
        "ExecStart={ROOMS} {INSIDE} {}\nCPUSchedulingPolicy=fifo\nCPUSchedulingPriority=10\nOOMScoreAdjust=-1000\n",
        words.join(" ")
    );
    let toml = format!(
        "zone = \"apps.test\"\napp = \"scripted\"\n[users]\nfirst = 70000\nlast = 79999\n\
         [apps.scripted]\ncommand = [{SCRIPTED:?}]\nlisten = \"inherit\"\nhealth = \"/healthz\"\n\
         [apps.trouble]\ncommand = [\"/usr/bin/python3\", {WORKER:?}]\nlisten = \"inherit\"\nhealth = \"/healthz\"\n\
         [defaults.health]\nstart_timeout = \"60s\"\ninterval = \"30s\"\ntimeout = \"20s\"\n"
    );
    let this = std::env::current_exe().expect("a running program has a path");
    let mut vm = Vm::running(&service)
        .paced(LONGEST)
        .program("/usr/bin/landlord", &binaries::program("landlord"))
        .program(SCRIPTED, &binaries::program("scripted"))
        .program(ROOMS, &this)
        .file(WORKER, include_str!("worker.py"))
        .file("/etc/landlord/landlord.toml", toml)
        .file("/etc/landlord/tenants.d/.keep", "")
        .file(
            "/etc/systemd/system/landlord.service.d/log.conf",
            "[Service]\nStandardOutput=null\nStandardError=append:/run/landlord.log\n",
        );
    for (name, text) in units() {
        let place = if name == "notify-reload.conf" { "landlord.service.d/" } else { "" };
        vm = vm.file(&format!("/usr/lib/systemd/system/{place}{name}"), text);
    }
    vm
}
