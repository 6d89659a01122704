//! `landlord env`: what an operator asks of a tenant's `.env`, and what the process that does it, as the tenant, answers.
//!
//! Values travel in sealed memfds from the operator to that process; the master passes them on and reads none.

use serde::{Deserialize, Serialize};

/// One edit.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "edit")]
pub enum DotenvEdit {
    /// Names, and values masked.
    List {
        /// Values too, unmasked.
        reveal: bool,
    },
    /// Sets one after the other, in place where the name is there; comments, order and other lines stay.
    Set {
        /// (name, value)
        settings: Vec<(String, String)>,
    },
    /// Removes their lines.
    Unset {
        /// The names.
        names: Vec<String>,
    },
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum DotenvAnswer {
    /// To `List`.
    Settings {
        /// (name, masked or revealed value), in the file's order.
        settings: Vec<(String, String)>,
    },
    /// To `Set` and `Unset`.
    Written {
        /// Whether the file differs from before.
        changed: bool,
        /// Names that were not there to be removed.
        missing: Vec<String>,
    },
    /// Nothing was changed.
    Refused {
        /// A sentence for a person; never with a value in it.
        reason: String,
    },
}
