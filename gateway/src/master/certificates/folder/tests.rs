use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    time::{Duration, SystemTime},
};

use super::*;
use crate::master::certificates::x509::tests::{Made, made};

fn days(days: u64) -> impl FnOnce(&mut rcgen::CertificateParams) {
    move |it| it.not_after = (SystemTime::now() + Duration::from_secs(days * 86_400)).into()
}

fn whole(made: &Made) -> String {
    format!("{}{}", made.chain(), made.key)
}

/// What serves each of these hosts.
fn serving(folder: &mut Folder, hosts: &[&str]) -> Vec<(String, String)> {
    let hosts: Vec<Host> = hosts.iter().map(|host| host.parse().unwrap()).collect();
    let mut all = Vec::new();
    for certificate in folder.cover(hosts.iter()).certificates {
        all.extend(certificate.names.iter().map(|name| (name.clone(), certificate.chain_pem.clone())));
    }
    all.sort();
    all
}

fn is_served(folder: &mut Folder, host: &str, made: &Made) -> bool {
    serving(folder, &[host]) == [(host.to_owned(), made.chain())]
}

fn temp() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    fs::set_permissions(temp.path(), Permissions::from_mode(0o755)).unwrap();
    temp
}

#[test]
fn every_layout_is_read() {
    let temp = temp();
    let at = |name: &str| temp.path().join(name);
    let all: Vec<Made> = (0..5).map(|n| made(&[&format!("{n}.test")], |_| {})).collect();
    fs::write(at("0.pem"), whole(&all[0])).unwrap();
    for (n, ending) in [(1, "crt"), (2, "cer"), (3, "pem")] {
        fs::write(at(&format!("{n}.example.{ending}")), all[n].chain()).unwrap();
        fs::write(at(&format!("{n}.example.key")), &all[n].key).unwrap();
    }
    // As certbot has it: links into an archive.
    fs::create_dir_all(at("live/4.test")).unwrap();
    fs::create_dir_all(at("archive")).unwrap();
    for (link, file, text) in [("fullchain", "chain1", all[4].chain()), ("privkey", "key1", all[4].key.clone())] {
        fs::write(at(&format!("archive/{file}")), text).unwrap();
        symlink(at(&format!("archive/{file}")), at(&format!("live/4.test/{link}.pem"))).unwrap();
    }
    symlink(at("live/4.test"), at("4.test")).unwrap();
    for other in ["README", ".0.pem.swp", "live/README"] {
        fs::write(at(other), "no certificate").unwrap();
    }
    let mut folder = Folder::open(temp.path());
    assert_eq!(folder.notice(), None);
    let served = serving(&mut folder, &["0.test", "1.test", "2.test", "3.test", "4.test"]);
    let wanted: Vec<_> = all.iter().enumerate().map(|(n, it)| (format!("{n}.test"), it.chain())).collect();
    assert_eq!(served, wanted);
    assert!(!folder.look(), "nothing has changed");

    // certbot renews: new files, then the links turn.
    let new = made(&["4.test"], |_| {});
    for (link, file, text) in [("fullchain", "chain2", new.chain()), ("privkey", "key2", new.key.clone())] {
        fs::write(at(&format!("archive/{file}")), text).unwrap();
        fs::remove_file(at(&format!("live/4.test/{link}.pem"))).unwrap();
        symlink(at(&format!("archive/{file}")), at(&format!("live/4.test/{link}.pem"))).unwrap();
        assert!(folder.look());
        let half = link == "fullchain";
        assert!(is_served(&mut folder, "4.test", if half { &all[4] } else { &new }), "{link}");
        assert_eq!(folder.notice().is_some(), half);
    }
}

#[test]
fn what_was_good_is_served_until_something_better_comes() {
    let temp = temp();
    let file = temp.path().join("a.pem");
    let (first, second) = (made(&["a.test"], days(60)), made(&["a.test"], days(30)));
    fs::write(&file, whole(&first)).unwrap();
    let mut folder = Folder::open(temp.path());
    for bad in
        [String::new(), whole(&second)[..900].to_owned(), second.chain(), format!("{}{}", second.chain(), first.key)]
    {
        fs::write(&file, bad).unwrap();
        assert!(folder.look());
        assert!(is_served(&mut folder, "a.test", &first));
        assert!(folder.notice().unwrap().contains("a.pem: "));
    }
    fs::write(&file, whole(&second)).unwrap();
    assert!(folder.look());
    assert!(is_served(&mut folder, "a.test", &second), "the newest of one file counts, whenever it ends");
    assert_eq!(folder.notice(), None);

    // It is gone, and comes back elsewhere.
    fs::remove_file(&file).unwrap();
    assert!(folder.look() && is_served(&mut folder, "a.test", &second));
    assert!(folder.notice().unwrap().contains("it is gone"));
    fs::write(temp.path().join("b.pem"), whole(&first)).unwrap();
    assert!(folder.look() && is_served(&mut folder, "a.test", &first));
    assert_eq!(folder.notice(), None, "nothing needs what is gone");
    fs::remove_file(temp.path().join("b.pem")).unwrap();
    assert!(folder.look() && is_served(&mut folder, "a.test", &first));

    // The folder itself is gone.
    fs::remove_dir(temp.path()).unwrap();
    assert!(folder.look() && !folder.look(), "said once");
    assert!(is_served(&mut folder, "a.test", &first));
    assert!(folder.notice().unwrap().contains("No such file"));
    fs::create_dir(temp.path()).unwrap();
}

#[test]
fn the_one_that_ends_last_serves_and_hosts_without_one_are_said() {
    let temp = temp();
    let (wide, long) = (made(&["*.test", "a.org"], days(30)), made(&["a.test"], days(60)));
    fs::write(temp.path().join("wide.pem"), whole(&wide)).unwrap();
    fs::write(temp.path().join("long.pem"), whole(&long)).unwrap();
    let mut folder = Folder::open(temp.path());
    let served = serving(&mut folder, &["a.test", "b.test", "a.org", "b.org"]);
    let wanted = [("a.org", &wide), ("a.test", &long), ("b.test", &wide)];
    assert_eq!(served, wanted.map(|(host, it)| (host.to_owned(), it.chain())));
    assert_eq!(
        folder.notice().unwrap(),
        format!("certificates: no certificate in {} is for b.org", temp.path().display())
    );
}

#[test]
fn only_the_operators_own_folder_is_read_by_root() {
    if !nix::unistd::geteuid().is_root() {
        // Who is not root reads what it may: there is nothing to try.
        return;
    }
    let temp = temp();
    let file = temp.path().join("a.pem");
    fs::write(&file, whole(&made(&["a.test"], |_| {}))).unwrap();
    let said = || Folder::open(temp.path()).notice().unwrap_or_default();
    assert_eq!(said(), "");
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    mode(temp.path(), 0o775);
    assert!(said().contains("can be written by others: run `chmod go-w`"), "{}", said());
    mode(temp.path(), 0o755);
    std::os::unix::fs::chown(temp.path(), Some(4711), None).unwrap();
    assert!(said().contains("belongs to uid 4711"), "{}", said());
    std::os::unix::fs::chown(temp.path(), Some(0), None).unwrap();
    mode(&file, 0o666);
    assert!(said().contains("a.pem can be written by others"), "{}", said());
}
