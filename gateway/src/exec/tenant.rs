//! Becoming the tenant.

use std::{
    fs::DirBuilder,
    io,
    os::{fd::RawFd, unix::fs::DirBuilderExt},
    process::exit,
};

use super::{bounds, estate, failure::Failure, program, walls};
use crate::{sys, wire::Plan};

/// The worker's listening socket, by the systemd protocol.
const SOCKET: RawFd = 3;

/// In this order: descriptors and limits, the change of uid, what that change would have cleared, the folder.
pub(super) fn become_tenant(plan: &Plan) -> Result<(), Failure> {
    let system = |what: &'static str| move |error: io::Error| Failure::system(what, &error);
    let parent = sys::process::parent();
    sys::fd::close_at_exec_from(3).map_err(system("closing descriptors"))?;
    if plan.listen_fds {
        sys::fd::keep_at_exec(SOCKET).map_err(system("its listening socket"))?;
    }
    bounds::enter(plan)?;
    sys::signals::reset().map_err(system("resetting signals"))?;
    // Started by landlord it has a session already; from a shell, as a test of the plan, it may not.
    let _ = nix::unistd::setsid();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    bounds::set(plan)?;
    walls::hide_others(plan);
    estate::take_over(plan)?;
    match plan.identity {
        Some((uid, gid)) => sys::identity::drop_to(uid, gid).map_err(system("becoming the tenant"))?,
        None => sys::identity::no_new_privs().map_err(system("giving up privileges"))?,
    }
    if plan.die_with_parent {
        sys::process::die_with_parent().map_err(system("tying its life to landlord's"))?;
        // It may have ended before we asked.
        if sys::process::parent() != parent {
            exit(0);
        }
    }
    if !plan.estate.closed {
        std::env::set_current_dir(&plan.dir).map_err(|error| program::out_of_reach(plan, &plan.dir, &error))?;
    }
    make_rooms(plan)?;
    estate::close(plan);
    Ok(())
}

/// An operator who put a `.env` into a folder of their own making gets the rest of it here.
fn make_rooms(plan: &Plan) -> Result<(), Failure> {
    for room in &plan.rooms {
        match DirBuilder::new().mode(0o700).create(room) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(program::out_of_reach(plan, &plan.dir.join(room), &error));
            }
            _ => {}
        }
    }
    Ok(())
}
