//! `landlord sweep`: the last command of the unit, `ExecStopPost=`. systemd leaves our processes alone, because they are to
//! outlive a crash of the master; when the unit was really stopped, none may.

use std::process::ExitCode;

use super::{exit, out};
use crate::sys;

/// Ends whatever is left in the unit's cgroup, if the unit was stopped (systemd.exec(5), `$SERVICE_RESULT`): after a crash
/// it is started again, and its processes go on meanwhile. Then it sees to it that systemd can start it in that cgroup.
pub(super) fn sweep() -> ExitCode {
    let result = std::env::var("SERVICE_RESULT").unwrap_or_default();
    if !matches!(result.as_str(), "success" | "timeout") {
        sys::cgroup::reset();
        return ExitCode::SUCCESS;
    }
    let swept = sys::unit::sweep();
    sys::cgroup::clear();
    match swept {
        Ok(0) => ExitCode::SUCCESS,
        Ok(count) => {
            out::complain(&format!("landlord: {count} processes were left, and are ended"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            out::complain(&format!("landlord: some of the unit's processes cannot be ended: {error}"));
            exit::FAILED
        }
    }
}
