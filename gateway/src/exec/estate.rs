//! The tenant's folders, put into its hands and closed to others.

use std::{
    fs::{File, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use super::{failure::Failure, program, say, stderr};
use crate::{sys, wire::Plan};

/// What root does before it becomes the tenant: what was another user's before (another `user`, no users at all) becomes the
/// tenant's, and a working folder that only root can reach is entered.
pub(super) fn take_over(plan: &Plan) -> Result<(), Failure> {
    if let Some(identity) = plan.identity.filter(|_| sys::identity::is_root()) {
        for folder in &plan.estate.folders {
            match sys::handover::hand_over(folder, identity) {
                Ok(handed) if handed.left > 0 => {
                    let example = handed.example.unwrap_or_default();
                    let (left, uid) = (handed.left, identity.0);
                    say(
                        &mut stderr(),
                        &format!(
                            "{left} in {} stay another user's, {} the first: give them to uid {uid} where they are its own",
                            folder.display(),
                            example.display()
                        ),
                    );
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let sentence = format!("{} cannot be given to uid {}: {error}", folder.display(), identity.0);
                    return Err(Failure::unusable(sentence));
                }
            }
        }
    }
    if plan.estate.closed {
        std::env::set_current_dir(&plan.dir).map_err(|error| program::out_of_reach(plan, &plan.dir, &error))?;
    }
    Ok(())
}

/// As the tenant: its folder is 0700 and its `.env` 0600, whatever they were made with. Where they are not its own to close,
/// whoever owns them has decided.
pub(super) fn close(plan: &Plan) {
    private(Path::new("."), 0o700);
    if let Some(file) = &plan.dotenv {
        private(file, 0o600);
    }
}

fn private(path: &Path, mode: u32) {
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let Ok(name) = OpenOptions::new().read(true).custom_flags(flags).open(path) else { return };
    let Ok(found) = name.metadata() else { return };
    if (found.is_file() || found.is_dir()) && found.mode() & 0o077 != 0 {
        // Through the descriptor: what has the name by now may be another file.
        let _ = std::fs::set_permissions(by_descriptor(&name), Permissions::from_mode(mode));
    }
}

fn by_descriptor(name: &File) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", name.as_raw_fd())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_to_others_is_closed_and_nothing_is_followed() {
        let temp = tempfile::tempdir().unwrap();
        let (dotenv, link) = (temp.path().join(".env"), temp.path().join("link"));
        std::fs::write(&dotenv, "").unwrap();
        let mode = |mode| std::fs::set_permissions(&dotenv, Permissions::from_mode(mode)).unwrap();
        let found = || dotenv.metadata().unwrap().mode() & 0o7777;
        mode(0o644);
        std::os::unix::fs::symlink(&dotenv, &link).unwrap();
        private(&link, 0o600);
        assert_eq!(found(), 0o644);
        private(&dotenv, 0o600);
        assert_eq!(found(), 0o600);
        mode(0o400);
        private(&dotenv, 0o600);
        assert_eq!(found(), 0o400, "what is closed is left as it is");
        private(&temp.path().join("none"), 0o600);
    }
}
