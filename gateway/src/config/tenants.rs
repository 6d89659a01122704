//! The folder of tenant files: who is let in, and which files are wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    files::{self, ReadError, Trust},
    hosts, place, tenant,
};
use crate::model::{Catalog, Gateway, Host, Place, Rejection, TenantName};

/// Bytes of one tenant's file.
const FILE_CAP: u64 = 64 * 1024;

/// Why the folder could not be read. None of these says that its tenants are gone.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It has vanished (unmounted, renamed), or never was.
    #[error("the folder of tenants, {}, is not there: create it, or set `tenants` in landlord.toml", .0.display())]
    Missing(PathBuf),
    /// Something else stands in its place.
    #[error("{} is not a folder: tenants' files belong into a folder", .0.display())]
    NotFolder(PathBuf),
    /// The kernel refused.
    #[error("the folder of tenants, {}, cannot be read: {why}", .0.display(), why = .1)]
    Unreadable(PathBuf, #[source] io::Error),
}

/// Reads every tenant's file. `owners` records who had which custom domain so far.
///
/// Files that editors leave (hidden ones, `x~`, `4913`, whatever does not end in `.toml`) are passed over in silence; what
/// vanishes while it is looked at is not there.
///
/// # Errors
/// Only about the folder itself: see [`FolderError`]. A wrong file is a rejection in the catalog.
pub fn read(gateway: &Gateway, owners: &BTreeMap<Host, TenantName>) -> Result<Catalog, FolderError> {
    let root = nix::unistd::geteuid().is_root();
    let owner = (gateway.users.is_some() && gateway.users_written && root).then_some(0);
    read_as(gateway, owners, Trust { follow: false, owner })
}

/// Where a tenant's file says `key`; the file as a whole, where it cannot be found.
pub fn place_of(gateway: &Gateway, tenant: &TenantName, key: &str) -> Place {
    let path = gateway.tenants.join(format!("{tenant}.toml"));
    let bytes = files::read(&path, FILE_CAP, Trust::default()).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let word = line.trim_start();
        if word.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('=')) {
            return place::at(&path, &text, offset + line.len() - word.len());
        }
        offset += line.len();
    }
    place::whole(&path)
}

fn read_as(gateway: &Gateway, owners: &BTreeMap<Host, TenantName>, trust: Trust) -> Result<Catalog, FolderError> {
    let mut drafts = Vec::new();
    let mut rejected = Vec::new();
    for path in toml_files(&gateway.tenants)? {
        match candidate(gateway, &path, trust) {
            Ok(Some(draft)) => drafts.push(draft),
            Ok(None) => {}
            Err(wrong) => rejected.extend(wrong),
        }
    }
    let broken: BTreeSet<TenantName> = rejected.iter().filter_map(|rejection| rejection.tenant.clone()).collect();
    let (winners, losses) = hosts::settle(drafts, broken, owners);
    rejected.extend(losses);
    let accepted = winners.into_iter().map(|draft| (draft.tenant.name.clone(), (draft.tenant, draft.digest))).collect();
    Ok(Catalog { accepted, rejected })
}

/// Everything in the folder that is named as a tenant's file would be, in order.
fn toml_files(folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => FolderError::Missing(folder.to_owned()),
        io::ErrorKind::NotADirectory => FolderError::NotFolder(folder.to_owned()),
        _ => FolderError::Unreadable(folder.to_owned(), error),
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let bytes = name.as_bytes();
        if bytes.ends_with(b".toml") && !bytes.starts_with(b".") {
            paths.push(folder.join(name));
        }
    }
    paths.sort();
    Ok(paths)
}

/// The tenant that the file at `path` declares; `None` if the file has just vanished.
fn candidate(gateway: &Gateway, path: &Path, trust: Trust) -> Result<Option<tenant::Draft>, Vec<Rejection>> {
    let name = name_of(path)?;
    match files::read(path, FILE_CAP, trust) {
        Ok(bytes) => {
            let draft = tenant::read(gateway, &name, path, &bytes)?;
            // Whoever may name an account may be it: that is root's to say.
            if draft.tenant.user.is_some() && nix::unistd::geteuid().is_root() {
                let roots = Trust { owner: Some(0), ..trust };
                files::read(path, FILE_CAP, roots).map_err(|why| wrong(name, path, &why))?;
            }
            Ok(Some(draft))
        }
        Err(ReadError::NotFound) => Ok(None),
        Err(why) => Err(wrong(name, path, &why)),
    }
}

fn wrong(name: TenantName, path: &Path, why: &ReadError) -> Vec<Rejection> {
    vec![Rejection { tenant: Some(name), place: place::whole(path), error: why.to_string(), hint: None }]
}

