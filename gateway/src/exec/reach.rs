//! What one app needs besides what every worker has: its code, and the installation that its program belongs to.

use std::{
    fs::File,
    io::Read,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use crate::sys::landlock::{Access, Grant};

/// What an installation keeps beside its `bin`: a venv, a Node, a JDK, a Ruby.
const INSTALLATION: &[&str] =
    &["bin", "sbin", "lib", "lib32", "lib64", "libexec", "conf", "jre", "jmods", "ssl", "release", "pyvenv.cfg"];

/// Interpreters of interpreters: as deep as the kernel follows them, and no deeper.
const DEPTH: u32 = 4;

/// A program with what lies around it: the rest of its installation where its folder is a `bin`, else its folder. The same for
/// the file that it is a link to, and for the interpreter that its first line names. Nothing for one that lies in what is
/// `closed`, or in what the tenant has `written`.
pub(super) fn program(program: &Path, closed: &[PathBuf], written: &[PathBuf]) -> Vec<Grant> {
    let mut grants = Vec::new();
    surround(program, (closed, written), DEPTH, &mut grants);
    grants
}

fn surround(program: &Path, (closed, written): (&[PathBuf], &[PathBuf]), depth: u32, grants: &mut Vec<Grant>) {
    let Ok(real) = program.canonicalize() else { return };
    let is_ours = |path: &Path| !closed.iter().chain(written).any(|theirs| path.starts_with(theirs));
    // What a tenant can write says what it wants: no link and no first line there opens anything outside.
    let folders = [program.parent().and_then(|folder| folder.canonicalize().ok()), real.parent().map(Path::to_owned)];
    if !is_ours(&real) || !folders.iter().flatten().all(|folder| is_ours(folder)) {
        return;
    }
    grants.push(Grant::new(&real, Access::Run));
    for folder in folders.iter().flatten() {
        match folder.parent().filter(|_| folder.ends_with("bin") || folder.ends_with("sbin")) {
            Some(above) => {
                grants.extend(INSTALLATION.iter().flat_map(|name| folder_of_code(&above.join(name), closed)));
            }
            // There it lies among what has nothing to do with it.
            None if is_shared(folder) => {}
            None => grants.extend(folder_of_code(folder, closed)),
        }
    }
    if let (Some(named), Some(deeper)) = (interpreter(&real), depth.checked_sub(1)) {
        surround(&named, (closed, written), deeper, grants);
    }
}

/// A folder of code to read and execute. Where landlord's own folders lie in it, as they do on a laptop, all of it but those.
pub(super) fn folder_of_code(folder: &Path, closed: &[PathBuf]) -> Vec<Grant> {
    let Ok(real) = folder.canonicalize() else { return Vec::new() };
    if !closed.iter().any(|closed| closed.starts_with(&real)) {
        return vec![Grant::new(real, Access::Run)];
    }
    let entries = std::fs::read_dir(&real).into_iter().flatten().flatten().map(|entry| entry.path());
    // Not what a link in it leads to: that may be the very folder that is left out.
    let entries = entries.filter(|path| !path.is_symlink() && !closed.contains(path));
    entries.flat_map(|path| folder_of_code(&path, closed)).collect()
}

/// Somebody's home, or a folder of many things.
fn is_shared(folder: &Path) -> bool {
    const SHARED: [&str; 10] = ["/", "/etc", "/home", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/var"];
    SHARED.iter().any(|shared| folder == Path::new(shared)) || folder.parent() == Some(Path::new("/home"))
}

/// The program that stands after `#!`. What `env` finds in PATH is in the system's folders, or in `[sandbox] read`.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let mut head = [0; 256];
    let read = File::open(script).ok()?.read(&mut head).ok()?;
    let line = head[..read].strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let word = line.split(|byte| byte.is_ascii_whitespace()).find(|word| !word.is_empty())?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(word)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// What is granted, below `dir`.
    fn below(dir: &Path, grants: &[Grant]) -> Vec<String> {
        let names = grants.iter().filter_map(|grant| grant.path.strip_prefix(dir).ok());
        let mut names: Vec<String> = names.map(|path| path.display().to_string()).collect();
        names.sort();
        names.dedup();
        names
    }

    #[test]
    fn a_program_brings_its_installation_or_its_folder_and_no_home() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().canonicalize().unwrap();
        for folder in ["jdk/bin", "jdk/lib", "jdk/src", "venv/bin", "venv/lib", "app", "state/acme"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        fs::write(dir.join("jdk/bin/java"), "").unwrap();
        fs::write(dir.join("venv/pyvenv.cfg"), "").unwrap();
        fs::write(dir.join("app/run"), format!("#! {}/venv/bin/python -u\n", dir.display())).unwrap();
        symlink(dir.join("jdk/bin/java"), dir.join("venv/bin/python")).unwrap();
        symlink(dir.join("app/run"), dir.join("state/acme/run")).unwrap();
        let closed = [dir.join("state")];
        let java = ["jdk/bin", "jdk/bin/java", "jdk/lib"];
        assert_eq!(below(&dir, &program(&dir.join("jdk/bin/java"), &closed, &[])), java);
        let python = [&java[..], &["venv/bin", "venv/lib", "venv/pyvenv.cfg"]].concat();
        assert_eq!(below(&dir, &program(&dir.join("venv/bin/python"), &closed, &[])), python);
        assert_eq!(
            below(&dir, &program(&dir.join("app/run"), &closed, &[])),
            [&["app", "app/run"], &python[..]].concat()
        );
        assert_eq!(program(&dir.join("state/acme/run"), &closed, &[]), [], "a tenant's own link opens nothing");
        let written = [dir.join("app")];
        assert_eq!(program(&dir.join("app/run"), &closed, &written), [], "nor a first line that it can write");
        assert!(is_shared(Path::new("/home/dev")) && is_shared(Path::new("/")) && !is_shared(Path::new("/app")));
    }

    #[test]
    fn what_is_closed_is_left_out_of_the_folder_around_it() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().canonicalize().unwrap();
        for folder in ["src", ".landlord/tenants", "deep/state", "deep/lib"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        symlink(".landlord", dir.join("link")).unwrap();
        let closed = [".landlord", "deep/state", "landlord.toml"].map(|own| dir.join(own));
        fs::write(&closed[2], "").unwrap();
        assert_eq!(below(&dir, &folder_of_code(&dir, &closed)), ["deep/lib", "src"]);
        assert_eq!(below(&dir, &folder_of_code(&dir.join("src"), &closed)), ["src"]);
    }
}
