//! The only syscalls, and the only `unsafe`.

pub mod cgroup;
pub mod clock;
pub mod entry;
pub mod fd;
pub mod fdstore;
pub mod files;
pub mod firewall;
pub mod handover;
pub mod identity;
pub mod journal;
pub mod landlock;
pub mod listen;
pub mod machine;
pub mod memfd;
pub mod notify;
pub mod packet;
pub mod process;
pub mod procfs;
pub mod readiness;
pub mod reexec;
pub mod searcher;
pub mod seccomp;
pub mod signals;
pub mod spawn;
pub mod terminal;
pub mod unit;

mod diag;
mod lock;
mod node;
mod proc;
mod tree;
