//! Becoming the worker.

use std::{ffi::CString, os::unix::ffi::OsStrExt};

use super::{environment, failure::Failure, program};
use crate::wire::Plan;

/// Reads `.env` and executes the command; returns only when that failed.
pub(super) fn execute(plan: &Plan) -> Result<(), Failure> {
    let env = environment::whole(plan, environment::read_dotenv(plan)?, std::process::id());
    let program = program::find(plan)?;
    let path = CString::new(program.as_os_str().as_bytes())?;
    let words = plan.argv.iter().map(|word| CString::new(word.as_str())).collect::<Result<Vec<_>, _>>()?;
    let pairs = env.iter().map(|(key, value)| CString::new(format!("{key}={value}"))).collect::<Result<Vec<_>, _>>()?;
    let Err(error) = nix::unistd::execve(&path, &words, &pairs);
    Err(program::not_executed(plan, &program, &error.into()))
}
