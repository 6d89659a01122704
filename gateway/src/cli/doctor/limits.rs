//! Descriptors: how many there are, and how many the settings need.

use super::{Finding, Level, Subject, read};
use crate::sys::machine;

/// What a process needs beside its connections: links, logs, listeners, probes.
const BESIDE: u64 = 64;
/// Fewer visitors at a time than this are no service.
const FEW: u64 = 256;

pub(super) fn examine(subject: &Subject, findings: &mut Vec<Finding>) {
    let Some(gateway) = &subject.gateway else { return };
    let running = subject.running.as_ref().ok();
    // Those of the one that serves, where there is one and we may see them: a shell has others.
    let proxy = running.and_then(|status| read(&format!("/proc/{}/limits", status.gateway.proxy_pid?)));
    let served = proxy.as_deref().and_then(open_files).map(|limits| (limits, "the running landlord"));
    let limits = served.or_else(|| Some((machine::nofile().ok()?, "this user")));
    if let Some(((soft, hard), whose)) = limits {
        findings.push(descriptors(soft, hard, whose, u64::from(gateway.http.connections)));
    }
}

/// A visitor needs one descriptor, and a request in flight another, to its worker.
fn descriptors(soft: u64, hard: u64, whose: &str, connections: u64) -> Finding {
    let name = "nofile";
    let needs = 2 * connections + BESIDE;
    let found = format!("{soft}, and at most {hard}, for {whose}");
    if hard >= needs {
        let means = format!("enough for {connections} connections; landlord raises it to the most by itself");
        return Finding::ok(name, found, means);
    }
    let level = if hard < 2 * FEW + BESIDE { Level::Problem } else { Level::Warning };
    let served = hard.saturating_sub(BESIDE) / 2;
    Finding::ok(
        name,
        found,
        format!("{connections} connections need {needs}: with {hard}, about {served} visitors at a time are served, and more \
                 are turned away"),
    )
    .but(level, format!("LimitNOFILE={needs} in the unit, or ulimit -Hn {needs}, or fewer [http] connections in landlord.toml"))
}

/// Soft and hard, of the line `Max open files` in /proc/PID/limits.
fn open_files(limits: &str) -> Option<(u64, u64)> {
    let rest = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut words = rest.split_whitespace().map(|word| if word == "unlimited" { Ok(u64::MAX) } else { word.parse() });
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_open_files_is_read() {
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax processes  1  2  processes\n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(text), Some((1024, 524_288)));
        assert_eq!(open_files("Max open files unlimited unlimited files"), Some((u64::MAX, u64::MAX)));
        assert_eq!(open_files("Max open files"), None);
    }

    #[test]
    fn the_most_counts_and_not_what_is_now() {
        let level = |soft, hard| descriptors(soft, hard, "us", 16_384).level;
        assert_eq!(level(1024, 1_048_576), Level::Ok);
        assert_eq!(level(32_832, 32_832), Level::Ok);
        assert_eq!(level(4096, 4096), Level::Warning);
        assert_eq!(level(256, 256), Level::Problem);
        assert_eq!(level(0, 0), Level::Problem);
    }
}
