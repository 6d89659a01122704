//! Time that never jumps.

use std::{io, time::Duration};

use nix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC (clock_gettime(2)): the same for every process of one boot, so that a moment that one process wrote down
/// means the same to the next.
///
/// # Errors
/// The kernel has no such clock; none that we can run on.
pub fn monotonic() -> io::Result<Duration> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_clock_for_every_process() {
        let before = monotonic().unwrap();
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!(before <= monotonic().unwrap());
        // That one counts sleep too, and in hundredths.
        assert!(before.as_secs_f64() <= uptime + 0.02, "{before:?}, up for {uptime} s");
    }
}
