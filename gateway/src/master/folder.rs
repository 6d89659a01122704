//! A tenant's folder: made at onboarding, owned by the tenant, never deleted here.

use std::{
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Sub-folders of every tenant's folder, each after the one it is in.
pub(super) const ROOMS: [&str; 6] = ["instance", "files", "files/uploads", "files/output", "files/logo", "tmp"];

/// Makes `folder` with its rooms and an empty `.env`, and gives all of it to `owner`. One that exists is left as it is:
/// whatever is below it is the tenant's, and root follows nothing there.
///
/// # Errors
/// It cannot be made, with the path in the message.
pub(super) fn prepare(folder: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    if folder.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    // Under another name first: a folder that bears the tenant's name is complete.
    let making = folder.with_extension("making");
    if making.symlink_metadata().is_ok() {
        std::fs::remove_dir_all(&making).map_err(|e| at(&making, &e))?;
    }
    let mut private = std::fs::DirBuilder::new();
    private.mode(0o700);
    private.create(&making).map_err(|e| at(&making, &e))?;
    for room in ROOMS {
        let path = making.join(room);
        private.create(&path).map_err(|e| at(&path, &e))?;
    }
    let dotenv = making.join(".env");
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&dotenv).map_err(|e| at(&dotenv, &e))?;
    std::fs::set_permissions(&making, std::fs::Permissions::from_mode(0o700)).map_err(|e| at(&making, &e))?;
    if let Some((uid, gid)) = owner {
        for path in ROOMS.iter().map(|room| making.join(room)).chain([dotenv]) {
            std::os::unix::fs::lchown(&path, Some(uid), Some(gid)).map_err(|e| at(&path, &e))?;
        }
    }
    std::fs::rename(&making, folder).map_err(|e| at(folder, &e))?;
    match owner {
        // Last of all, and not before it has its name: until then nobody but root can be in it. Where we do not get this far,
        // whoever becomes the tenant first is given it.
        Some((uid, gid)) => std::os::unix::fs::lchown(folder, Some(uid), Some(gid)).map_err(|e| at(folder, &e)),
        None => Ok(()),
    }
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_then_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("acme");
        prepare(&folder, None).unwrap();
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(folder.join(".env").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_dir(folder.join("tmp")).unwrap();
        prepare(&folder, None).unwrap();
        assert!(!folder.join("tmp").exists(), "what a tenant removed in its own folder is its own affair");
    }
}
