//! landlord: one process, one database and one domain per customer.
//!
//! Ground floor upward: `model ← config, machine`; `sys ← wire`; all ← the roles ← `cli`, which `main` calls.

pub mod acme;
pub mod cli;
pub mod config;
pub mod count;
pub mod exec;
pub mod log;
pub mod machine;
pub mod master;
pub mod model;
pub mod proxy;
#[allow(unsafe_code, reason = "the one shelf of syscalls")]
pub mod sys;
pub mod wire;
