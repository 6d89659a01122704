//! The bundled worker: a small site for one company. Runs under landlord, and alone.

mod branding;
mod cli;
mod colour;
mod notice;
mod serve;
mod settings;
mod socket;
mod store;
mod web;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
