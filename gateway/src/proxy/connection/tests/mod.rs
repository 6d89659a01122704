//! The connection side alone: a corpus for the guard, and real TLS against a forwarding side that is a stand-in.
#![allow(clippy::unwrap_used, reason = "tests")]

mod challenges;
mod crowd;
mod framing;
mod house;
mod http1;
mod http2;
mod many;
mod policy;
mod tickets;
mod turns;
