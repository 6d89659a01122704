//! The worker's program: where it is, and in words why it cannot be executed.

use std::{
    ffi::OsStr,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};

use super::failure::Failure;
use crate::wire::Plan;

/// The program: by its path, which may be relative to the tenant's folder, or the first in `PATH` that we may execute.
pub(super) fn find(plan: &Plan) -> Result<PathBuf, Failure> {
    let name = plan.argv.first().ok_or_else(|| Failure::settings("the app's command is empty"))?;
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let found: Vec<PathBuf> = std::env::split_paths(OsStr::new(&plan.path))
        .map(|folder| folder.join(name))
        .filter(|at| at.is_file())
        .collect();
    if let Some(program) = found.iter().find(|program| may_execute(program)) {
        return Ok(program.clone());
    }
    match found.into_iter().next() {
        // The kernel's own refusal says which kind it is.
        Some(program) => Ok(program),
        None => Err(Failure::not_found(format!(
            "{name}: command not found, neither beside landlord nor in PATH ({})",
            plan.path
        ))),
    }
}

/// Why `program` was not executed.
pub(super) fn not_executed(plan: &Plan, program: &Path, error: &io::Error) -> Failure {
    let shown = program.display();
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::NotFound, _) if program.exists() => Failure::unusable(match interpreter(program) {
            Some(missing) => format!("{shown}: {missing}, which its first line names, is not there"),
            None => format!("{shown}: the loader that it needs is not there: it was built for another system"),
        }),
        (io::ErrorKind::NotFound, _) => Failure::not_found(format!("{shown}: command not found")),
        (io::ErrorKind::PermissionDenied, _) if program.is_dir() => Failure::unusable(format!("{shown} is a folder")),
        (io::ErrorKind::PermissionDenied, _) if program.is_file() && closed(program).is_none() => {
            Failure::unusable(format!("{shown} is not executable for {}: run `chmod a+rx` on it", who(plan)))
        }
        (io::ErrorKind::PermissionDenied, _) => out_of_reach(plan, program, error),
        (_, Some(libc::ENOEXEC)) => {
            Failure::unusable(format!("{shown} is no program: a script begins with #! and its interpreter"))
        }
        _ => Failure::unusable(format!("{shown}: {error}")),
    }
}

/// Why a folder or file on the tenant's way cannot be used.
pub(super) fn out_of_reach(plan: &Plan, path: &Path, error: &io::Error) -> Failure {
    let shown = path.display();
    if error.kind() != io::ErrorKind::PermissionDenied {
        return Failure::unusable(format!("{shown}: {error}"));
    }
    Failure::unusable(match closed(path) {
        Some(folder) => format!(
            "{} cannot reach {shown}, because {} is closed to it: move it where others may read, or open that folder",
            who(plan),
            folder.display()
        ),
        None => format!("{} may not use {shown}: {error}", who(plan)),
    })
}

fn who(plan: &Plan) -> String {
    match plan.identity {
        Some((uid, _)) => format!("uid {uid}"),
        None => "the user that landlord runs as".to_owned(),
    }
}

/// The first folder on the way to `path` that we may not pass.
fn closed(path: &Path) -> Option<&Path> {
    let mut folders: Vec<&Path> = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()).collect();
    folders.reverse();
    folders.into_iter().find(|folder| access(*folder, AccessFlags::X_OK).is_err())
}

fn may_execute(program: &Path) -> bool {
    // For root, access says yes where any execute bit is set; for others, where theirs is.
    access(program, AccessFlags::X_OK).is_ok()
        && program.metadata().is_ok_and(|found| found.permissions().mode() & 0o111 != 0)
}

/// What stands after `#!` in its first line.
fn interpreter(program: &Path) -> Option<String> {
    let bytes = crate::sys::files::read_regular(&program.canonicalize().ok()?, 16 << 20).ok()?;
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let word = line.split_whitespace().next()?;
    // A script that was saved with Windows line ends asks for `sh\r`.
    Some(word.chars().take(200).flat_map(char::escape_default).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{
        collections::BTreeMap,
        fs::{self, Permissions},
    };

    use super::*;
    use crate::wire::{Estate, Job, ProcessLimits};

    fn plan(word: &str, path: &str) -> Plan {
        Plan {
            argv: vec![word.to_owned()],
            rooms: Vec::new(),
            dir: "/".into(),
            env: BTreeMap::new(),
            extra: BTreeMap::new(),
            dotenv: None,
            listen_fds: false,
            job: Job::Exec,
            identity: Some((70_001, 70_001)),
            estate: Estate::default(),
            group: None,
            limits: ProcessLimits::default(),
            sandbox: None,
            report: 5,
            die_with_parent: false,
            path: path.to_owned(),
        }
    }

    fn file(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_first_in_path_that_may_be_executed() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::create_dir_all(one.join("folder")).unwrap();
        fs::create_dir(&two).unwrap();
        let path = format!("{}:{}", one.display(), two.display());
        file(&one.join("serve"), "", 0o644);
        assert_eq!(find(&plan("serve", &path)), Ok(one.join("serve")), "the kernel is to say why not");
        file(&two.join("serve"), "", 0o755);
        assert_eq!(find(&plan("serve", &path)), Ok(two.join("serve")));
        assert_eq!(find(&plan("./serve", &path)), Ok("./serve".into()));

        let missing = find(&plan("folder", &path)).unwrap_err();
        assert_eq!(missing.status, 127);
        assert!(missing.sentence.contains("folder: command not found") && missing.sentence.contains(&path));
        assert_eq!(find(&Plan { argv: Vec::new(), ..plan("", "") }).unwrap_err().status, 78);
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let said = |name: &str, code: i32| {
            let failure = not_executed(&plan("x", ""), &at(name), &io::Error::from_raw_os_error(code));
            (failure.status, failure.sentence.replace(&*dir.path().to_string_lossy(), ""))
        };
        file(&at("plain"), "#!/bin/sh\n", 0o644);
        file(&at("script"), "#!/nowhere/python3\r\n", 0o755);
        file(&at("binary"), "\u{7f}ELF", 0o755);
        let plain = "/plain is not executable for uid 70001: run `chmod a+rx` on it";
        assert_eq!(said("plain", libc::EACCES), (126, plain.to_owned()));
        assert_eq!(said("", libc::EACCES).1, "/ is a folder");
        assert_eq!(said("none", libc::ENOENT), (127, "/none: command not found".to_owned()));
        assert_eq!(
            said("script", libc::ENOENT).1,
            "/script: /nowhere/python3, which its first line names, is not there"
        );
        assert!(said("binary", libc::ENOENT).1.contains("built for another system"));
        assert!(said("binary", libc::ENOEXEC).1.contains("is no program"));
    }
}
