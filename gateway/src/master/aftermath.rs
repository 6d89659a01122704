//! The first moments after a life that was killed: what dies with a master may hold its lock and its ports a little longer,
//! and a master that is started again at once waits for it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::sys::{
    files::{self, Lock, LockError},
    listen::ListenError,
    process,
};

/// How long processes that were killed with a master may take to be gone.
const LAST_BREATH: Duration = Duration::from_secs(5);
/// Between two looks: their ends are no events of ours.
const GLANCE: Duration = Duration::from_millis(5);

/// Locks the state. A child that was not its own program yet when its master was killed holds that one's lock until it ends.
///
/// # Errors
/// A master that lives has it, or a dead one's for too long.
pub(super) fn lock(path: &Path) -> Result<Lock, LockError> {
    let until = Instant::now() + LAST_BREATH;
    loop {
        match files::lock(path) {
            // Nobody can hold what is no file. It is kept, for whoever put it there.
            Err(LockError::Io(_)) if path.is_dir() && Instant::now() < until => {
                tracing::error!(file = %path.display(), "a folder stands where the lock is to be: put aside");
                files::put_aside(path, jiff::Timestamp::now().as_second())?;
            }
            Err(LockError::Held { pid: Some(pid) }) if !process::exists(pid) && Instant::now() < until => {
                std::thread::sleep(GLANCE);
            }
            result => return result,
        }
    }
}

/// Listens by `listen`, which a dying proxy of ours may make fail. With our state locked and the control socket still there,
/// which every farewell removes, the life before this one was killed.
///
/// # Errors
/// Those of `listen`.
pub(super) fn bind<T>(run: &Path, listen: impl Fn() -> Result<T, ListenError>) -> Result<T, ListenError> {
    let killed = run.join("control.sock").exists();
    let until = Instant::now() + if killed { LAST_BREATH } else { Duration::ZERO };
    loop {
        match listen() {
            Err(ListenError::AddrInUse { .. }) if Instant::now() < until => std::thread::sleep(GLANCE),
            result => return result,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn taken() -> ListenError {
        ListenError::AddrInUse { addr: "127.0.0.1:1".parse().unwrap(), holder: None }
    }

    #[test]
    fn after_a_farewell_a_taken_port_is_somebody_elses() {
        let temp = tempfile::tempdir().unwrap();
        let tries = Cell::new(0);
        let listen = || {
            tries.set(tries.get() + 1);
            if tries.get() < 3 { Err(taken()) } else { Ok(()) }
        };
        assert!(bind(temp.path(), listen).is_err());
        assert_eq!(tries.replace(0), 1);
        std::fs::write(temp.path().join("control.sock"), "").unwrap();
        bind(temp.path(), listen).unwrap();
        assert_eq!(tries.get(), 3);
    }

    #[test]
    fn a_living_holder_is_not_waited_for() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("lock");
        let _held = lock(&path).unwrap();
        let begun = Instant::now();
        assert!(matches!(lock(&path), Err(LockError::Held { pid: Some(pid) }) if pid == std::process::id()));
        assert!(begun.elapsed() < LAST_BREATH);
    }
}
