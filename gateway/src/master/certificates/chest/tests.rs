use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    time::{Duration, SystemTime},
};

use super::*;
use crate::master::certificates::x509::tests::{Made, made};

fn domain(host: &str) -> Subject {
    Subject::Domain(host.parse().unwrap())
}

fn reason(loaded: Loaded) -> String {
    match loaded {
        Loaded::PutAside(reason) => reason,
        Loaded::Good { .. } => panic!("served"),
        Loaded::Missing => panic!("missing"),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

#[test]
fn what_is_stored_is_what_is_loaded() {
    let temp = tempfile::tempdir().unwrap();
    let chest = Chest::open(temp.path());
    let zone = Subject::Zone("apps.test".parse().unwrap());
    let made = made(&["apps.test", "*.apps.test"], |_| {});
    assert!(matches!(chest.load(&zone), Loaded::Missing));
    let (stored, said) = chest.store(&zone, &made.chain(), &made.key).unwrap();
    assert_eq!(stored.names, ["*.apps.test", "apps.test"]);
    assert_eq!(names(temp.path()), ["_.apps.test.pem"]);
    assert_eq!(fs::metadata(temp.path().join("_.apps.test.pem")).unwrap().mode() & 0o7777, 0o600);
    let Loaded::Good { certificate, read } = chest.load(&zone) else { panic!("not loaded") };
    assert!(certificate == stored && read == said);
    assert!(matches!(chest.load(&domain("apps.test")), Loaded::Missing), "the apex alone is another subject");
}

#[test]
fn what_cannot_be_served_is_not_stored_and_the_old_one_stays() {
    let temp = tempfile::tempdir().unwrap();
    let chest = Chest::open(temp.path());
    let (subject, good, other) = (domain("a.test"), made(&["a.test"], |_| {}), made(&["b.test"], |_| {}));
    chest.store(&subject, &good.chain(), &good.key).unwrap();
    let ended = made(&["a.test"], |it| it.not_after = (SystemTime::now() - Duration::from_secs(60)).into());
    let error = |made: &Made, key: &str| chest.store(&subject, &made.chain(), key).err().unwrap();
    assert!(error(&good, &other.key).contains("not that of the certificate"));
    assert!(error(&other, &other.key).contains("not for a.test"));
    assert!(error(&ended, &ended.key).contains("has ended"));
    let Loaded::Good { certificate, .. } = chest.load(&subject) else { panic!("not loaded") };
    assert_eq!(certificate.chain_pem, good.chain());

    // As a full disk: there is no way to write.
    let away = Chest::open(&temp.path().join("away"));
    let error = away.store(&subject, &good.chain(), &good.key).err().unwrap();
    assert!(error.contains("away/a.test.pem: No such file"), "{error}");
}

#[test]
fn a_bad_file_is_put_aside_and_no_other_is_hurt() {
    let temp = tempfile::tempdir().unwrap();
    let chest = Chest::open(temp.path());
    let (a, b) = (made(&["a.test"], |_| {}), made(&["b.test"], |_| {}));
    chest.store(&domain("b.test"), &b.chain(), &b.key).unwrap();
    let hour = Duration::from_secs(3600);
    let ended = made(&["a.test"], |it| it.not_after = (SystemTime::now() - hour / 2).into());
    let early = made(&["a.test"], |it| it.not_before = (SystemTime::now() + hour).into());
    let whole = |made: &Made| format!("{}{}", made.key, made.chain());
    let cases = [
        (String::new(), "it is empty"),
        (whole(&a)[..whole(&a).len() / 2].to_owned(), "cut off"),
        (format!("{}{}", b.key, a.chain()), "not that of the certificate"),
        (a.chain(), "no private key"),
        (a.key.clone(), "no certificate"),
        (whole(&b), "not for a.test"),
        (whole(&ended), "it has ended at"),
        (whole(&early), "it begins at"),
        ("\0\0\0".to_owned(), "no private key"),
    ];
    for (text, part) in &cases {
        let file = temp.path().join("a.test.pem");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let reason = reason(chest.load(&domain("a.test")));
        assert!(reason.contains(part), "{reason}, not {part}");
        assert!(!file.exists());
        assert!(matches!(chest.load(&domain("b.test")), Loaded::Good { .. }));
    }
    let aside = names(temp.path()).iter().filter(|name| name.starts_with("a.test.pem.bad-")).count();
    assert_eq!(aside, cases.len(), "each is kept");
}

#[test]
fn only_a_regular_file_of_ours_is_read() {
    let temp = tempfile::tempdir().unwrap();
    let chest = Chest::open(temp.path());
    let a = made(&["a.test"], |_| {});
    let (subject, file) = (domain("a.test"), temp.path().join("a.test.pem"));
    chest.store(&domain("a.test"), &a.chain(), &a.key).unwrap();
    fs::rename(&file, temp.path().join("elsewhere")).unwrap();
    symlink(temp.path().join("elsewhere"), &file).unwrap();
    assert_eq!(reason(chest.load(&subject)), "it is a symlink, not a regular file");
    assert!(temp.path().join("elsewhere").exists());
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(reason(chest.load(&subject)), "it is a FIFO, not a regular file");
    fs::create_dir(&file).unwrap();
    assert_eq!(reason(chest.load(&subject)), "it is a folder, not a regular file");
    fs::write(&file, vec![b'x'; 300 << 10]).unwrap();
    assert!(reason(chest.load(&subject)).contains("at most"));
}

#[test]
fn a_key_that_others_could_read_is_closed_to_them() {
    let temp = tempfile::tempdir().unwrap();
    let chest = Chest::open(temp.path());
    let a = made(&["a.test"], |_| {});
    chest.store(&domain("a.test"), &a.chain(), &a.key).unwrap();
    let file = temp.path().join("a.test.pem");
    for mode in [0o644, 0o666, 0o640, 0o4600] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        assert!(matches!(chest.load(&domain("a.test")), Loaded::Good { .. }), "{mode:o}");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    }
}

#[test]
fn a_clock_that_is_behind_puts_nothing_aside() {
    let temp = tempfile::tempdir().unwrap();
    let chest = Chest::open(temp.path());
    let early = made(&["a.test"], |it| it.not_before = (SystemTime::now() + Duration::from_secs(3600)).into());
    chest.store(&domain("a.test"), &early.chain(), &early.key).unwrap();
    // Written, as far as this clock knows, in two hours.
    let file = fs::File::options().append(true).open(temp.path().join("a.test.pem")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(7200)).unwrap();
    assert!(matches!(chest.load(&domain("a.test")), Loaded::Good { .. }));
}

/// Not a test of speed: what ten thousand cost, told by `cargo test --release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "a measurement")]
fn load_time() {
    let temp = tempfile::tempdir().unwrap();
    let chest = Chest::open(temp.path());
    let hosts: Vec<_> = (0..1000).map(|n| format!("shop-{n}.example")).collect();
    for host in &hosts {
        let made = made(&[host], |_| {});
        fs::write(temp.path().join(format!("{host}.pem")), format!("{}{}", made.key, made.chain())).unwrap();
    }
    let begin = std::time::Instant::now();
    let loaded: Vec<_> = hosts.iter().map(|host| chest.load(&domain(host))).collect();
    println!("{} loaded in {:?}", loaded.len(), begin.elapsed());
    assert!(loaded.iter().all(|it| matches!(it, Loaded::Good { .. })));
}
