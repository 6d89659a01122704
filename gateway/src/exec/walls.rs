//! The walls around the tenant: Landlock while its folder is all that it has seen, the filter of system calls last of all.

use std::path::Path;

use super::{failure::Failure, ground, reach};
use crate::{
    sys::{
        landlock::{self, Access, Grant, Ports, Wrong},
        procfs, seccomp,
    },
    wire::{Plan, Walls},
};

/// Hides other tenants' processes, while we still have the right to. Who has not (a laptop, a container) goes on without: what
/// is to be read of others in /proc is then their names.
pub(super) fn hide_others(plan: &Plan) {
    if plan.sandbox.as_ref().is_some_and(|walls| walls.filesystem) {
        let _ = procfs::hide_others();
    }
}

/// From now on the tenant's folder, its code and what every worker needs are all there is.
pub(super) fn enclose(plan: &Plan, program: Option<&Path>) -> Result<(), Failure> {
    let Some(walls) = plan.sandbox.as_ref().filter(|walls| walls.filesystem) else { return Ok(()) };
    let ports = Ports { bind: walls.bind, connect: walls.egress.as_deref() };
    landlock::restrict(&grants(plan, walls, program), ports).map_err(|wrong| match wrong {
        Wrong::Path { path, error } => Failure::settings(format!(
            "`[sandbox]` names {}, which the tenant cannot open: {error}: create it, or take the name out",
            path.display()
        )),
        Wrong::Kernel(_) => Failure { status: 71, sentence: wrong.to_string() },
    })
}

fn grants(plan: &Plan, walls: &Walls, program: Option<&Path>) -> Vec<Grant> {
    let closed: Vec<_> = walls.closed.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).collect();
    let written: Vec<_> = walls.write.iter().filter_map(|path| path.canonicalize().ok()).collect();
    let mut grants = ground::grants();
    grants.extend(program.into_iter().flat_map(|program| reach::program(program, &closed, &written)));
    grants.extend(walls.code.iter().flat_map(|folder| reach::folder_of_code(folder, &closed)));
    grants.extend(walls.told.iter().map(|folder| Grant::new(folder, Access::Read)));
    grants.extend(walls.read.iter().map(|path| Grant::needed(path, Access::Run)));
    grants.extend(walls.write.iter().map(|path| Grant::needed(path, Access::Write)));
    if walls.namespaces {
        // Who makes a user namespace says in /proc/self who is who in it.
        grants.extend(own_proc(plan));
    }
    // We are in it already, and its path may lead through folders that are closed to us.
    grants.push(Grant::needed(".", Access::Write));
    grants
}

/// As root, even one without capabilities, the rest of /proc has files that change the machine.
fn own_proc(plan: &Plan) -> Option<Grant> {
    let root = plan.identity.map_or_else(|| crate::sys::identity::own().0, |(uid, _)| uid) == 0;
    (!root).then(|| Grant::new("/proc", Access::Device))
}

/// From now on system calls that are in nobody's use are refused.
pub(super) fn filter_calls(plan: &Plan) -> Result<(), Failure> {
    match plan.sandbox.as_ref().filter(|walls| walls.syscalls && seccomp::is_there()) {
        Some(walls) => {
            seccomp::filter(walls.namespaces).map_err(|wrong| Failure { status: 71, sentence: wrong.to_string() })
        }
        None => Ok(()),
    }
}
