//! What the master asks the counter, once, in a sealed memfd; and the lines of JSON that come back through a pipe.

use serde::{Deserialize, Serialize};

use crate::model::TenantName;

/// Whose folders are to be counted, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountOrder {
    /// Names of folders below that of all tenants.
    pub tenants: Vec<TenantName>,
}

/// What came of one folder: told as soon as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Whose.
    pub tenant: TenantName,
    /// Bytes that its files and folders take up on the disk, each a block at the least.
    pub used: u64,
    /// How many files and folders these are.
    pub entries: u64,
    /// All of it was seen; else it is this much at least.
    pub whole: bool,
    /// Some of it was not, because it is closed to whoever counts.
    pub closed: bool,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// Why nothing is known of it.
    pub error: Option<String>,
}
