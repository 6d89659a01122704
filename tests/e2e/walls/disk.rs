//! A hostile tenant that fills the disk, by each way that looks like one: what counts is found and ends its uploads, what does
//! not is no trouble to anybody, and its neighbour is asked and answers throughout.

use std::{fs, os::unix::fs::PermissionsExt};

use harness::{Entry, Landlord, Setup, Storage, client::Site, eventually_async};

use super::{as_nobody, hostile};

const MIB: u64 = 1 << 20;

/// What is found of each filler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Its tenant is full.
    Full,
    /// It has no more than it takes up.
    Little,
    /// It is full where landlord is root. Where it is not, landlord says what it cannot see.
    AsRoot,
    /// Nothing: it has no name that a count could find. The test of the full disk is about it.
    Nothing,
}

const FILLERS: [(&str, Found); 9] = [
    ("small-files", Found::Full),
    ("empty-files", Found::Full),
    ("one-file", Found::Full),
    ("holes", Found::Little),
    ("links", Found::Little),
    ("deep-folders", Found::Full),
    ("closed-folder", Found::AsRoot),
    ("moving-files", Found::Full),
    ("removed-file", Found::Nothing),
];

fn house(setup: Setup, disk: Option<u32>) -> Landlord {
    let setup = hostile(setup.default_users()).tenant("acme", "app = \"hostile\"\nlimits.storage = \"8M\"\n");
    let mut landlord = setup.tenant("beta", "limits.storage = \"8M\"\n").prepare();
    fs::set_permissions(landlord.dir(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    if let Some(mebibytes) = disk {
        landlord.put_on_small_disk(mebibytes);
    }
    landlord.start_again();
    landlord.wait_state("acme", "running");
    landlord.wait_state("beta", "running");
    landlord
}

/// Waits until acme's folder has been counted as it is now, and asks its neighbour meanwhile.
async fn counted(landlord: &Landlord, what: &str, wanted: impl Fn(&Storage) -> bool) -> Entry {
    eventually_async(what, async || {
        landlord.landlord(&["reload"]).expect(0);
        answers(&landlord.site("beta")).await;
        Some(landlord.entry("acme")).filter(|entry| entry.storage.as_ref().is_some_and(&wanted))
    })
    .await
}

async fn answers(site: &Site) {
    assert_eq!(site.get("/healthz").await.expect("an answer").status, 200, "{}", site.host());
    assert_eq!(upload(site).await, 200, "{}", site.host());
}

async fn upload(site: &Site) -> u16 {
    site.request("POST", "/healthz", &[], b"more").await.expect("an answer").status
}

/// What it said of a filler that it was told to keep.
async fn fill(landlord: &Landlord, query: &str) -> String {
    let (acme, beta) = (landlord.site("acme"), landlord.site("beta"));
    let target = format!("/attack/fill-{query}");
    let (said, ()) = tokio::join!(acme.get(&target), answers(&beta));
    said.unwrap_or_else(|error| panic!("{query}: {error}")).text()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_fills_its_folder_is_found_and_alone_with_it() {
    let root = nix::unistd::geteuid().is_root();
    let landlord = house(Setup::new(), None);
    let (acme, beta) = (landlord.site("acme"), landlord.site("beta"));
    let list: Vec<(String, Vec<String>)> = acme.get("/attacks").await.expect("the list").json();
    let fillers = list.iter().filter_map(|(name, _)| name.strip_prefix("fill-"));
    assert_eq!(fillers.collect::<Vec<_>>(), FILLERS.map(|(name, _)| name));

    for (name, found) in FILLERS {
        let said = fill(&landlord, &format!("{name}?keep=yes")).await;
        assert!(said.starts_with("SUCCEEDED"), "{name}: {said}");
        let is_full = found == Found::Full || (found == Found::AsRoot && root);
        if is_full {
            let entry = counted(&landlord, name, |storage| storage.state == "full").await;
            assert!(entry.reason.contains("507") && entry.state == "running", "{name}: {entry:?}");
            eventually_async(format!("{name}: no more uploads"), async || (upload(&acme).await == 507).then_some(()))
                .await;
        } else {
            // A count that began after it was done has at least what it left beside it.
            let mark = landlord.folder("acme").join("files/mark");
            harness::small_disk::take_up(&mark, MIB as i64);
            let least = if found == Found::Little { 2 * MIB } else { MIB };
            let entry = counted(&landlord, name, |storage| storage.used >= least).await;
            let used = entry.storage.expect("figures").used;
            assert!(used < least + MIB, "{name}: {used}");
            assert_eq!(upload(&acme).await, 200, "{name}");
            fs::remove_file(mark).expect("removed");
        }
        let notices = landlord.landlord(&["status"]).expect(0).stdout;
        assert_eq!(notices.contains("closed to landlord"), found == Found::AsRoot && !root, "{name}: {notices}");
        assert_eq!(acme.get("/healthz").await.expect("an answer").status, 200, "{name}");
        answers(&beta).await;
        assert_eq!(landlord.entry("beta").storage.expect("figures").state, "ok", "{name}");

        assert_eq!(acme.get("/tidy").await.expect("an answer").text(), "ok", "{name}");
        counted(&landlord, "tidied up", |storage| storage.state == "ok" && storage.used < MIB).await;
        eventually_async(format!("{name}: uploads again"), async || (upload(&acme).await == 200).then_some(())).await;
    }
    assert_eq!([landlord.entry("acme").restarts, landlord.entry("beta").restarts], [0, 0]);
    assert!(!landlord.logs().contains("\"event\":\"hung\""), "no folder held the counter up");
}

#[test]
fn without_root_it_is_found_all_the_same() {
    as_nobody("disk::a_tenant_that_fills_its_folder_is_found_and_alone_with_it");
}

/// What no count finds: a file without a name. The disk is really full then, and who is served is served on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_fills_the_disk_unseen_stops_nobody() {
    let landlord = house(Setup::new().keys("run = \"run\"").tables("[disk]\nballast = \"8M\""), Some(64));
    let beta = landlord.site("beta");
    let ballast = landlord.state().join("ballast");
    let notices = || landlord.landlord(&["status"]).expect(0).stdout;
    harness::eventually("the ballast is there", || {
        fs::metadata(&ballast).is_ok_and(|file| file.len() >= 8 * MIB).then_some(())
    });

    // All of the disk, and then what was kept back.
    assert!(fill(&landlord, "removed-file?keep=yes&bytes=100000000").await.contains("No space left"));
    // Its name goes before its space comes back.
    harness::eventually("the ballast is let go of", || {
        (!ballast.exists() && landlord.small_disk().free() >= 8 << 20).then_some(())
    });
    assert!(fill(&landlord, "removed-file?keep=yes&bytes=100000000").await.contains("No space left"));
    harness::eventually("the disk is told to be full", || {
        notices().contains("is full: whoever is served").then_some(())
    });
    answers(&beta).await;

    // No count sees it, and none says so; its neighbour is deployed and served.
    let before = landlord.entry("beta").generation;
    landlord.drop_tenant("beta", "company = \"Beta on a full disk\"\nlimits.storage = \"8M\"\n");
    landlord.wait_entry("beta", "beta is redeployed", |it| it.state == "running" && it.generation > before);
    answers(&beta).await;
    harness::eventually("what is not on disk is told", || notices().contains("records/beta.json").then_some(()));
    let storage = landlord.entry("acme").storage.expect("figures");
    assert!(storage.state == "ok" && storage.used < MIB, "{storage:?}");

    // With its worker goes what it held.
    landlord.landlord(&["restart", "acme"]).expect(0);
    harness::eventually("the ballast is back", || {
        fs::metadata(&ballast).is_ok_and(|file| file.len() >= 8 * MIB).then_some(())
    });
    harness::eventually("all is on disk", || {
        let record = fs::read_to_string(landlord.state().join("records/beta.json")).expect("a record");
        (!notices().contains("full") && record.contains("on a full disk")).then_some(())
    });
    answers(&beta).await;
    answers(&landlord.site("acme")).await;
}
