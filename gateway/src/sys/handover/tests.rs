use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
};

use super::*;

const OLD: u32 = 71_001;
const NEW: (u32, u32) = (71_002, 71_003);

/// Giving away takes root: without it there is nothing to try.
fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.uid(), found.gid())
}

#[test]
fn all_that_was_the_old_owners_is_the_new_ones_and_nothing_else() {
    if !root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let (folder, outside) = (temp.path().join("acme"), temp.path().join("shadow"));
    let at = |name: &str| folder.join(name);
    fs::create_dir_all(at("instance/deep")).unwrap();
    fs::write(&outside, "root:secret").unwrap();
    for name in ["instance/deep/app.db", "program", "twice", "shared", "roots", "neighbours"] {
        fs::write(at(name), name).unwrap();
    }
    fs::set_permissions(at("program"), Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(at("twice"), at("instance/twice")).unwrap();
    fs::hard_link(at("shared"), temp.path().join("elsewhere")).unwrap();
    fs::hard_link(&outside, at("linked")).unwrap();
    symlink(&outside, at("symlink")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    let theirs = ["instance/deep/app.db", "instance/deep", "instance", "program", "twice", "shared", "symlink", "fifo"];
    for name in theirs {
        lchown(at(name), Some(OLD), Some(OLD)).unwrap();
    }
    chown(at("neighbours"), Some(OLD + 7), Some(OLD + 7)).unwrap();
    chown(&folder, Some(OLD), Some(OLD)).unwrap();

    let handed = hand_over(&folder, NEW).unwrap();
    for name in ["instance/deep/app.db", "instance/deep", "instance", "program", "twice", "symlink", "fifo", ""] {
        assert_eq!(owner(&at(name)), NEW, "{name}");
    }
    assert_eq!((handed.given, handed.left, handed.example), (8, 1, Some(at("shared"))));
    assert_eq!(owner(&at("shared")), (OLD, OLD), "one of its names is somewhere else");
    assert_eq!((owner(&at("roots")), owner(&outside)), ((0, 0), (0, 0)));
    assert_eq!(owner(&at("neighbours")).0, OLD + 7);
    assert_eq!(fs::metadata(at("program")).unwrap().mode() & 0o7777, 0o755, "no set-uid bit goes along");
    assert_eq!(hand_over(&folder, NEW).unwrap(), Handed::default(), "it is done");
}

#[test]
fn what_was_broken_off_is_ended_and_what_is_roots_by_another_name_stays() {
    if !root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let (folder, outside) = (temp.path().join("acme"), temp.path().join("shadow"));
    fs::create_dir_all(folder.join("files/old")).unwrap();
    fs::write(folder.join("files/old/a"), "").unwrap();
    fs::write(&outside, "").unwrap();
    fs::hard_link(&outside, folder.join("files/shadow")).unwrap();
    // Half of it was given, the top was not.
    chown(folder.join("files"), Some(NEW.0), Some(NEW.1)).unwrap();
    hand_over(&folder, NEW).unwrap();
    for name in ["", "files", "files/old", "files/old/a"] {
        assert_eq!(owner(&folder.join(name)), NEW, "{name}");
    }
    assert_eq!(owner(&outside), (0, 0));

    // A symlink in place of the folder is not the folder.
    let link = temp.path().join("link");
    symlink(&folder, &link).unwrap();
    hand_over(&link, (OLD, OLD)).unwrap_err();
    assert_eq!(owner(&folder), NEW);

    let deep = temp.path().join("deep");
    let mut path = deep.clone();
    for _ in 0..=DEEPEST + 1 {
        path.push("d");
    }
    fs::create_dir_all(&path).unwrap();
    let said = hand_over(&deep, NEW).unwrap_err().to_string();
    assert!(said.contains("folders deep"), "{said}");
    assert_eq!(owner(&deep), (0, 0), "the top is given last");
}

/// Somebody who owns the folder swaps what is in it for symlinks and hard links while it is given away.
#[test]
fn whoever_races_it_gains_nothing() {
    use std::sync::atomic::{AtomicBool, Ordering};
    if !root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let (folder, outside) = (temp.path().join("acme"), temp.path().join("etc"));
    fs::create_dir_all(folder.join("instance")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("shadow"), "canary").unwrap();
    fs::write(folder.join("instance/shadow"), "own").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (real, aside, bait) = (folder.join("instance"), folder.join("aside"), folder.join("bait"));
            symlink(&outside, &bait).unwrap();
            while !done.load(Ordering::Relaxed) {
                // The names change places; each step may find nothing, for the other side is at work too.
                let _ = fs::rename(&real, &aside);
                let _ = fs::rename(&bait, &real);
                let _ = fs::rename(&real, &bait);
                let _ = fs::rename(&aside, &real);
                let _ = fs::hard_link(outside.join("shadow"), real.join("link"));
                let _ = fs::remove_file(real.join("link"));
            }
        });
        for round in 0..300 {
            hand_over(&folder, (OLD + round % 2, OLD)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    for path in [outside.clone(), outside.join("shadow")] {
        assert_eq!(owner(&path), (0, 0), "{}", path.display());
    }
}
