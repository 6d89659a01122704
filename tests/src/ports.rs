//! Ports that no other test of this machine uses: blocks below the ephemeral range, each owned by whoever holds its lock.

use std::{
    fs::{self, File},
    net::TcpListener,
    ops::RangeInclusive,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use nix::fcntl::{Flock, FlockArg};

/// Ports of one block.
const SIZE: u16 = 100;
/// The first block's first port. Above the well-known alternatives (8080, 8443, 9000).
const FIRST: u16 = 10_000;
/// No block reaches beyond: the kernel's ephemeral range begins at 32768.
const END: u16 = 32_000;

/// A run of ports that is this test's alone while the value lives.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    /// Dropped last: the lock is what makes the block ours.
    _lock: Flock<File>,
}

impl Ports {
    /// Takes a free block.
    ///
    /// # Panics
    /// When every block is taken.
    pub fn take() -> Self {
        let dir = locks();
        // Start where other processes most likely do not: two tests of one process meet the lock and go on.
        let blocks = (END - FIRST) / SIZE;
        let start = (std::process::id() % u32::from(blocks)) as u16;
        (0..blocks)
            .map(|step| FIRST + (start + step) % blocks * SIZE)
            .find_map(|first| Self::try_take(&dir, first))
            .expect("every block of ports is taken: are tests left running?")
    }

    fn try_take(dir: &std::path::Path, first: u16) -> Option<Self> {
        let file = File::create(dir.join(first.to_string())).ok()?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
        // Somebody who knows nothing of the locks may sit on one of them.
        let free = (first..first + SIZE).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
        free.then_some(Self { first, _lock: lock })
    }

    /// For the gateway's TLS.
    pub fn https(&self) -> u16 {
        self.first
    }

    /// For the gateway's clear text.
    pub fn http(&self) -> u16 {
        self.first + 1
    }

    /// Ports for a test's own servers.
    pub fn spare(&self) -> RangeInclusive<u16> {
        self.first + 2..=self.first + 9
    }

    /// For workers.
    pub fn workers(&self) -> RangeInclusive<u16> {
        self.first + 10..=self.first + SIZE - 1
    }
}

fn locks() -> PathBuf {
    let dir = std::env::temp_dir().join("landlord-test-ports");
    fs::create_dir_all(&dir).expect("the temporary folder can be written to");
    // Other users' tests share the machine.
    let _ = fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777));
    dir
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_blocks_never_meet() {
        let (one, other) = (Ports::take(), Ports::take());
        assert_ne!(one.https(), other.https());
        assert!(!one.workers().contains(&other.https()));
        assert!(*one.workers().end() < 32_768);
    }
}
