use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use nix::{
    fcntl::{FallocateFlags, fallocate, openat},
    sys::stat::{Mode, mkdirat},
};

use super::*;

fn bounds() -> Bounds {
    Bounds { until: Instant::now() + Duration::from_secs(60), ..Bounds::default() }
}

fn count(above: &Path, bounds: &Bounds) -> Sum {
    sum(File::open(above).unwrap().as_fd(), "acme", bounds).unwrap()
}

fn fill(path: &Path, bytes: i64) {
    fallocate(File::create(path).unwrap(), FallocateFlags::empty(), 0, bytes).unwrap();
}

/// What find(1) says, which follows nothing: of each inode its blocks of 512 bytes, or as much as counts at the least.
fn found(folder: &Path) -> u64 {
    let told = std::process::Command::new("find").arg(folder).args(["-xdev", "-printf", "%i %b\n"]).output().unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    let inodes: BTreeMap<&str, &str> = text.lines().map(|line| line.split_once(' ').unwrap()).collect();
    inodes.values().map(|blocks| (blocks.parse::<u64>().unwrap() * 512).max(LEAST)).sum()
}

#[test]
fn every_block_counts_once_and_nothing_outside() {
    let temp = tempfile::tempdir().unwrap();
    let acme = temp.path().join("acme");
    fs::create_dir_all(acme.join("files/uploads")).unwrap();
    fill(&temp.path().join("outside"), 1 << 20);
    fill(&acme.join("files/one"), 100_000);
    fill(&acme.join("files/uploads/two"), 300_000);
    for nth in 0..500 {
        fs::hard_link(acme.join("files/one"), acme.join(format!("files/link-{nth}"))).unwrap();
    }
    symlink("/", acme.join("root")).unwrap();
    symlink("..", acme.join("files/up")).unwrap();
    symlink(temp.path().join("outside"), acme.join("aside")).unwrap();
    nix::unistd::mkfifo(&acme.join("fifo"), Mode::S_IRWXU).unwrap();
    // A hole takes up no more than an empty file.
    File::create(acme.join("hole")).unwrap().set_len(1 << 40).unwrap();
    let sum = count(temp.path(), &bounds());
    assert_eq!((sum.bytes, sum.entries, sum.whole), (found(&acme), 3 + 2 + 500 + 3 + 2, true));

    // Nor is one empty for nothing, for a disk has only so many of them.
    fs::create_dir(acme.join("crowd")).unwrap();
    for nth in 0..1000 {
        File::create(acme.join(format!("crowd/{nth}"))).unwrap();
    }
    let more = count(temp.path(), &bounds());
    assert!(more.bytes >= sum.bytes + 1000 * LEAST, "{more:?} after {sum:?}");

    // Of links that cannot be remembered, each counts as its part.
    let sum = count(temp.path(), &Bounds { links: 0, ..bounds() });
    assert!(sum.bytes.abs_diff(found(&acme)) <= 501, "{sum:?}");

    assert_eq!(
        super::sum(File::open(temp.path()).unwrap().as_fd(), "beta", &bounds()).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    symlink("/", temp.path().join("beta")).unwrap();
    super::sum(File::open(temp.path()).unwrap().as_fd(), "beta", &bounds()).unwrap_err();
}

#[test]
fn what_is_closed_to_the_counter_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let acme = temp.path().join("acme");
    for (folder, mode) in [("nothing", 0), ("names only", 0o400), ("no names", 0o300)] {
        fs::create_dir_all(acme.join(folder)).unwrap();
        fill(&acme.join(folder).join("file"), 1 << 20);
        fs::set_permissions(acme.join(folder), fs::Permissions::from_mode(mode)).unwrap();
        // As root, the counter has a capability for just this.
        let sum = count(temp.path(), &bounds());
        let root = nix::unistd::geteuid().is_root();
        assert_eq!((sum.whole, sum.closed, sum.bytes > 1 << 20), (root, !root, root), "{folder}: {sum:?}");
        fs::set_permissions(acme.join(folder), fs::Permissions::from_mode(0o700)).unwrap();
        fs::remove_dir_all(acme.join(folder)).unwrap();
    }
}

/// A chain of folders, each with a file and a side folder with another one.
fn dig(acme: &Path, levels: usize, name: &str) {
    let mut here: OwnedFd = File::open(acme).unwrap().into();
    for _ in 0..levels {
        mkdirat(&here, name, Mode::S_IRWXU).unwrap();
        mkdirat(&here, "side", Mode::S_IRWXU).unwrap();
        here = openat(&here, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    }
}

#[test]
fn thousands_of_levels_need_no_more_descriptors_than_allowed() {
    // In memory: a disk takes long for so many folders.
    let temp = tempfile::tempdir_in("/dev/shm").unwrap();
    let acme = temp.path().join("acme");
    fs::create_dir(&acme).unwrap();
    dig(&acme, 3_000, "a name that makes the path longer than any call takes");
    let begun = Instant::now();
    let sum = count(temp.path(), &Bounds { open: 64, ..bounds() });
    assert_eq!((sum.entries, sum.whole), (6_001, true));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());

    // With no room for the names of all of them, it says so and ends.
    let sum = count(temp.path(), &Bounds { names: 10_000, ..bounds() });
    assert!(!sum.whole && sum.entries < 6_001, "{sum:?}");
    // std's way of removing it would need as many descriptors as there are levels.
    assert!(std::process::Command::new("rm").arg("-rf").arg(&acme).status().unwrap().success());
}

#[test]
fn it_ends_in_time() {
    let temp = tempfile::tempdir().unwrap();
    let acme = temp.path().join("acme");
    fs::create_dir_all(acme.join("below")).unwrap();
    let sum = count(temp.path(), &Bounds { until: Instant::now(), ..bounds() });
    assert!(!sum.whole);
}

#[test]
fn whoever_swaps_folders_for_links_leads_nobody_outside() {
    let temp = tempfile::tempdir().unwrap();
    let (acme, outside) = (temp.path().join("acme"), temp.path().join("outside"));
    fs::create_dir_all(acme.join("real/deeper")).unwrap();
    fs::create_dir_all(outside.join("deeper")).unwrap();
    // Far more than all that acme has: one step outside would show.
    fill(&outside.join("deeper/treasure"), 64 << 20);
    fill(&outside.join("treasure"), 64 << 20);
    symlink(&outside, acme.join("link")).unwrap();
    let most = 1 << 20;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
            let (real, link) = (acme.join("real"), acme.join("link"));
            while !over.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &real, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE).unwrap();
            }
        });
        for _ in 0..2000 {
            let sum = count(temp.path(), &bounds());
            assert!(sum.bytes < most, "{sum:?}");
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(fs::metadata(outside.join("treasure")).unwrap().blocks() * 512 > most);
}
