//! `[limits]`: bounds on what a tenant may use; what is set wins over the base.

use toml::de::DeValue;

use super::{
    document::{Table, Value, Wrong},
    readers,
};
use crate::model::Limits;

/// `[limits]`
pub(super) fn limits(mut table: Table<'_, '_>, base: &Limits) -> Limits {
    let number = |least| readers::or_none(readers::count(least..=u32::MAX));
    let bytes = |least| readers::or_none(readers::bytes(least));
    let weight = || readers::count(1..=10_000);
    let waiting = || readers::count(0..=100_000);
    let limits = Limits {
        memory: table.read("memory", bytes(1 << 20)).unwrap_or(base.memory),
        memory_high: table.read("memory_high", bytes(1 << 20)).unwrap_or(base.memory_high),
        cpu: table.read("cpu", readers::or_none(percent)).unwrap_or(base.cpu),
        cpu_weight: table.read("cpu_weight", weight()).unwrap_or(base.cpu_weight),
        io_weight: table.read("io_weight", weight()).unwrap_or(base.io_weight),
        processes: table.read("processes", number(1)).unwrap_or(base.processes),
        nice: table.read("nice", readers::count(0..=19)).unwrap_or(base.nice),
        storage: table.read("storage", bytes(1 << 20)).unwrap_or(base.storage),
        requests_per_second: table.read("requests_per_second", number(1)).unwrap_or(base.requests_per_second),
        burst: table.read("burst", number(1)).unwrap_or(base.burst),
        concurrent_requests: table.read("concurrent_requests", number(1)).unwrap_or(base.concurrent_requests),
        queued_requests: table.read("queued_requests", waiting()).unwrap_or(base.queued_requests),
        connections_per_address: table
            .read("connections_per_address", number(1))
            .unwrap_or(base.connections_per_address),
        body: table.read("body", bytes(1)).unwrap_or(base.body),
        held_requests: table.read("held_requests", waiting()).unwrap_or(base.held_requests),
    };
    table.finish();
    limits
}

/// Percent of one core: `150` or `"150%"`.
fn percent(value: &Value<'_>) -> Result<u32, Wrong> {
    match value.spanned.get_ref() {
        DeValue::String(text) => text
            .strip_suffix('%')
            .and_then(|digits| digits.parse().ok())
            .filter(|percent| (1..=100_000).contains(percent))
            .ok_or_else(|| Wrong::from(format!("`{}` must be percent of one core, such as 50 or \"50%\"", value.name))),
        _ => readers::count(1..=100_000)(value),
    }
}
