//! The scripts that install and package landlord, run on the programs that were built for the tests.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{Ran, binaries};

/// `scripts/NAME ARGS` of the workspace, run to its end.
#[track_caller]
pub fn script<S: AsRef<OsStr>>(name: &str, args: &[S]) -> Ran {
    run(Command::new(binaries::workspace().join("scripts").join(name)).args(args).env_remove("DESTDIR"))
}

/// Any command, run to its end.
///
/// # Panics
/// When there is no such program.
#[track_caller]
pub fn run(command: &mut Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| {
        let program = command.get_program().display();
        panic!("{program} cannot be started: {error}. scripts/test installs what the tests need")
    });
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A Debian package of the programs in `programs`, put into `folder`; packed for speed.
#[track_caller]
pub fn package(programs: &Path, version: &str, folder: &Path) -> PathBuf {
    let args = ["--quick".as_ref(), "--version".as_ref(), OsStr::new(version), "--binaries".as_ref()];
    let ran =
        script("package", &[&args[..], &[programs.as_os_str(), "--output".as_ref(), folder.as_os_str()]].concat());
    PathBuf::from(ran.expect(0).stdout.trim())
}

/// The same programs as another build of them: other bytes, which do the same.
#[track_caller]
pub fn another_build() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let note = folder.path().join("note");
    fs::write(&note, "another build").expect("a note");
    for name in ["landlord", "landlord-worker"] {
        let section = format!(".landlord.build={}", note.display());
        let mut objcopy = Command::new("objcopy");
        objcopy.args(["--add-section", &section]).arg(binaries::program(name)).arg(folder.path().join(name));
        run(&mut objcopy).expect(0);
    }
    folder
}
