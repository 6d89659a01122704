//! A tenant's limits, as its control group has them.

use crate::{model::Limits, sys::cgroup::Group};

/// Of `cpu.max`, microseconds: the kernel's own default.
const PERIOD: u64 = 100_000;

/// Writes all of them, whatever was there. Files of a controller that is not there are no error: nothing is divided by it.
pub(super) fn write(group: &Group, limits: &Limits, machine: u64) {
    for (file, value) in files(limits, machine) {
        match group.write(file, &value) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::error!(group = %group.path().display(), file, value, %error, "a limit does not hold");
            }
            _ => {}
        }
    }
}

/// A limit in words.
pub(super) fn spoken(limits: &Limits, machine: u64) -> String {
    match limits.memory {
        Some(bytes) => format!("limit {}", amount(bytes)),
        None => format!("limit {}, three quarters of this machine, as it has none of its own", amount(most(machine))),
    }
}

/// What a tenant gets that nobody has limited: a hog is to end in its own group, while the others still have room.
fn most(machine: u64) -> u64 {
    machine / 4 * 3
}

fn files(limits: &Limits, machine: u64) -> [(&'static str, String); 7] {
    let or_max = |number: Option<u64>| number.map_or_else(|| "max".to_owned(), |number| number.to_string());
    let quota = limits.cpu.map(|percent| u64::from(percent) * PERIOD / 100);
    [
        // Only where it is asked for: without swap, who has nothing to give back is not ended there but slowed down to nothing,
        // for minutes, and nobody is told why.
        ("memory.high", or_max(limits.memory_high)),
        ("memory.max", limits.memory.unwrap_or(most(machine)).to_string()),
        // What is limited to so much memory does not get the machine's swap instead.
        ("memory.swap.max", "0".to_owned()),
        ("cpu.max", format!("{} {PERIOD}", or_max(quota))),
        ("cpu.weight", limits.cpu_weight.to_string()),
        ("pids.max", or_max(limits.processes.map(u64::from))),
        ("io.weight", format!("default {}", limits.io_weight)),
    ]
}

/// Bytes for a person, exact where they are round: `64 MiB`.
fn amount(bytes: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let Some((shift, unit)) = UNITS.into_iter().find(|(shift, _)| bytes >> shift > 0) else {
        return format!("{bytes} bytes");
    };
    let (whole, tenths) = (bytes >> shift, ((bytes & ((1 << shift) - 1)) * 10) >> shift);
    if tenths == 0 { format!("{whole} {unit}") } else { format!("{whole}.{tenths} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(files: &'a [(&'static str, String)], file: &str) -> Option<&'a str> {
        files.iter().find(|(name, _)| *name == file).map(|(_, value)| value.as_str())
    }

    #[test]
    fn what_is_set_is_written_and_the_rest_is_let_go() {
        let none = files(&Limits::default(), 4 << 30);
        assert_eq!(value(&none, "memory.max"), Some("3221225472"), "a hog ends in its own group all the same");
        assert_eq!((value(&none, "memory.high"), value(&none, "cpu.max")), (Some("max"), Some("max 100000")));
        assert_eq!((value(&none, "pids.max"), value(&none, "io.weight")), (Some("256"), Some("default 100")));

        let limits = Limits { memory: Some(100 << 20), cpu: Some(150), processes: None, ..Limits::default() };
        let some = files(&limits, 4 << 30);
        assert_eq!((value(&some, "memory.max"), value(&some, "memory.high")), (Some("104857600"), Some("max")));
        assert_eq!((value(&some, "cpu.max"), value(&some, "pids.max")), (Some("150000 100000"), Some("max")));
        let high = files(&Limits { memory_high: Some(1 << 20), ..limits }, 4 << 30);
        assert_eq!(value(&high, "memory.high"), Some("1048576"));
    }

    #[test]
    fn a_limit_is_spoken_as_it_was_written() {
        for (bytes, words) in [(64 << 20, "64 MiB"), (3 << 29, "1.5 GiB"), (1000, "1000 bytes"), (1500, "1.4 KiB")] {
            assert_eq!(amount(bytes), words);
        }
        let limits = Limits { memory: Some(64 << 20), ..Limits::default() };
        assert_eq!(spoken(&limits, 1 << 30), "limit 64 MiB");
        assert!(spoken(&Limits::default(), 1 << 30).starts_with("limit 768 MiB, three quarters"));
    }
}
