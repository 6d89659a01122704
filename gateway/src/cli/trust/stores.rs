//! The places where this machine and its browsers look for authorities: Debian's folder, and NSS databases.

use std::{
    env, fmt, fs,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    Outcome,
    root::{self, Root},
};
use crate::{cli::doctor::find_program, sys::identity};

/// Where Debian looks for an administrator's authorities.
const DEBIAN: &str = "/usr/local/share/ca-certificates";

/// More copies of one root than any database has.
const MOST_COPIES: usize = 20;

/// Where Firefox keeps its profiles, below a home.
const FIREFOX: [&str; 3] =
    [".mozilla/firefox", "snap/firefox/common/.mozilla/firefox", ".var/app/org.mozilla.firefox/.mozilla/firefox"];

/// One place.
#[derive(Debug)]
pub(super) enum Store {
    /// Debian's, for curl and everybody who uses OpenSSL or GnuTLS.
    System { folder: PathBuf },
    /// An NSS database, for Chrome and Firefox.
    Browser { certutil: PathBuf, folder: PathBuf, owner: Owner },
}

/// Whose a database is, where root acts for somebody else: what is made in it is to be theirs.
#[derive(Clone, Debug, Default)]
pub(super) struct Owner(Option<(u32, u32)>);

/// What a store has of this authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// This very root.
    Same,
    /// Another root of the same key.
    Other,
}

/// Every store of this machine and of this user; of the one who called sudo, where it was called.
pub(super) fn all() -> Vec<Store> {
    let mut stores = Vec::new();
    if find_program("update-ca-certificates").is_some() {
        stores.push(Store::System { folder: PathBuf::from(DEBIAN) });
    }
    if let (Some(certutil), Some((home, owner))) = (certutil(), user()) {
        stores.extend(databases(&home).map(|folder| Store::Browser {
            certutil: certutil.clone(),
            folder,
            owner: owner.clone(),
        }));
    }
    stores
}

/// NSS's own program.
pub(super) fn certutil() -> Option<PathBuf> {
    find_program("certutil")
}

/// The home to look into, and its owner.
fn user() -> Option<(PathBuf, Owner)> {
    let number = |name| env::var(name).ok()?.parse::<u32>().ok();
    match (number("SUDO_UID"), number("SUDO_GID")) {
        (Some(uid), Some(gid)) if identity::is_root() && uid != 0 => {
            let home = nix::unistd::User::from_uid(uid.into()).ok()??.dir;
            Some((home, Owner(Some((uid, gid)))))
        }
        _ => Some((PathBuf::from(env::var_os("HOME")?), Owner::default())),
    }
}

/// The databases below `home` that there are.
fn databases(home: &Path) -> impl Iterator<Item = PathBuf> {
    let profiles = FIREFOX.iter().filter_map(|folder| fs::read_dir(home.join(folder)).ok());
    let profiles = profiles.flatten().filter_map(Result::ok).map(|entry| entry.path());
    let mut found: Vec<PathBuf> = profiles.collect();
    found.push(home.join(".pki/nssdb"));
    found.sort();
    found.into_iter().filter(|folder| folder.join("cert9.db").is_file())
}

impl Store {
    /// What it has of the authority that `root` is of.
    pub(super) fn look(&self, root: &Root) -> Found {
        let found = match self {
            Self::System { folder } => fs::read_to_string(folder.join(file_name(root))).ok(),
            Self::Browser { .. } => self.certutil(&["-L", "-a", "-n", &root.name], None).ok(),
        };
        match found {
            None => Found::Nothing,
            Some(pem) if root::certificate(&pem).as_ref() == Some(&root.der) => Found::Same,
            Some(_) => Found::Other,
        }
    }

    /// Puts `root` into it, in place of older ones.
    pub(super) fn install(&self, root: &Root) -> Outcome {
        match self {
            Self::System { folder } => {
                let file = folder.join(file_name(root));
                let written = fs::create_dir_all(folder)
                    .and_then(|()| crate::sys::files::write_atomic(&file, root.pem.as_bytes(), 0o644));
                written.map_err(|error| denied(&file, &error))?;
                update(&[])
            }
            Self::Browser { .. } => {
                self.remove(root)?;
                // C: an authority for servers, and for nothing else.
                self.certutil(&["-A", "-a", "-t", "C,,", "-n", &root.name], Some(&root.pem)).map(|_| ())
            }
        }
    }

