//! The link between the master and the log role.

use serde::{Deserialize, Serialize};

use crate::model::TenantName;

/// Master → log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum ToLog {
    /// First of all; and again, as everything below, when the master has resumed: what is read already goes on being read. fds: an O_PATH-less directory fd of `<state>/logs`, below which every file is opened.
    Hello {
        /// [`crate::wire::PROTOCOL`]
        protocol: u32,
        /// Bytes at which a file is rotated.
        file_bytes: u64,
        /// Rotated files kept beside the live one.
        files: u32,
    },
    /// fds: the read end of a tenant's pipe (its workers' stdout and stderr). Written to `<tenant>.log`.
    Tenant {
        /// Whose.
        tenant: TenantName,
    },
    /// The tenant was removed: read its pipe to the end, then close it.
    Close {
        /// Whose.
        tenant: TenantName,
    },
    /// fds: the read end of the proxies' access log pipe. Whole lines; written to `access.log`.
    Access,
}

/// Log → master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum FromLog {
    /// First of all.
    Hello {
        /// [`crate::wire::PROTOCOL`]
        protocol: u32,
    },
    /// Reading.
    Ready,
    /// Lines of a tenant were dropped because it wrote faster than its share, or the disk is full.
    Dropped {
        /// Whose.
        tenant: TenantName,
        /// Bytes since the last such message.
        bytes: u64,
    },
}
