//! The master: owns every socket, child and wish; no HTTP, no TLS, no DNS.
//!
//! One thread, one loop: whatever happens reaches it as an event, and only it changes state. The decisions are in
//! `crate::machine`; here they are carried out.

mod aftermath;
mod becoming;
mod certificates;
mod child;
mod control;
mod copies;
mod edits;
mod enclosure;
mod ends;
mod event;
mod farewell;
mod files;
mod firewall;
mod fleet;
mod folder;
mod front;
mod groups;
mod house;
mod issuing;
mod lease;
mod listeners;
mod opening;
mod operator;
mod plan;
mod ports;
mod preflight;
mod proxies;
mod publish;
mod records;
mod resume;
mod roles;
mod rounds;
mod seat;
mod service;
mod settings;
mod shim;
mod signals;
mod sleeping;
mod staff;
mod state_file;
mod status;
mod storage;
mod tenants;
mod units;
mod unwritten;
mod upgrade;
mod users;
mod vault;
mod walls;
mod watch;

pub use house::{Announce, OpenError, run};
pub use preflight::{GO, preflight};
pub use roles::PROXY_UID;
pub use users::closed_folder;
pub use vault::settings;
