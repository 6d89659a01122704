//! `STORAGE_FILE`: what a tenant's worker may read, and watch, about its own storage. Ours to write, and nobody else's to read.

use std::{
    io,
    os::unix::fs::{MetadataExt, lchown},
    path::{Path, PathBuf},
};

use crate::{
    model::{Fill, Storage, TenantName},
    sys,
};

/// Bytes of such a file.
const CAP: u64 = 4096;

/// The folder of all, which tenants with users of their own pass through.
pub(super) fn folder(state: &Path) -> PathBuf {
    state.join("signals")
}

/// The folder that is a tenant's to read.
fn room(state: &Path, name: &TenantName) -> PathBuf {
    folder(state).join(name.as_str())
}

/// The file in it.
pub(in crate::master) fn path(state: &Path, name: &TenantName) -> PathBuf {
    room(state, name).join("storage.json")
}

/// Makes the folder, and the file where there is none; gives what was counted by an earlier life.
///
/// # Errors
/// It cannot be made.
pub(super) fn prepare(
    state: &Path,
    name: &TenantName,
    owner: Option<(u32, u32)>,
    limit: Option<u64>,
) -> io::Result<Option<u64>> {
    let room = room(state, name);
    match owner {
        // Its group is the tenant's, as each file's is. The folder cannot hand it down by itself: a service with
        // `RestrictSUIDSGID=` may not make one that does.
        Some((_, gid)) => {
            sys::files::make_private_dir(&room, 0o700)?;
            if room.symlink_metadata()?.gid() != gid {
                lchown(&room, None, Some(gid))?;
            }
            sys::files::make_private_dir(&room, 0o750)?;
        }
        None => sys::files::make_private_dir(&room, 0o700)?,
    }
    let path = path(state, name);
    match sys::files::read_guarded(&path, CAP) {
        Ok((bytes, _)) if owner.is_none_or(|(_, gid)| path.symlink_metadata().is_ok_and(|file| file.gid() == gid)) => {
            Ok(serde_json::from_slice::<Storage>(&bytes).ok().map(|storage| storage.used))
        }
        // None, or one for somebody else's eyes.
        _ => write(state, name, owner, &Storage { used: 0, limit, state: Fill::Ok }).map(|()| None),
    }
}

/// Replaces it. Nobody needs it after a power cut: it is counted anew then.
///
/// # Errors
/// It cannot be written; the one before stays.
pub(super) fn write(state: &Path, name: &TenantName, owner: Option<(u32, u32)>, storage: &Storage) -> io::Result<()> {
    let mut line = serde_json::to_vec(storage)?;
    line.push(b'\n');
    match owner {
        Some((_, gid)) => sys::files::write_swiftly_for(&path(state, name), &line, gid),
        None => sys::files::write_swiftly(&path(state, name), &line, 0o600),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_from_the_start_and_what_was_counted_is_found_again() {
        let temp = tempfile::tempdir().unwrap();
        let state = temp.path();
        let name: TenantName = "acme".parse().unwrap();
        let owner = sys::identity::is_root().then_some((70_123, 70_123));
        assert_eq!(prepare(state, &name, owner, Some(1000)).unwrap(), None);
        let text = || std::fs::read_to_string(path(state, &name)).unwrap();
        assert_eq!(text(), "{\"used\":0,\"limit\":1000,\"state\":\"ok\"}\n");
        write(state, &name, owner, &Storage { used: 1234, limit: None, state: Fill::Full }).unwrap();
        assert_eq!(text(), "{\"used\":1234,\"limit\":null,\"state\":\"full\"}\n");
        assert_eq!(prepare(state, &name, owner, None).unwrap(), Some(1234));
        let modes = [room(state, &name), path(state, &name)].map(|path| {
            let found = path.metadata().unwrap();
            (found.uid(), found.gid(), found.mode() & 0o7777)
        });
        let own = sys::identity::own();
        match owner {
            Some((_, gid)) => assert_eq!(modes, [(0, gid, 0o750), (0, gid, 0o640)]),
            None => assert_eq!(modes, [(own.0, own.1, 0o700), (own.0, own.1, 0o600)]),
        }
        std::fs::write(path(state, &name), "no figures").unwrap();
        assert_eq!(prepare(state, &name, owner, None).unwrap(), None);
    }
}
