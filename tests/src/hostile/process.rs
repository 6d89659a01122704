//! What a process costs, from /proc.

use std::{fs, io, time::Duration};

/// Resident memory in bytes.
pub fn resident(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|digits| digits.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no VmRSS"))
}

/// CPU time so far, user and system.
pub fn cpu(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the name in parentheses, which may hold anything.
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest).ok_or_else(|| io::Error::other("no stat"))?;
    let field = |at: usize| rest.split_whitespace().nth(at).and_then(|digits| digits.parse::<u64>().ok()).unwrap_or(0);
    // utime and stime are the 14th and 15th of all: ticks of 10 ms.
    Ok(Duration::from_millis((field(11) + field(12)) * 10))
}

/// Open descriptors.
pub fn descriptors(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}
