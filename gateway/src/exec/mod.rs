//! The exec shim, `landlord exec`: becomes the tenant, reads its `.env`, becomes its worker.
//!
//! Everything that only root may do comes before the change of uid, everything about the tenant's own files after it:
//! root never opens what a tenant can write.

mod bounds;
mod dotenv;
mod environment;
mod estate;
mod failure;
mod ground;
mod program;
mod reach;
mod tenant;
mod walls;
mod worker;

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, RawFd},
    process::exit,
};

use crate::{
    exec::failure::Failure,
    sys,
    wire::{Job, Plan},
};

/// Bytes of a plan.
const PLAN_CAP: usize = 4 << 20;

/// Becomes the worker that the plan behind this descriptor describes, or says why not and ends.
pub fn main(plan: RawFd) -> ! {
    let read = || -> Result<Plan, String> {
        let sealed = sys::fd::inherited(plan).map_err(|e| e.to_string())?;
        let bytes = sys::memfd::read(sealed, PLAN_CAP).map_err(|e| e.to_string())?;
        serde_json::from_slice(&bytes).map_err(|e| e.to_string())
    };
    let plan = read().unwrap_or_else(|error| {
        say(&mut stderr(), &format!("`landlord exec` is started by landlord itself, with a plan: {error}"));
        exit(64)
    });
    let report = sys::fd::inherited(plan.report).ok();
    let failure = carry_out(&plan);
    say(&mut report.map(File::from), &failure.sentence);
    say(&mut stderr(), &failure.sentence);
    exit(failure.status)
}

fn stderr() -> Option<File> {
    Some(File::from(io::stderr().as_fd().try_clone_to_owned().ok()?))
}

/// One line. Whoever should read it may have gone: the exit status still tells.
fn say(out: &mut Option<File>, sentence: &str) {
    if let Some(out) = out {
        let _ = out.write_all(format!("landlord: {}\n", sentence.replace('\n', " ")).as_bytes());
    }
}

/// Returns only when it failed.
fn carry_out(plan: &Plan) -> Failure {
    let start = tenant::become_tenant(plan).and_then(|()| match plan.job {
        Job::Exec => worker::execute(plan),
        Job::Dotenv { edit, answer } => dotenv::carry_out(plan, edit, answer),
    });
    start.err().unwrap_or_else(|| Failure::unusable("the worker did not start"))
}
