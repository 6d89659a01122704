//! `[http]`, `[disk]` and `[logs]`: bounds on what visitors and workers can use up.

use super::{
    document::{Table, Wrong},
    readers,
};
use crate::model::{Gateway, HttpLimits};

/// Bytes of a log file and how many rotated ones are kept, when nothing is said.
pub(super) const LOGS: (u64, u32) = (10 << 20, 5);

/// Bytes of the ballast, when nothing is said.
pub(super) const BALLAST: Option<u64> = Gateway::usual_ballast();

/// `[http]`
pub(super) fn http(mut table: Table<'_, '_>) -> HttpLimits {
    let base = HttpLimits::default();
    let second = std::time::Duration::from_secs(1);
    let mut time = |key, base| table.read(key, readers::span_of_time(second)).unwrap_or(base);
    let base = HttpLimits {
        handshake_timeout: time("handshake_timeout", base.handshake_timeout),
        header_timeout: time("header_timeout", base.header_timeout),
        body_timeout: time("body_timeout", base.body_timeout),
        write_timeout: time("write_timeout", base.write_timeout),
        idle_timeout: time("idle_timeout", base.idle_timeout),
        response_timeout: time("response_timeout", base.response_timeout),
        ..base
    };
    let mut size = |key, range: std::ops::RangeInclusive<u64>, base: u32| {
        let read = table.read(key, |value| {
            let bytes = readers::bytes(*range.start())(value)?;
            let most = super::size::Display(*range.end());
            u32::try_from(bytes)
                .ok()
                .filter(|_| range.contains(&bytes))
                .ok_or_else(|| Wrong::from(format!("`{}` must be at most {most}", value.name)))
        });
        read.unwrap_or(base)
    };
    let base = HttpLimits {
        body_rate: size("body_rate", 0..=1 << 30, base.body_rate),
        header_bytes: size("header_bytes", 1024..=1 << 20, base.header_bytes),
        uri_bytes: size("uri_bytes", 256..=1 << 20, base.uri_bytes),
        ..base
    };
    let mut count = |key, range, base| table.read(key, readers::count(range)).unwrap_or(base);
    let limits = HttpLimits {
        header_count: count("header_count", 8..=10_000, base.header_count),
        connections_per_address: count("connections_per_address", 1..=1_000_000, base.connections_per_address),
        connections: count("connections", 1..=10_000_000, base.connections),
        streams: count("streams", 1..=10_000, base.streams),
        ..base
    };
    table.finish();
    limits
}

/// `[disk]`: its ballast, bytes.
pub(super) fn disk(mut table: Table<'_, '_>) -> Option<u64> {
    let ballast = table.read("ballast", readers::or_none(readers::bytes(1 << 20))).unwrap_or(BALLAST);
    table.finish();
    ballast
}

/// `[logs]`
pub(super) fn logs(mut table: Table<'_, '_>) -> (u64, u32) {
    let bytes = table.read("file_size", readers::bytes(4096)).unwrap_or(LOGS.0);
    let files = table.read("files", readers::count(0..=1000)).unwrap_or(LOGS.1);
    table.finish();
    (bytes, files)
}
