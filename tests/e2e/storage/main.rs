//! Disk space: a disk that is full stops nobody who is served; a tenant that fills its own is told, and nobody else notices.

mod uploads;

use std::{
    fs::{self, File},
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use harness::{
    Entry, Landlord, Setup, eventually,
    small_disk::{SmallDisk, take_up},
};
use nix::{
    fcntl::{AT_FDCWD, OFlag, RenameFlags, openat, renameat2},
    sys::stat::{Mode, mkdirat},
};
use serde_json::Value;

const MIB: i64 = 1 << 20;

/// Bytes on the disk; 0 where there is no such file.
fn blocks(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |found| found.blocks() * 512)
}

/// Every file that landlord finds its own words in again is whole.
#[track_caller]
fn assert_whole(landlord: &Landlord) {
    let records =
        fs::read_dir(landlord.state().join("records")).expect("records").map(|it| it.expect("an entry").path());
    for path in records.chain([landlord.state().join("generation")]) {
        let text = fs::read_to_string(&path).expect("a state file");
        let _: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}: {text:?}", path.display()));
    }
}

#[track_caller]
fn notices(landlord: &Landlord) -> String {
    landlord.landlord(&["status"]).expect(0).stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_nobody_who_is_served() {
    let setup = Setup::new().keys("run = \"run\"").tables("[disk]\nballast = \"8M\"");
    let mut landlord = setup.tenant("acme", "").tenant("beta", "").prepare();
    landlord.put_on_small_disk(64);
    landlord.start_again();
    for name in ["acme", "beta"] {
        landlord.wait_state(name, "running");
    }
    let ballast = landlord.state().join("ballast");
    eventually("the ballast is there, and really takes up its space", || (blocks(&ballast) >= 8 << 20).then_some(()));

    // A tenant fills the disk; what is let go of is not much, and is used up too.
    let big = landlord.folder("acme").join("files/big");
    landlord.small_disk().fill(&big, 1 << 20);
    // Its name goes before its space comes back.
    eventually("the ballast is let go of", || {
        (!ballast.exists() && landlord.small_disk().free() >= 8 << 20).then_some(())
    });
    let more = landlord.folder("acme").join("files/more");
    landlord.small_disk().fill(&more, 0);
    eventually("the disk is told to be full", || {
        notices(&landlord).contains("is full: whoever is served").then_some(())
    });

    // Somebody new waits, somebody who is here is redeployed, and everybody is answered.
    landlord.drop_tenant("core", "");
    let entry = landlord.wait_entry("core", "core waits", |entry| entry.reason.contains("waits for room"));
    assert_eq!(entry.state, "starting");
    let before = landlord.entry("acme").generation;
    landlord.drop_tenant("acme", "company = \"Acme on a full disk\"\n");
    landlord.wait_entry("acme", "acme is redeployed", |it| it.state == "running" && it.generation > before);
    for name in ["acme", "beta"] {
        assert_eq!(landlord.site(name).get("/").await.expect("an answer").status, 200);
    }
    eventually("what is not on disk is told", || notices(&landlord).contains("records/acme.json").then_some(()));
    assert!(!landlord.folder("core").exists());
    assert_whole(&landlord);

    // Another life, on the same full disk.
    assert!(landlord.stop().success());
    assert_eq!(landlord.small_disk().free(), 0);
    landlord.start_again();
    for name in ["acme", "beta"] {
        landlord.wait_state(name, "running");
        assert_eq!(landlord.site(name).get("/").await.expect("an answer").status, 200);
    }
    landlord.wait_entry("core", "core waits", |entry| entry.reason.contains("waits for room"));
    assert_whole(&landlord);

    // Somebody tidies up.
    for file in [big, more] {
        fs::remove_file(file).expect("removed");
    }
    landlord.wait_state("core", "running");
    assert_eq!(landlord.site("core").get("/").await.expect("an answer").status, 200);
    eventually("the ballast is back", || (blocks(&ballast) >= 8 << 20).then_some(()));
    eventually("all is on disk, and nothing is said of it any more", || {
        let said = notices(&landlord);
        let record = fs::read_to_string(landlord.state().join("records/acme.json")).expect("a record");
        (!said.contains("full") && !said.contains("not on disk") && record.contains("on a full disk")).then_some(())
    });
    assert_whole(&landlord);
    let said = landlord.logs();
    for event in ["\"full\"", "\"ballast_freed\"", "\"ballast_made\"", "\"waits\"", "\"ok\""] {
        assert!(said.contains(&format!("\"event\":{event}")), "no {event} in the log");
    }
}

/// What the operator and the tenant are told once its folder has been counted as it is now.
#[track_caller]
fn counted(landlord: &Landlord, what: &str, wanted: impl Fn(&harness::Storage) -> bool) -> Entry {
    eventually(what, || {
        landlord.landlord(&["reload"]).expect(0);
        Some(landlord.entry("acme")).filter(|entry| entry.storage.as_ref().is_some_and(&wanted))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_near_its_limit_is_warned_and_one_over_it_is_full_until_it_tidies_up() {
    let root = nix::unistd::geteuid().is_root();
    let users = if root { "[users]\nfirst = 72000\nlast = 72099\n" } else { "" };
    let mut landlord = Setup::new().tables(users).tenant("acme", "limits.storage = \"10M\"\n").prepare();
    fs::set_permissions(landlord.dir(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    landlord.start_again();
    landlord.wait_state("acme", "running");
    let answer = landlord.site("acme").get("/env").await.expect("an answer");
    let env: Value = serde_json::from_slice(&answer.body).expect("the worker's environment");
    let file = Path::new(env["STORAGE_FILE"].as_str().expect("STORAGE_FILE")).to_owned();
    assert_eq!(file, landlord.state().join("signals/acme/storage.json"));
    let told = || serde_json::from_str::<Value>(&fs::read_to_string(&file).expect("its file")).expect("JSON");
    assert_eq!((&told()["limit"], &told()["state"]), (&Value::from(10 * MIB), &Value::from("ok")));

    if root {
        // As the tenant: to be read and not to be written, nor replaced.
        let tenant = |command: &str| {
            let mut shell = Command::new("setpriv");
            shell
                .args(["--reuid=72000", "--regid=72000", "--clear-groups", "--", "sh", "-c", command, "sh"])
                .arg(&file);
            shell.output().expect("setpriv can be started (it is in util-linux)").status.success()
        };
        assert!(tenant("cat \"$1\" && ls \"$(dirname \"$1\")\""));
        for attempt in
            ["echo x > \"$1\"", "rm -f \"$1\"", "touch \"$(dirname \"$1\")/x\"", "ls \"$(dirname \"$1\")/..\""]
        {
            assert!(!tenant(attempt), "{attempt}");
        }
    }

    let files = landlord.folder("acme").join("files");
    take_up(&files.join("one"), 8 * MIB + MIB / 2);
    let entry = counted(&landlord, "a warning", |storage| storage.state == "warn");
    assert!(entry.reason.contains("% full") && entry.state == "running", "{entry:?}");
    eventually("its worker is warned", || (told()["state"] == "warn").then_some(()));

    take_up(&files.join("two"), 2 * MIB);
    let entry = counted(&landlord, "it is full", |storage| storage.state == "full");
    assert!(entry.storage.is_some_and(|storage| storage.used > 10 << 20), "more than its limit");
    eventually("its worker is told", || (told()["state"] == "full").then_some(()));
    assert_eq!(landlord.site("acme").get("/").await.expect("an answer").status, 200);
    assert!(landlord.landlord(&["status", "acme"]).expect(0).stdout.contains("of 10.0 MiB, 10"));

    // It is remembered by the next life before anything is counted, and a larger limit ends it.
    landlord.drop_tenant("acme", "limits.storage = \"100M\"\n");
    counted(&landlord, "another limit", |storage| storage.state == "ok" && storage.limit == Some(100 << 20));
    landlord.drop_tenant("acme", "limits.storage = \"10M\"\n");
    counted(&landlord, "the first one again", |storage| storage.state == "full");
    fs::remove_file(files.join("one")).expect("removed");
    let entry = counted(&landlord, "it has tidied up", |storage| storage.state == "ok");
    assert!(!entry.reason.contains("full"), "{entry:?}");
    eventually("its worker is told", || (told()["state"] == "ok").then_some(()));
    let said = landlord.logs();
    for event in ["warn", "full", "ok"] {
        let line =
            said.lines().find(|line| line.contains(&format!("\"event\":\"{event}\"")) && line.contains("\"tenant\""));
        assert!(line.is_some(), "no {event} in the log");
    }
}

/// A folder made to hold a counter up, or to lead it out.
fn booby_trap(acme: &Path, disk: &SmallDisk) {
    let files = acme.join("files");
    symlink("/", files.join("root")).expect("a link");
    symlink(disk.path(), files.join("disk")).expect("a link");
    nix::unistd::mkfifo(&files.join("fifo"), Mode::S_IRWXU).expect("a FIFO");
    take_up(&files.join("one"), MIB);
    let farm = files.join("farm");
    fs::create_dir(&farm).expect("a folder");
    for nth in 0..100_000 {
        fs::hard_link(files.join("one"), farm.join(nth.to_string())).expect("a hard link");
    }
    let mut here: OwnedFd = File::open(&files).expect("a folder").into();
    for _ in 0..10_000 {
        for name in ["down", "aside"] {
            mkdirat(&here, name, Mode::S_IRWXU).expect("a folder");
        }
        here = openat(&here, "down", OFlag::O_DIRECTORY | OFlag::O_RDONLY, Mode::empty()).expect("a folder");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_folder_holds_the_counter_up_or_leads_it_outside() {
    let setup = Setup::new().keys("run = \"run\"").tables("[disk]\nballast = \"none\"");
    let mut landlord = setup.tenant("acme", "limits.storage = \"200M\"\n").tenant("beta", "").prepare();
    landlord.put_on_small_disk(128);
    landlord.start_again();
    landlord.wait_state("acme", "running");
    landlord.wait_state("beta", "running");
    // Beside acme's folder: one step outside would show.
    take_up(&landlord.folder("beta").join("files/treasure"), 32 * MIB);
    booby_trap(&landlord.folder("acme"), landlord.small_disk());

    let files = landlord.folder("acme").join("files");
    fs::create_dir(files.join("swap")).expect("a folder");
    symlink(landlord.folder("beta").join("files"), files.join("trap")).expect("a link");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (folder, link) = (files.join("swap"), files.join("trap"));
            while !over.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &folder, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE).expect("both are there");
            }
        });
        // Each of its 20,000 folders counts as a block.
        let (least, most) = (79 << 20, 81 << 20);
        let entry = counted(&landlord, "acme is counted", |storage| storage.used >= least);
        over.store(true, Ordering::Relaxed);
        let storage = entry.storage.expect("figures");
        assert!(storage.used < most && storage.state == "ok", "all of its names are one file: {storage:?}");
    });
    let beta = eventually("beta is counted as ever", || {
        landlord.entry("beta").storage.filter(|storage| storage.used >= 32 << 20)
    });
    assert_eq!(beta.limit, None);
    assert_eq!(landlord.site("acme").get("/").await.expect("an answer").status, 200);
    // Nothing that is not a folder was opened: a FIFO would have kept whoever did.
    assert!(!landlord.logs().contains("hung"));
}
