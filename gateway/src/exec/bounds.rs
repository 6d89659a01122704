//! What the worker may use of the machine.

use std::{
    fs::{self, File},
    io::{self, Write},
};

use super::failure::Failure;
use crate::{sys, wire::Plan};

/// Open files of a worker. As many as landlord itself may have are too many: some programs close every possible number one
/// by one before they start another.
const NOFILE: u64 = 65_536;

/// Enters the tenant's control group. First of all, so that whatever is done from here on counts there.
pub(super) fn enter(plan: &Plan) -> Result<(), Failure> {
    let Some(group) = plan.group else { return Ok(()) };
    let entered = sys::fd::inherited(group).and_then(|entrance| File::from(entrance).write_all(b"0"));
    entered.map_err(|error| Failure::system("entering its control group", &error))
}

/// Sets its bounds, while we may still set any.
pub(super) fn set(plan: &Plan) -> Result<(), Failure> {
    let wanted = &plan.limits;
    // landlord itself may be spared by the kernel, and whatever it starts with it; a worker is what is to end first. Where that
    // file is closed, as in some containers, the kernel judges by size alone.
    let _ = fs::write("/proc/self/oom_score_adj", wanted.oom_score_adj.to_string());
    let limits =
        sys::identity::Limits { nofile: Some(NOFILE), data: wanted.memory, processes: wanted.processes.map(u64::from) };
    let set = sys::identity::set_limits(limits).and_then(|()| sys::identity::be_nice(wanted.nice));
    set.map_err(|error: io::Error| Failure::system("setting limits", &error))
}
