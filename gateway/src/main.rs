//! The one binary: an operator's verb or a role, by its first argument.

use std::process::ExitCode;

fn main() -> ExitCode {
    landlord::cli::main()
}
