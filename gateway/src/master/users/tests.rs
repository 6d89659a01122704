use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
};

use super::*;

const RANGE: UserRange = UserRange { first: 70_000, last: 79_999 };

fn gateway(state: &Path, users: Option<UserRange>, users_written: bool) -> Gateway {
    let text = format!("state = {:?}\n", state.join("state"));
    let file = state.join("landlord.toml");
    fs::write(&file, text).unwrap();
    let gateway = config::gateway::load(Some(&file)).unwrap();
    fs::create_dir_all(&gateway.state).unwrap();
    Gateway { users, users_written, ..gateway }
}

fn open(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn who_tenants_are_is_what_is_asked_for_and_what_the_folders_above_allow() {
    let temp = tempfile::tempdir().unwrap();
    let owner = (temp.path().metadata().unwrap().uid(), temp.path().metadata().unwrap().gid());
    let of = |users, written| {
        let gateway = gateway(temp.path(), users, written);
        let found = Users::of(&gateway, true);
        let notice = found.notice(&gateway);
        (found, notice)
    };

    open(temp.path(), 0o711);
    let (found, notice) = of(Some(RANGE), false);
    assert_eq!((found.own, found.out_of_reach(), notice), (Some(RANGE), None, None));
    let (found, notice) = of(None, true);
    assert_eq!((found.own, found.shared, notice), (None, Some((0, 0)), None), "what was asked for is no news");
    assert!(found.wall(&gateway(temp.path(), None, true)).note.contains("users = \"none\""));

    open(temp.path(), 0o700);
    let (found, notice) = of(Some(RANGE), false);
    assert_eq!((found.own, found.shared), (None, Some(owner)), "whoever can pass, and nobody else");
    let notice = notice.unwrap();
    assert!(notice.contains("chmod o+x") && notice.contains(&*temp.path().to_string_lossy()), "{notice}");
    let (found, notice) = of(Some(RANGE), true);
    assert_eq!((found.own, notice), (Some(RANGE), None));
    assert!(
        found.out_of_reach().unwrap().contains("chmod o+x"),
        "what was asked for is refused, and not done otherwise"
    );

    let gateway = gateway(temp.path(), Some(RANGE), true);
    let laptop = Users::of(&gateway, false);
    assert_eq!((laptop.own, laptop.shared, laptop.notice(&gateway)), (None, None, None));
    assert!(!laptop.wall(&gateway).holds);
}

#[test]
fn a_closed_way_with_two_owners_is_nobodys() {
    let at = |uid| (PathBuf::from("/x"), (uid, uid));
    assert_eq!(sole_owner(&[at(0), at(0)]), (0, 0));
    assert_eq!(sole_owner(&[at(1000), at(1000)]), (1000, 1000));
    assert_eq!(sole_owner(&[at(1000), at(0)]), (0, 0));
    assert_eq!(sole_owner(&[]), (0, 0));
}

#[test]
fn real_accounts_and_groups_are_somebody() {
    assert!(is_somebody(0) && is_somebody(1));
    assert!(!is_somebody(79_998), "nobody has this number on a machine for tests");
}

#[test]
fn folders_and_copies_of_whoever_is_gone_keep_their_uids() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let made = |path: &str, uid: u32| {
        let path = temp.path().join(path);
        fs::create_dir_all(&path).unwrap();
        chown(&path, Some(uid), Some(uid)).unwrap();
    };
    made("tenants/gone", 70_001);
    made("tenants/half.making", 70_002);
    made("backups/old", 0);
    made("backups/old/before-7", 70_003);
    made("backups/new", 70_004);
    made("backups/new/before-7", 70_005);
    let mut found = owners(temp.path());
    found.retain(|(uid, _)| *uid != 0);
    found.sort();
    let expected = [(70_001, "gone"), (70_002, "half"), (70_003, "old"), (70_004, "new")];
    assert_eq!(found, expected.map(|(uid, name)| (uid, name.to_owned())));
}
