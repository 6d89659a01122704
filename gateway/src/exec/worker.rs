//! Becoming the worker.

use std::{ffi::CString, os::unix::ffi::OsStrExt};

use super::{environment, failure::Failure, program, walls};
use crate::wire::Plan;

/// Finds the program, raises the walls, reads `.env` within them, and executes the command; returns only when that failed.
pub(super) fn execute(plan: &Plan) -> Result<(), Failure> {
    let program = program::find(plan)?;
    walls::enclose(plan, Some(&program))?;
    let env = environment::whole(plan, environment::read_dotenv(plan)?, std::process::id());
    let path = CString::new(program.as_os_str().as_bytes())?;
    let words = plan.argv.iter().map(|word| CString::new(word.as_str())).collect::<Result<Vec<_>, _>>()?;
    let pairs = env.iter().map(|(key, value)| CString::new(format!("{key}={value}"))).collect::<Result<Vec<_>, _>>()?;
    walls::filter_calls(plan)?;
    let Err(error) = nix::unistd::execve(&path, &words, &pairs);
    Err(program::not_executed(plan, &program, &error.into()))
}