    /// Takes every root of this authority out of it.
    pub(super) fn remove(&self, root: &Root) -> Outcome {
        match self {
            Self::System { folder } => {
                let file = folder.join(file_name(root));
                fs::remove_file(&file).map_err(|error| denied(&file, &error))?;
                // What was there once stays linked until it is looked through anew.
                update(&["--fresh"])
            }
            Self::Browser { .. } => {
                for _ in 0..MOST_COPIES {
                    if self.look(root) == Found::Nothing {
                        return Ok(());
                    }
                    self.certutil(&["-D", "-n", &root.name], None)?;
                }
                Err(format!("it has {} more than {MOST_COPIES} times", root.name))
            }
        }
    }

    /// Runs certutil on this database, as its owner; what it said.
    fn certutil(&self, arguments: &[&str], input: Option<&str>) -> Result<String, String> {
        let Self::Browser { certutil, folder, owner } = self else { return Ok(String::new()) };
        let mut command = Command::new(certutil);
        command.arg("-d").arg(format!("sql:{}", folder.display())).args(arguments);
        if let Owner(Some((uid, gid))) = owner {
            command.uid(*uid).gid(*gid);
        }
        // A database with a password asks for it, and nobody would answer; the place of a shell may not be the owner's to see.
        command.current_dir("/");
        ran(command, input)
    }
}

fn file_name(root: &Root) -> String {
    // By its ending Debian knows what it is.
    format!("{}.crt", root.name)
}

/// Has Debian look through its folder.
fn update(arguments: &[&str]) -> Outcome {
    let program = find_program("update-ca-certificates").ok_or("update-ca-certificates is missing")?;
    let mut command = Command::new(program);
    command.args(arguments);
    ran(command, None).map(|_| ())
}

/// What `command` said on stdout, or why it failed.
fn ran(mut command: Command, input: Option<&str>) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |error: io::Error| format!("{name}: {error}");
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), input) {
        // One that has ended already says why below.
        let _ = pipe.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

fn denied(path: &Path, error: &io::Error) -> String {
    let advice = if error.kind() == io::ErrorKind::PermissionDenied { ": try again with sudo" } else { "" };
    format!("{}: {error}{advice}", path.display())
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { folder } => write!(f, "this machine ({})", folder.display()),
            Self::Browser { folder, .. } => write!(f, "the browser of {}", folder.display()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use rcgen::KeyPair;

    use super::{super::root::tests::root, *};

    #[test]
    fn databases_are_found_where_browsers_have_them() {
        let home = tempfile::tempdir().unwrap();
        for (folder, has) in [(".mozilla/firefox/a.default", true), (".mozilla/firefox/b", false), (".pki/nssdb", true)]
        {
            fs::create_dir_all(home.path().join(folder)).unwrap();
            if has {
                fs::write(home.path().join(folder).join("cert9.db"), "").unwrap();
            }
        }
        let found: Vec<PathBuf> = databases(home.path()).collect();
        assert_eq!(found, [home.path().join(".mozilla/firefox/a.default"), home.path().join(".pki/nssdb")]);
    }

    #[test]
    fn a_browser_trusts_and_forgets() {
        let certutil = certutil().expect("certutil is needed: apt install libnss3-tools");
        let state = tempfile::tempdir().unwrap();
        let database = tempfile::tempdir().unwrap();
        let made =
            Command::new(&certutil).args(["-N", "--empty-password", "-d"]).arg(database.path()).status().unwrap();
        assert!(made.success());
        let folder = database.path().to_owned();
        let store = Store::Browser { certutil, folder, owner: Owner::default() };
        let key = KeyPair::generate().unwrap();
        let first = root(state.path(), &key, &["apps.test"]);
        assert_eq!(store.look(&first), Found::Nothing);
        assert_eq!(store.install(&first), Ok(()));
        assert_eq!(store.look(&first), Found::Same);
        let second = root(state.path(), &key, &["apps.test", "portal.example"]);
        assert_eq!(store.look(&second), Found::Other);
        assert_eq!(store.install(&second), Ok(()));
        assert_eq!((store.look(&second), store.look(&first)), (Found::Same, Found::Other));
        assert_eq!(store.remove(&second), Ok(()));
        assert_eq!(store.look(&second), Found::Nothing);
        assert_eq!(store.remove(&second), Ok(()));
    }

    #[test]
    fn what_the_machine_has_is_told_by_its_file() {
        let (state, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let key = KeyPair::generate().unwrap();
        let store = Store::System { folder: folder.path().to_owned() };
        let root = root(state.path(), &key, &["apps.test"]);
        assert_eq!(store.look(&root), Found::Nothing);
        fs::write(folder.path().join(format!("{}.crt", root.name)), &root.pem).unwrap();
        assert_eq!(store.look(&root), Found::Same);
        fs::write(folder.path().join(format!("{}.crt", root.name)), "x").unwrap();
        assert_eq!(store.look(&root), Found::Other);
    }
}
