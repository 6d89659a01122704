//! State files that a disk, a crash or a hand has spoilt: each is healed or put aside with a loud line, its own tenant is
//! served where its file says so, and nobody else notices.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use harness::{Landlord, Setup, chaos::Dice, eventually_async, hostile::tell};
use serde_json::json;

const TENANTS: [&str; 3] = ["acme", "beta", "core"];

/// How a file is spoilt.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// It ends somewhere in the middle.
    Cut(usize),
    /// One bit of it is another.
    Flipped(usize, u8),
    /// It is there and has nothing in it.
    Empty,
    /// Everybody may write to it.
    Open,
    /// It is a folder.
    Folder,
    /// It is not there any more.
    Gone,
}

impl Damage {
    fn all(dice: &mut Dice, length: usize) -> Vec<Self> {
        let mut all = vec![Self::Empty, Self::Open, Self::Folder, Self::Gone];
        if length > 1 {
            all.extend((0..2).map(|_| Self::Cut(1 + dice.below(length - 1))));
            all.extend((0..2).map(|_| Self::Flipped(dice.below(length), 1 << dice.below(8))));
        }
        all
    }

    fn deal(self, file: &Path) {
        let mut bytes = fs::read(file).expect("the file as it was left");
        match self {
            Self::Cut(at) => fs::write(file, &bytes[..at.min(bytes.len())]).expect("written"),
            Self::Flipped(at, bit) => {
                let at = at.min(bytes.len() - 1);
                bytes[at] ^= bit;
                fs::write(file, bytes).expect("written");
            }
            Self::Empty => fs::write(file, "").expect("written"),
            Self::Open => fs::set_permissions(file, fs::Permissions::from_mode(0o666)).expect("our own file"),
            Self::Folder => {
                fs::remove_file(file).expect("removed");
                fs::create_dir(file).expect("made");
            }
            Self::Gone => fs::remove_file(file).expect("removed"),
        }
    }
}

/// Three companies on the bundled worker, each a user of its own where landlord is root, each with a notice.
async fn house() -> Landlord {
    let mut setup = Setup::new().default_app("workspace");
    if nix::unistd::geteuid().is_root() {
        setup = setup.tables("[users]\nfirst = 71000\nlast = 71099\n");
    }
    let mut landlord = TENANTS.iter().fold(setup, |setup, name| setup.tenant(name, "")).prepare();
    fs::set_permissions(landlord.dir(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    landlord.start_again();
    for name in TENANTS {
        landlord.wait_state(name, "running");
        let body = json!({"author": name, "body": format!("a notice of {name}")}).to_string();
        let fields = [("Content-Type", "application/json")];
        let answer = landlord.site(name).request("POST", "/api/notices", &fields, body.as_bytes()).await;
        assert_eq!(answer.expect("an answer").status, 201);
    }
    landlord
}

fn owners(landlord: &Landlord) -> BTreeMap<&'static str, u32> {
    TENANTS.iter().map(|name| (*name, fs::metadata(landlord.folder(name)).expect("its folder").uid())).collect()
}

/// Everybody runs, serves its own board with its own notice, and is who it was.
async fn assert_all_serve(landlord: &Landlord, what: &str, owners_before: &BTreeMap<&'static str, u32>) {
    for name in TENANTS {
        landlord.wait_state(name, "running");
        let site = landlord.site(name);
        let text = eventually_async(format!("{name} serves ({what})"), async || {
            let answer = site.get("/api/notices").await.ok()?;
            (answer.status == 200).then(|| answer.text())
        })
        .await;
        for other in TENANTS {
            let there = text.contains(&format!("a notice of {other}"));
            assert_eq!(there, other == name, "{what}: the board of {name}: {text}");
        }
    }
    assert_eq!(&owners(landlord), owners_before, "{what}: everybody has kept its uid");
}

/// Stops the gateway, spoils one file in every way, and starts it again after each.
async fn spoil(landlord: &mut Landlord, file: &Path, dice: &mut Dice, must_say: bool) {
    let owners = owners(landlord);
    landlord.stop();
    let length = fs::read(file).expect("a state file").len();
    for damage in Damage::all(dice, length) {
        let name = file.strip_prefix(landlord.dir()).expect("it is in its folder").display().to_string();
        let what = format!("{name}: {damage:?}");
        tell(&what);
        let kept = fs::read(file).expect("the file as it was left");
        damage.deal(file);
        landlord.start_again();
        assert_all_serve(landlord, &what, &owners).await;
        let damaged =
            matches!(damage, Damage::Cut(_) | Damage::Folder) || (matches!(damage, Damage::Empty) && length > 0);
        if must_say && damaged {
            let said = landlord.err().text();
            let stem = file.file_name().expect("a name").to_string_lossy().into_owned();
            let loud =
                said.lines().any(|line| line.contains(&stem) && (line.contains("ERROR") || line.contains("WARN")));
            assert!(loud, "{what}: not a word of it:\n{said}");
        }
        landlord.stop();
        assert!(file.is_file() || !damaged || !must_say, "{what}: it was not healed");
        if !file.is_file() {
            let _ = fs::remove_dir(file);
            fs::write(file, kept).expect("put back");
        }
    }
    landlord.start_again();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a state folder")
        .flatten()
        .map(|entry| entry.path())
        .filter(|p| p.is_file())
        .collect();
    files.sort();
    files
}

fn dice() -> Dice {
    let seed = harness::chaos::seed();
    tell(format_args!("LANDLORD_CHAOS_SEED={seed}"));
    Dice::new(seed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoilt_record_is_its_own_tenants_trouble() {
    let (mut landlord, mut dice) = (house().await, dice());
    let record = landlord.state().join("records/acme.json");
    spoil(&mut landlord, &record, &mut dice, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spoilt_numbers_and_a_spoilt_lock_stop_nobody() {
    let (mut landlord, mut dice) = (house().await, dice());
    let before = landlord.entry("acme").generation;
    for name in ["generation", "lock"] {
        let file = landlord.state().join(name);
        spoil(&mut landlord, &file, &mut dice, false).await;
    }
    assert!(landlord.entry("acme").generation > before, "a number is never used twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spoilt_logs_stop_nobody() {
    let (mut landlord, mut dice) = (house().await, dice());
    for name in ["access.log", "acme.log"] {
        let file = landlord.state().join("logs").join(name);
        harness::eventually("there is a log", || file.is_file().then_some(()));
        spoil(&mut landlord, &file, &mut dice, false).await;
    }
}

/// An authority cannot be made again behind people's backs: they trust the one they have. So landlord either goes on with
/// it, or makes a new one and says so; it serves in any case.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoilt_authority_is_replaced_aloud() {
    let (mut landlord, mut dice) = (house().await, dice());
    for file in files(&landlord.state().join("certs")) {
        spoil(&mut landlord, &file, &mut dice, false).await;
    }
}
