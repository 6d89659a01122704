//! How full a tenant's storage is.

use serde::{Deserialize, Serialize};

/// What a tenant's folder takes up, as it was counted last. In a tenant's `STORAGE_FILE` and in `landlord status --json`:
/// programs rely on these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Bytes on the disk.
    pub used: u64,
    /// `limits.storage`, bytes; `None`: as much as the disk has.
    pub limit: Option<u64>,
    /// What that means.
    pub state: Fill,
}

/// What figures of storage mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// There is room.
    #[default]
    Ok,
    /// Little is left.
    Warn,
    /// Nothing is left: requests with a body are answered 507 by the gateway.
    Full,
}

impl Storage {
    /// For a person, where there is something to say.
    pub fn sentence(&self) -> Option<String> {
        match self.state {
            Fill::Ok => None,
            Fill::Warn => Some(format!("its storage is {} % full", self.percent())),
            Fill::Full => Some(format!("its storage is full ({} %): uploads are refused with 507", self.percent())),
        }
    }

    /// Percent of the limit; 0 without one.
    pub fn percent(&self) -> u64 {
        let percent = |limit: u64| u128::from(self.used) * 100 / u128::from(limit.max(1));
        self.limit.map_or(0, |limit| u64::try_from(percent(limit)).unwrap_or(u64::MAX))
    }
}