fn name_of(path: &Path) -> Result<TenantName, Vec<Rejection>> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.parse::<TenantName>().map_err(|why| {
        let near = stem.to_lowercase().replace(['_', ' ', '.'], "-");
        vec![Rejection {
            tenant: None,
            place: place::whole(path),
            error: format!("{stem:?} cannot be a tenant's name: {why}; rename the file"),
            hint: near.parse::<TenantName>().ok().map(|near| format!("{near}.toml")),
        }]
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::config::gateway::tests::house;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, content: impl AsRef<[u8]>) {
            fs::write(self.at(name), content).unwrap();
        }

        fn read(&self, trust: Trust) -> Catalog {
            let gateway = Gateway { tenants: self.0.path().to_owned(), ..house("") };
            read_as(&gateway, &BTreeMap::new(), trust).unwrap()
        }

        /// What is said about each wrong file, without the folder and the shown line.
        fn rejected(&self) -> Vec<String> {
            let folder = format!("{}/", self.0.path().display());
            let catalog = self.read(Trust::default());
            let told = catalog.rejected.iter().map(|rejection| rejection.to_string().replace(&folder, ""));
            told.map(|told| told.lines().next().unwrap().to_owned()).collect()
        }
    }

    #[test]
    fn an_empty_file_is_a_company() {
        let folder = Folder::new();
        folder.write("acme.toml", "");
        let catalog = folder.read(Trust::default());
        assert_eq!(catalog.rejected, []);
        let (tenant, _) = &catalog.accepted[&"acme".parse().unwrap()];
        assert_eq!(tenant.company, "acme");
        assert_eq!(tenant.hosts[0].as_str(), "acme.apps.example.com");
    }

    #[test]
    fn what_editors_leave_is_passed_over() {
        let folder = Folder::new();
        for name in [
            ".x.toml",
            ".#x.toml",
            "#x.toml#",
            "x.toml~",
            ".x.toml.swp",
            "4913",
            "x.toml.bak",
            "x.tmp",
            "x.TOML",
            "README",
        ] {
            folder.write(name, "junk =");
        }
        fs::create_dir(folder.at("folder")).unwrap();
        let catalog = folder.read(Trust::default());
        assert_eq!((catalog.accepted.len(), catalog.rejected), (0, vec![]));
    }

    #[test]
    fn every_wrong_file_is_told_and_no_right_one_suffers() {
        let folder = Folder::new();
        folder.write("good.toml", "company = \"Good\"");
        for name in ["Bad_Name.toml", "console.toml", "-x.toml", "a.b.toml", "x y.toml"] {
            folder.write(name, "");
        }
        folder.write("big.toml", "#".repeat(64 * 1024 + 1));
        folder.write("full.toml", "#".repeat(64 * 1024));
        folder.write("binary.toml", b"# one\n\x7fELF\x02\xff\xfe");
        folder.write("nul.toml", "company = 1\0");
        folder.write("deep.toml", format!("a={}", "[".repeat(60_000)));
        folder.write("wide.toml", format!("{}=1", ["a"; 30_000].join(".")));
        fs::create_dir(folder.at("folder.toml")).unwrap();
        std::os::unix::fs::symlink(folder.at("good.toml"), folder.at("link.toml")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.at("zero.toml")).unwrap();
        nix::unistd::mkfifo(&folder.at("fifo.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.at("socket.toml")).unwrap();
        assert_eq!(
            folder.rejected(),
            [
                "-x.toml: \"-x\" cannot be a tenant's name: a name cannot start or end with a hyphen; rename the file",
                "Bad_Name.toml: \"Bad_Name\" cannot be a tenant's name: 'B' is not allowed in a name: use a-z, 0-9 and -; rename the file (did you mean \"bad-name.toml\"?)",
                "a.b.toml: \"a.b\" cannot be a tenant's name: '.' is not allowed in a name: use a-z, 0-9 and -; rename the file (did you mean \"a-b.toml\"?)",
                "big.toml: this file is larger than 64 KiB: it is not read",
                "binary.toml:2:6: this is not text: save the file as UTF-8",
                "console.toml: \"console\" cannot be a tenant's name: \"console\" is reserved for landlord itself; rename the file",
                "deep.toml:1:83: this is not TOML: cannot recurse further; max recursion depth met",
                "fifo.toml: this is a FIFO: put a regular file here",
                "folder.toml: this is a folder: put a regular file here",
                "link.toml: this is a symlink: put a regular file here",
                "nul.toml:1:11: this is not TOML: string values must be quoted, expected literal string",
                "socket.toml: this is a socket: put a regular file here",
                "wide.toml:1:1: this is not TOML: recursion limit",
                "x y.toml: \"x y\" cannot be a tenant's name: ' ' is not allowed in a name: use a-z, 0-9 and -; rename the file (did you mean \"x-y.toml\"?)",
                "zero.toml: this is a symlink: put a regular file here",
            ]
        );
        let names: Vec<String> = folder.read(Trust::default()).accepted.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["full", "good"]);
    }

    #[test]
    fn a_name_cannot_command_a_terminal() {
        let folder = Folder::new();
        folder.write("\x1b[2J\n.toml", "");
        let catalog = folder.read(Trust::default());
        let told = catalog.rejected[0].to_string();
        assert!(!told.chars().any(char::is_control), "{told:?}");
    }

    #[test]
    fn as_root_only_roots_files_count() {
        let folder = Folder::new();
        folder.write("acme.toml", "");
        let owner = Some(nix::unistd::geteuid().as_raw());
        let mode = |mode| fs::set_permissions(folder.at("acme.toml"), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        assert_eq!(folder.read(Trust { follow: false, owner }).rejected, []);
        mode(0o664);
        let catalog = folder.read(Trust { follow: false, owner });
        assert_eq!(catalog.accepted.len(), 0);
        assert!(catalog.rejected[0].error.contains("chmod go-w"), "{}", catalog.rejected[0]);
    }

    #[test]
    fn a_folder_that_is_gone_is_no_empty_folder() {
        let folder = Folder::new();
        folder.write("file", "");
        let read = |path: PathBuf| read(&Gateway { tenants: path, ..house("") }, &BTreeMap::new());
        assert!(matches!(read(folder.at("none")), Err(FolderError::Missing(_))));
        assert!(matches!(read(folder.at("file")), Err(FolderError::NotFolder(_))));
        assert!(read(folder.0.path().to_owned()).unwrap().accepted.is_empty());
    }
}
