//! `[limits]`: what one tenant may use, of the machine and of the gateway.

use serde::{Deserialize, Serialize};

/// `[limits]`. `None` is "no limit of ours".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory; more is an out-of-memory kill inside the tenant (`memory.max`).
    pub memory: Option<u64>,
    /// Bytes of memory above which its processes are slowed down and reclaimed from (`memory.high`); `None`: they are not.
    pub memory_high: Option<u64>,
    /// CPU in percent of one core (`cpu.max`).
    pub cpu: Option<u32>,
    /// Share of the processor where others want it too, 1 to 10,000 (`cpu.weight`).
    pub cpu_weight: u32,
    /// Share of the disk where others want it too, 1 to 10,000 (`io.weight`).
    pub io_weight: u32,
    /// Processes and threads (`pids.max`).
    pub processes: Option<u32>,
    /// nice(2) value of its processes, 0 to 19.
    pub nice: u32,
    /// Bytes below the tenant's folder.
    pub storage: Option<u64>,
    /// Requests a second, on average; more is 429.
    pub requests_per_second: Option<u32>,
    /// Requests that may come at once within `requests_per_second`; `None`: those of two seconds.
    pub burst: Option<u32>,
    /// Requests in flight at once; WebSockets are not counted.
    pub concurrent_requests: Option<u32>,
    /// Requests that may wait for one of `concurrent_requests`; more is 429.
    pub queued_requests: u32,
    /// Connections of one address (IPv6: one /64) to this tenant; `None`: as `[http] connections_per_address`.
    pub connections_per_address: Option<u32>,
    /// Bytes of one request body.
    pub body: Option<u64>,
    /// Requests that may wait at once while the tenant is in transition.
    pub held_requests: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: None,
            memory_high: None,
            cpu: None,
            cpu_weight: 100,
            io_weight: 100,
            processes: Some(256),
            nice: 0,
            storage: None,
            requests_per_second: None,
            burst: None,
            concurrent_requests: None,
            queued_requests: 100,
            connections_per_address: None,
            body: None,
            held_requests: 1000,
        }
    }
}
