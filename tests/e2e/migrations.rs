//! A master that dies while data is being migrated, and data that an older landlord has left: nothing is started on half a
//! migration, and nothing that was remembered is forgotten.

use std::{
    fs::{self, File},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use harness::{Landlord, Setup, binaries, eventually};
use serde_json::{Value, json};

/// An app whose data is one file, in which each version writes its name twice: after the first the data is neither the old
/// nor the new. While there is a `files/slowly`, the migration stays there and reads a fifo that nobody writes to.
fn migrating(version: &str) -> String {
    let program = binaries::program("scripted");
    let worker = format!("test \"$(tail -n 1 instance/data)\" = whole || exit 9; exec {}", program.display());
    let migration = format!(
        "echo begun >> files/journal; echo {version} >> instance/data; \
         if test -e files/slowly; then cat files/fifo; fi; \
         echo whole >> instance/data; echo ended >> files/journal"
    );
    format!(
        "command = [\"sh\", \"-c\", {worker:?}]\nmigrate = [\"sh\", \"-c\", {migration:?}]\n\
         listen = \"inherit\"\nhealth = \"/healthz\"\nversion = {version:?}\n"
    )
}

fn record(landlord: &Landlord, name: &str) -> Value {
    let file = landlord.state().join(format!("records/{name}.json"));
    serde_json::from_str(&fs::read_to_string(file).expect("the record")).expect("JSON")
}

/// The fifo's other end, for whoever reads it; without a reader, an error.
fn open_to_write(fifo: &Path) -> std::io::Result<File> {
    fs::OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(fifo)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_was_cut_short_is_undone_before_it_is_done_again() {
    let mut landlord = Setup::new().scripted(&migrating("v1")).tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running");
    let folder = landlord.folder("acme");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    assert_eq!((read("instance/data"), read("files/journal")), ("v1\nwhole\n".into(), "begun\nended\n".into()));
    let undisturbed = record(&landlord, "acme")["record"]["migrated"].clone();
    assert!(undisturbed.is_string(), "it is remembered what the data has seen");

    let fifo = folder.join("files/fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    fs::write(folder.join("files/slowly"), "").expect("written");
    landlord.edit_config(&migrating("v1"), &migrating("v2"));
    // Whoever reads the fifo has begun the second migration and written half of it.
    let writer = eventually("the second migration waits in its middle", || open_to_write(&fifo).ok());
    assert_eq!(read("instance/data"), "v1\nwhole\nv2\n", "half of it is done");
    let cut = record(&landlord, "acme");
    assert!(cut["record"]["migrating"].is_number(), "it is written down before: {cut}");
    assert_eq!(cut["record"]["migrated"], Value::Null, "nobody knows what the data has seen: {cut}");
    landlord.kill();
    fs::remove_file(folder.join("files/slowly")).expect("removed");
    landlord.start_again();
    drop(writer);
    let after = landlord.wait_entry("acme", "it serves again", |e| e.state == "running" && e.reason.is_empty());
    assert!(after.generation > before.generation);
    assert_eq!(read("instance/data"), "v1\nwhole\nv2\nwhole\n", "of the half one nothing is left");
    assert_eq!(read("files/journal"), "begun\nended\nbegun\nbegun\nended\n", "once cut short, once done again");
    assert!(open_to_write(&fifo).is_err(), "nothing of the first try is left");
    assert_eq!(landlord.site("acme").get("/id/x").await.expect("an answer").text(), "x");
    let healed = record(&landlord, "acme");
    assert_eq!(healed["record"]["migrating"], Value::Null, "{healed}");
    assert!(healed["record"]["migrated"].is_string() && healed["record"]["migrated"] != undisturbed, "{healed}");
    let number = cut["record"]["migrating"].as_u64().expect("a number");
    let aside = landlord.state().join(format!("backups/acme/before-{number}.failed/data"));
    assert_eq!(fs::read_to_string(aside).expect("what was replaced is kept"), "v1\nwhole\nv2\n");

    // The next start has nothing to mend and nothing to migrate.
    landlord.stop();
    landlord.start_again();
    landlord.wait_state("acme", "running");
    assert_eq!(read("files/journal"), "begun\nended\nbegun\nbegun\nended\n");
}

/// A state folder as 0.1.0 left it: records of format 1, which have no sum, and the number of generations as plain text.
struct Old {
    state: PathBuf,
}

impl Old {
    fn folder(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.state.join(name);
        fs::DirBuilder::new().recursive(true).mode(mode).create(&path).expect("a folder");
        path
    }

    fn write(path: &Path, text: impl AsRef<[u8]>) {
        fs::write(path, text).expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("our own file");
    }

    /// The record of a tenant that has never been let in, with what a test is about.
    fn record(&self, name: &str, stopped: bool, uid: Option<u32>, hosts: &[&str]) {
        let record = json!({
            "stopped": stopped, "uid": uid, "hosts": hosts, "last_good": null, "migrated": null, "present": true,
        });
        let path = self.folder("records", 0o700).join(format!("{name}.json"));
        Self::write(&path, json!({ "version": 1, "record": record }).to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_folder_of_0_1_0_is_taken_over() {
    let shared = "domains = [\"portal.example.com\"]\n";
    let mut setup = Setup::new().tenant("acme", shared).tenant("beta", shared).tenant("core", "");
    let root = nix::unistd::geteuid().is_root();
    if root {
        setup = setup.tables("[users]\nfirst = 71000\nlast = 71099\n");
    }
    let mut landlord = setup.prepare();
    fs::set_permissions(landlord.dir(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    let old = Old { state: landlord.state() };
    let uid = |number: u32| root.then_some(number);
    old.folder("", 0o711);
    old.folder("tenants", 0o711);
    // beta had the host first, although acme is before it in every list.
    old.record("acme", false, uid(71005), &["acme.apps.test"]);
    old.record("beta", false, uid(71003), &["beta.apps.test", "portal.example.com"]);
    old.record("core", true, uid(71007), &["core.apps.test"]);
    // One that is known from its released file alone, and is not there any more.
    let released = include_str!("../../gateway/src/master/records/version-1.json");
    Old::write(&old.state.join("records/gone.json"), released.replace("\"name\":\"acme\"", "\"name\":\"gone\""));
    Old::write(&old.state.join("generation"), "65537\n");
    let notice = old.folder("tenants/beta", 0o700).join("notice");
    fs::write(&notice, "of old").expect("written");
    if root {
        for path in [notice.parent().expect("a folder"), &notice] {
            std::os::unix::fs::chown(path, Some(71003), Some(71003)).expect("given away");
        }
    }

    landlord.start_again();
    let beta = landlord.wait_state("beta", "running");
    assert_eq!(beta.generation, Some(65537), "numbers go on above all that were given");
    assert!(beta.hosts.iter().any(|host| host == "portal.example.com"), "its host stays its own: {:?}", beta.hosts);
    let site = landlord.site_at("portal.example.com");
    assert_eq!(site.get("/id/x").await.expect("an answer").text(), "x");
    let acme = landlord.wait_entry("acme", "the other claim is refused", |e| !e.reason.is_empty());
    assert!(acme.reason.contains("portal.example.com"), "{}", acme.reason);
    let core = landlord.wait_state("core", "stopped");
    assert_eq!(core.pid, None, "who was stopped stays stopped");
    assert_eq!(fs::read_to_string(&notice).expect("its data"), "of old");
    if root {
        let owner = |path: PathBuf| fs::metadata(path).expect("it is there").uid();
        let process = PathBuf::from(format!("/proc/{}", beta.pid.expect("a pid")));
        assert_eq!((owner(landlord.folder("beta")), owner(process)), (71003, 71003), "its uid is its own");
    }
    assert!(!landlord.err().text().contains("put aside"), "nothing of it is taken for damaged");

    // What is written from here on is of the format of now, with the same words.
    let beta = record(&landlord, "beta");
    assert_eq!((&beta["version"], beta["sum"].is_string()), (&json!(2), true), "{beta}");
    assert_eq!(beta["record"]["uid"], json!(uid(71003)), "{beta}");
    let gone = record(&landlord, "gone");
    assert_eq!((&gone["version"], &gone["record"]["present"]), (&json!(2), &json!(false)), "{gone}");
    assert_eq!(gone["record"]["last_good"][0]["company"], "Acme Corp", "{gone}");
    landlord.landlord(&["start", "core"]).expect(0);
    assert_eq!(landlord.site("core").get("/id/x").await.expect("an answer").text(), "x");
}
