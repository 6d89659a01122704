//! The counter, `landlord count`: how much each of some tenants' folders takes up on the disk.
//!
//! It looks into folders that belong to people who may want to mislead it. So it may read and search folders and do
//! nothing else, opens nothing but folders, and follows no link and enters no other file system (see [`walk`]).

mod walk;

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd, RawFd},
    process::ExitCode,
    time::{Duration, Instant},
};

use crate::{
    model::TenantName,
    sys,
    wire::{CountOrder, Counted},
};
use walk::{Bounds, Sum};

/// Bytes of an order.
const ORDER_CAP: usize = 16 << 20;
/// One folder may take so long, then it is told what was counted until then: the master takes a counter that is silent for
/// longer for one that hangs.
const LONGEST: Duration = Duration::from_secs(45);

/// Counts what `order` names below `tenants`, tells it on `out`, and ends. `identity` (uid, gid): whom to become, being root.
pub fn main(order: RawFd, tenants: RawFd, out: RawFd, identity: Option<(u32, u32)>) -> ExitCode {
    // `ps` would show the number of the descriptor that it was executed through. A wrong name hurts nobody.
    let _ = sys::process::set_name("landlord-count");
    let done = take_up(order, tenants, out, identity).and_then(|(order, tenants, out)| {
        match count_all(&order, &tenants, out) {
            // Whoever asked has gone, or has become another program that does not know us.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            told => told.map_err(|e| format!("the figures cannot be told: {e}")),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            tracing::error!(role = "count", reason, "the tenants' folders cannot be counted");
            ExitCode::FAILURE
        }
    }
}

/// Takes what was handed down, and becomes less.
fn take_up(
    order: RawFd,
    tenants: RawFd,
    out: RawFd,
    identity: Option<(u32, u32)>,
) -> Result<(CountOrder, OwnedFd, File), String> {
    let taken = |number: RawFd| sys::fd::inherited(number).map_err(|e| format!("descriptor {number}: {e}"));
    let (order, tenants, out) = (taken(order)?, taken(tenants)?, taken(out)?);
    let less = || {
        // Where the kernel has no such priority, it counts all the same.
        let _ = sys::searcher::give_way();
        sys::identity::set_limits(sys::identity::Limits::default())?;
        match identity {
            Some((uid, gid)) => sys::searcher::become_searcher(uid, gid),
            None => sys::identity::no_new_privs(),
        }
    };
    less().map_err(|e| format!("privileges cannot be dropped: {e}"))?;
    let bytes = sys::memfd::read(order, ORDER_CAP).map_err(|e| format!("the order: {e}"))?;
    let order = serde_json::from_slice(&bytes).map_err(|e| format!("the order: {e}"))?;
    Ok((order, tenants, File::from(out)))
}

fn count_all(order: &CountOrder, tenants: &OwnedFd, mut out: File) -> io::Result<()> {
    for tenant in &order.tenants {
        let mut line = serde_json::to_vec(&count(tenant, tenants))?;
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(())
}

fn count(tenant: &TenantName, tenants: &OwnedFd) -> Counted {
    let begun = Instant::now();
    let bounds = Bounds { until: begun + LONGEST, ..Bounds::default() };
    let (sum, error) = match walk::sum(tenants.as_fd(), tenant.as_str(), &bounds) {
        Ok(sum) => (sum, None),
        // One that was let in and never started may have none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Sum::nothing(), None),
        Err(error) => (Sum::nothing(), Some(error.to_string())),
    };
    Counted {
        tenant: tenant.clone(),
        used: sum.bytes,
        entries: sum.entries,
        whole: sum.whole,
        closed: sum.closed,
        took_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        error,
    }
}
