//! The real binary, from outside: environment, sockets, signals, HTTP.

#![allow(clippy::unwrap_used, reason = "tests")]

mod alone;
mod board;
mod client;
mod migrate;
mod process;
mod stop;
