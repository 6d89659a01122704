//! What keeps tenants apart, and what of it does not hold on this machine: one line each, for `landlord status` and
//! `landlord doctor`.
//!
//! A wall holds when every tenant has it. What is off by an operator's own word (`filesystem = "open"` for one app) is that
//! app's affair, and is not told here.

use super::{enclosure, house::House};
use crate::wire::Wall;

impl House {
    /// All of them, whether or not they hold.
    pub(super) fn walls(&self) -> Vec<Wall> {
        vec![
            self.users.wall(&self.gateway),
            enclosure::files(),
            enclosure::syscalls(),
            self.groups_wall(),
            self.loopback_wall(),
            self.storage.wall(),
        ]
    }

    /// Each has its share of memory, processor and processes, by a control group.
    fn groups_wall(&self) -> Wall {
        match self.groups.wall() {
            Ok(note) => holds("groups", note),
            Err(note) => fails("groups", note),
        }
    }
}

/// A wall that stands.
pub(super) fn holds(name: &str, note: impl Into<String>) -> Wall {
    Wall { name: name.to_owned(), holds: true, note: note.into() }
}

/// One that does not, why, and what to do.
pub(super) fn fails(name: &str, note: impl Into<String>) -> Wall {
    Wall { name: name.to_owned(), holds: false, note: note.into() }
}
