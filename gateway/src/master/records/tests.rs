use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use super::*;

/// As it was written by the first format.
const VERSION_1: &str = include_str!("version-1.json");

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

fn private(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A folder of records that holds `acme`'s in the first format, and nothing else.
fn folder() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    private(&temp.path().join("acme.json"), VERSION_1.as_bytes());
    temp
}

#[test]
fn a_lost_record_does_not_lose_the_uid() {
    let temp = tempfile::tempdir().unwrap();
    let (folder, tenants) = (temp.path().join("records"), temp.path().join("tenants"));
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(tenants.join("acme")).unwrap();
    let uid = tenants.metadata().unwrap().uid();
    fs::write(folder.join("acme.json"), "torn").unwrap();

    let mut records = Records::open(folder.clone()).unwrap();
    records.adopt(temp.path(), UserRange { first: uid + 1, last: uid + 9 });
    assert_eq!(records.of(&acme()).uid, None, "not a tenant's uid");
    records.adopt(temp.path(), UserRange { first: uid, last: uid + 9 });
    assert_eq!(records.of(&acme()).uid, Some(uid));
    assert_eq!(Records::open(folder).unwrap().of(&acme()).uid, Some(uid), "kept on disk");
}

#[test]
fn the_first_format_is_read_still() {
    let temp = folder();
    let mut records = Records::open(temp.path().into()).unwrap();
    let record = records.of(&acme());
    let (spec, digest) = record.last_good.clone().unwrap();
    assert_eq!((record.stopped, record.uid, record.migrating, record.present), (false, None, None, true));
    assert_eq!(
        (spec.company.as_str(), spec.limits.memory, spec.env["N"].as_str()),
        ("Acme Corp", Some(256 << 20), "7")
    );
    assert!(digest.0.starts_with("3735c933") && record.hosts.len() == 3);

    let changed = Record { migrating: Some(GenerationId(7)), ..record };
    records.remember(&acme(), changed.clone());
    let text = fs::read_to_string(temp.path().join("acme.json")).unwrap();
    assert!(text.starts_with(r#"{"version":2,"sum":""#), "{text}");
    assert_eq!(Records::open(temp.path().into()).unwrap().of(&acme()), changed);
}

#[test]
fn a_bad_record_hurts_its_own_tenant_only() {
    let temp = folder();
    let globex: TenantName = "globex".parse().unwrap();
    let mut records = Records::open(temp.path().into()).unwrap();
    let record = Record { uid: Some(5), ..records.of(&acme()) };
    records.remember(&acme(), record.clone());
    records.remember(&globex, record.clone());
    let path = temp.path().join("acme.json");
    let bytes = fs::read(&path).unwrap();

    let is_lost = |what: &str| {
        let records = Records::open(temp.path().into()).unwrap();
        assert_eq!(records.of(&acme()), Record::default(), "{what}");
        assert_eq!(records.of(&globex), record, "{what}");
        assert!(!path.exists(), "{what}: it is put aside");
    };
    // Every bit of every byte is tried where the files are read: here it matters who is hurt.
    for cut in (0..bytes.len()).step_by(97) {
        private(&path, &bytes[..cut]);
        is_lost(&format!("cut off after {cut}"));
        let mut flipped = bytes.clone();
        flipped[cut] ^= 0x10;
        private(&path, &flipped);
        is_lost(&format!("a bit of {cut} flipped"));
    }
    for mode in [0o666, 0o640] {
        private(&path, &bytes);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        is_lost(&format!("mode {mode:o}"));
    }
    fs::create_dir(&path).unwrap();
    is_lost("a folder");
    symlink("globex.json", &path).unwrap();
    is_lost("a symlink");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    is_lost("a FIFO");
}

#[test]
fn what_was_half_written_is_swept_away() {
    let temp = folder();
    let half = temp.path().join(".acme.json.77.0.tmp");
    fs::write(&half, "{").unwrap();
    let records = Records::open(temp.path().into()).unwrap();
    assert!(!half.exists() && records.of(&acme()).present);
}

#[test]
fn no_number_is_given_twice_whatever_became_of_the_file() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("generation");
    let mut given = BTreeSet::new();
    let mut take = |what: &str, first_life: bool| {
        let mut numbers = Numbers::open(file.clone(), first_life);
        for _ in 0..3 {
            assert!(given.insert(numbers.next()), "{what}: a number is used twice");
        }
        *given.last().unwrap()
    };
    assert_eq!(take("the first life", true), GenerationId(3));
    take("another life", false);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, "400000\n").unwrap();
    assert_eq!(take("the first format", false), GenerationId(400_002));

    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        private(&file, &flipped);
        assert!(Numbers::open(file.clone(), true).next().0 > 1_700_000_000, "bit {bit} flipped");
    }
    for cut in 0..bytes.len() {
        private(&file, &bytes[..cut]);
        assert!(Numbers::open(file.clone(), true).next().0 > 1_700_000_000, "cut off after {cut}");
    }
    // A number of the first format that lost its end is smaller than it was.
    private(&file, b"40000");
    assert!(Numbers::open(file.clone(), true).next().0 > 1_700_000_000);
    fs::remove_file(&file).unwrap();
    assert!(Numbers::open(file, false).next().0 > 1_700_000_000, "lost");
}
