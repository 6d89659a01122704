//! Exit codes that scripts rely on (sysexits.h where it has a name for them).

use std::process::ExitCode;

/// Done.
pub(super) const DONE: ExitCode = ExitCode::SUCCESS;
/// Landlord was asked and could not, or a file could not be read.
pub(super) const FAILED: ExitCode = ExitCode::FAILURE;
/// The command line is wrong.
pub(super) const USAGE: u8 = 2;
/// `EX_UNAVAILABLE`: landlord is not running.
pub(super) const NOT_RUNNING: u8 = 69;
/// `EX_CONFIG`: a file is wrong.
pub(super) const CONFIG: u8 = 78;
