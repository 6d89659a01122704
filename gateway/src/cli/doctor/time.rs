//! The clock, and randomness: what certificates and keys are made of.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use super::{Finding, Level};
use crate::sys::machine::{self, Clock};

pub(super) fn examine(findings: &mut Vec<Finding>) {
    let built = std::env::current_exe().and_then(fs::metadata).and_then(|program| program.modified()).ok();
    let synchronized = machine::clock().is_ok_and(|clock| clock == Clock::Synchronized);
    findings.push(clock(SystemTime::now(), built, synchronized));
    findings.push(if machine::has_randomness() {
        Finding::ok("random", "at once", "keys are made without waiting")
    } else {
        Finding::ok("random", "none yet", "landlord waits with its first key until the machine has gathered some")
            .but(Level::Warning, "apt install rng-tools5, or a virtual machine with virtio-rng")
    });
}

/// `built`: when this program's file was written.
fn clock(now: SystemTime, built: Option<SystemTime>, synchronized: bool) -> Finding {
    /// Clocks of two machines that are both right.
    const SLACK: Duration = Duration::from_secs(24 * 60 * 60);
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let date = i64::try_from(seconds).ok().and_then(|it| jiff::Timestamp::from_second(it).ok()).unwrap_or_default();
    if built.is_some_and(|built| now + SLACK < built) {
        return Finding::ok("clock", format!("{date}: before this program was made"), "no certificate is valid yet")
            .but(Level::Problem, "timedatectl set-ntp true");
    }
    if synchronized {
        return Finding::ok("clock", format!("{date}, synchronized"), "certificates and logs can be believed");
    }
    Finding::ok("clock", format!("{date}, and nobody sets it"), "it drifts; certificates are wrong when it is far off")
        .but(Level::Warning, "timedatectl set-ntp true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_program_is_wrong() {
        let at = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400);
        assert_eq!(clock(at(20_000), Some(at(19_000)), true).level, Level::Ok);
        assert_eq!(clock(at(20_000), None, false).level, Level::Warning);
        assert_eq!(clock(at(0), Some(at(19_000)), true).level, Level::Problem);
        assert!(clock(at(20_000), None, true).found.starts_with("2024-10-04T00:00:00Z"));
    }
}
