//! Challenge records, as orders see them.

use std::time::Duration;

use super::dns::Dns;
use crate::{
    model::{Finding, Host},
    wire::Record,
};

/// How long after a failed removal the next one is tried.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// What orders need of DNS. Errors are sentences for a person.
pub(super) trait Records {
    /// Where the record for a name of an order is written, after aliases, and its zone; both with their trailing dot.
    async fn locate(&self, name: &str) -> Result<(String, String), String>;
    /// Adds a record beside those that are at its name already.
    async fn present(&self, record: &Record) -> Result<(), String>;
    /// Waits until it is seen everywhere; has a time limit of its own.
    async fn wait_visible(&self, record: &Record, progress: &mut dyn FnMut(String)) -> Result<(), String>;
    /// Removes this one record. That it is not there is no error.
    async fn remove(&self, record: &Record) -> Result<(), String>;
    /// Whether a custom domain points here.
    async fn look(&self, host: &Host) -> Finding;
}

impl Records for Dns {
    async fn locate(&self, name: &str) -> Result<(String, String), String> {
        Self::locate(self, name).await.map_err(|error| error.to_string())
    }

    async fn present(&self, record: &Record) -> Result<(), String> {
        Self::present(self, record).await.map_err(|error| error.to_string())
    }

    async fn wait_visible(&self, record: &Record, progress: &mut dyn FnMut(String)) -> Result<(), String> {
        Self::wait_visible(self, record, progress).await.map_err(|error| error.to_string())
    }

    async fn remove(&self, record: &Record) -> Result<(), String> {
        Self::remove(self, record).await.map_err(|error| error.to_string())
    }

    async fn look(&self, host: &Host) -> Finding {
        Self::look(self, host).await
    }
}

/// Removes a record, and tries again a few times.
///
/// # Errors
/// It is there still, for all we know: why.
pub(super) async fn remove(records: &impl Records, record: &Record) -> Result<(), String> {
    for pause in AGAIN {
        if records.remove(record).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
    }
    records.remove(record).await
}
