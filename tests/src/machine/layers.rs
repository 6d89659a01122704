//! What a machine's root is made of: a read-only base, and a layer of the test's own above it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Version;
use crate::binaries;

/// The folder that a machine's root is seen through.
///
/// # Panics
/// When it has not been made.
#[track_caller]
pub(super) fn base(version: Version) -> PathBuf {
    let base = match version {
        Version::V252 => PathBuf::from("/"),
        Version::V257 => binaries::target().join("roots/trixie"),
    };
    let there = base.join("usr/lib/systemd/systemd").exists();
    assert!(there, "no systemd in {}: run scripts/test, which installs it", base.display());
    base
}

/// A folder for layers, on the disk that the binaries are on: they are linked, not copied.
pub(super) fn scratch() -> PathBuf {
    let dir = binaries::target().join("machines");
    fs::create_dir_all(&dir).expect("a folder in target");
    dir
}

/// Where `path` is in `layer`, with the folders on the way made as they are in any root.
pub(super) fn below(layer: &Path, path: &str) -> PathBuf {
    let path = layer.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().expect("not the root")).expect("a folder of a layer");
    path
}

/// A program under another name. Cargo replaces a program's file when it builds, so a linked one stays as it is.
pub(super) fn place(program: &Path, path: &Path) {
    let linked = fs::hard_link(program, path).is_ok();
    if !linked {
        fs::copy(program, path).unwrap_or_else(|error| panic!("{} is copied: {error}", program.display()));
    }
}
