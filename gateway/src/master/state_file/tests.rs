use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
};

use super::*;

type Sample = BTreeMap<String, Option<u64>>;

fn sample() -> Sample {
    BTreeMap::from([("acme \u{e9}\\\"".into(), Some(u64::MAX)), ("b".into(), None)])
}

/// A folder with a good file.
fn good() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("acme.json");
    write(&path, 2, &sample(), Lasting::UntilBoot).unwrap();
    let bytes = fs::read(&path).unwrap();
    (temp, path, bytes)
}

/// It is put aside, as it was, and the name is free.
fn is_put_aside(path: &Path) -> String {
    let Found::PutAside(reason) = read::<Sample>(path, 2) else { panic!("{} is believed", path.display()) };
    assert_eq!(read::<Sample>(path, 2), Found::Missing);
    reason
}

fn private(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn what_was_written_is_found_again() {
    let (_temp, path, _) = good();
    assert_eq!(read(&path, 2), Found::Good(sample()));
    write(&path, 2, &Sample::new(), Lasting::ForEver).unwrap();
    assert_eq!(read(&path, 2), Found::Good(Sample::new()));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn a_file_cut_off_anywhere_is_put_aside() {
    let (_temp, path, bytes) = good();
    for length in 0..bytes.len() {
        private(&path, &bytes[..length]);
        is_put_aside(&path);
    }
    for more in [&b"\n"[..], b" ", b"\0", b"{}"] {
        private(&path, &[&bytes, more].concat());
        let found = read::<Sample>(&path, 2);
        assert!(matches!(&found, Found::PutAside(_)) || found == Found::Good(sample()), "{more:?}: {found:?}");
    }
}

#[test]
fn a_file_with_any_one_bit_flipped_is_put_aside() {
    let (_temp, path, bytes) = good();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        private(&path, &flipped);
        is_put_aside(&path);
    }
}

#[test]
fn a_file_that_others_may_have_touched_is_put_aside() {
    let (_temp, path, bytes) = good();
    for mode in [0o666, 0o640, 0o604, 0o620, 0o660, 0o777, 0o4600] {
        private(&path, &bytes);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(is_put_aside(&path), format!("its mode is {mode:04o}, not 0600"));
    }
    if nix::unistd::geteuid().is_root() {
        private(&path, &bytes);
        std::os::unix::fs::chown(&path, Some(4321), None).unwrap();
        assert_eq!(is_put_aside(&path), "it belongs to uid 4321, not to 0");
    }
}

#[test]
fn what_is_no_file_is_put_aside() {
    let (temp, path, bytes) = good();
    let elsewhere = temp.path().join("elsewhere");
    private(&elsewhere, &bytes);
    fs::remove_file(&path).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert_eq!(is_put_aside(&path), "it is a symlink, not a regular file");
    fs::create_dir_all(path.join("full")).unwrap();
    assert_eq!(is_put_aside(&path), "it is a folder, not a regular file");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(is_put_aside(&path), "it is a FIFO, not a regular file");
    assert_eq!(fs::read(&elsewhere).unwrap(), bytes, "what the link named is untouched");
}

#[test]
fn two_that_are_put_aside_at_once_are_both_kept() {
    let (temp, path, _) = good();
    for nth in 0..20 {
        private(&path, format!("torn {nth}").as_bytes());
        is_put_aside(&path);
    }
    let kept: std::collections::BTreeSet<Vec<u8>> =
        fs::read_dir(temp.path()).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert_eq!(kept.len(), 20);
}

#[test]
fn a_version_of_another_time_is_put_aside_and_says_so() {
    let (_temp, path, _) = good();
    write(&path, 3, &sample(), Lasting::UntilBoot).unwrap();
    assert_eq!(is_put_aside(&path), "its version is 3, this landlord knows 2");
    // Without a sum it can only be the first.
    private(&path, br#"{"version":2,"record":{}}"#);
    is_put_aside(&path);
}
