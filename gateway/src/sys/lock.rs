//! One landlord per state folder: a lock that dies with its process.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

/// Held until it is dropped or the process ends. The file stays: removing it would let two hold a lock each.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// Why a lock was not given.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("another process holds it{}", pid.map_or_else(String::new, |pid| format!(": pid {pid}")))]
    Held {
        /// Who, as it wrote itself.
        pid: Option<u32>,
    },
    /// Anything else.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Takes the lock at `path` (made with 0600 where it is missing) or says who has it; never waits. Our pid is written
/// inside.
pub fn lock(path: &Path) -> Result<Lock, LockError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut file) => {
            // Over what is there, and not after it was cut off: a full disk would have no room for it any more. Where there is
            // none at all, nobody can read who holds it, and it is held all the same.
            let text = format!("{}\n", std::process::id());
            file.rewind()?;
            match file.write_all(text.as_bytes()) {
                Err(error) if error.kind() != io::ErrorKind::StorageFull => return Err(error.into()),
                _ => file.set_len(text.len() as u64)?,
            }
            Ok(Lock { _file: file })
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut text = String::new();
            let read = Read::by_ref(&mut file).take(32).read_to_string(&mut text);
            Err(LockError::Held { pid: read.ok().and_then(|_| text.trim().parse().ok()) })
        }
        Err((_, error)) => Err(io::Error::from(error).into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn one_holds_it_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock(&path).unwrap();
        // flock is per open file, so a second open of ours is as good as another process.
        let Err(LockError::Held { pid }) = lock(&path) else { panic!("given twice") };
        assert_eq!(pid, Some(std::process::id()));
        drop(held);
        lock(&path).unwrap();
    }

    #[test]
    fn another_process_keeps_it_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let mut child = Command::new("flock")
            .args(["--no-fork", path.to_str().unwrap(), "sh", "-c", "echo $$ > \"$0\"; echo; exec cat"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let Err(LockError::Held { pid }) = lock(&path) else { panic!("given twice") };
        assert_eq!(pid, Some(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        lock(&path).unwrap();
    }
}
