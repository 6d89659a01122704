//! A user for each tenant: whose its files are, whatever became of its record, its file or the user it was before; and that
//! root is led nowhere by whoever owns such a folder.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::{Child, ChildStdin, Stdio},
};

use harness::{Entry, Landlord, PATIENCE, Setup, binaries, process};
use nix::unistd::{User, geteuid};

/// Becoming others takes root; without it these tests have nothing to look at, and others say what holds then.
fn root() -> bool {
    geteuid().is_root()
}

/// Users that every Debian has.
fn account(name: &str) -> (u32, u32) {
    let user = User::from_name(name).expect("the users of this machine").expect("a user of every Debian");
    (user.uid.as_raw(), user.gid.as_raw())
}

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (found.uid(), found.gid())
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
}

/// A field of /proc/PID/status, of a running worker.
fn of_worker(entry: &Entry, field: &str) -> String {
    let pid = entry.pid.expect("a running worker has a pid");
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("a live process");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("a field of /proc/PID/status");
    line.trim_start_matches(':').trim().to_owned()
}

fn uid_of(entry: &Entry) -> u32 {
    let all = of_worker(entry, "Uid");
    let ids: BTreeSet<u32> = all.split_whitespace().map(|id| id.parse().expect("a number")).collect();
    assert_eq!(ids.len(), 1, "real, effective, saved and of the file system: {all}");
    ids.into_iter().next().expect("one")
}

fn has_no_privilege(entry: &Entry) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(of_worker(entry, set), "0000000000000000", "{set}");
    }
    assert_eq!((of_worker(entry, "Groups").as_str(), of_worker(entry, "NoNewPrivs").as_str()), ("", "1"));
}

/// A house whose folders others may pass.
fn prepared(setup: Setup) -> Landlord {
    let landlord = setup.prepare();
    fs::set_permissions(landlord.dir(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    landlord
}

#[test]
fn by_default_each_tenant_is_a_user_of_its_own_and_no_uid_is_given_twice() {
    if !root() {
        return;
    }
    let mut landlord = prepared(Setup::new().default_users().tenant("acme", "").tenant("beta", "").tenant("core", ""));
    landlord.start_again();
    let mut uids = BTreeSet::new();
    for name in ["acme", "beta", "core"] {
        let entry = landlord.wait_state(name, "running");
        has_no_privilege(&entry);
        let (uid, folder) = (uid_of(&entry), landlord.folder(name));
        assert!((70_000..80_000).contains(&uid) && uids.insert(uid), "{uid}");
        assert_eq!(of_worker(&entry, "Gid").split_whitespace().next(), Some(uid.to_string().as_str()));
        assert_eq!((owner(&folder), mode(&folder)), ((uid, uid), 0o700));
        assert_eq!((owner(&folder.join(".env")), mode(&folder.join(".env"))), ((uid, uid), 0o600));
    }
    let of = |landlord: &Landlord, name: &str| owner(&landlord.folder(name)).0;
    let (acme, core) = (of(&landlord, "acme"), of(&landlord, "core"));

    // One that is gone keeps its uid: first by its record, then by its folder alone, then by its copies alone.
    landlord.remove_tenant("beta");
    landlord.wait_gone("beta");
    landlord.drop_tenant("delta", "");
    assert!(uids.insert(uid_of(&landlord.wait_state("delta", "running"))), "nobody else's");
    landlord.remove_tenant("core");
    landlord.wait_gone("core");
    landlord.stop();
    for name in ["acme", "beta", "core", "delta"] {
        fs::remove_file(landlord.state().join(format!("records/{name}.json"))).expect("a record");
    }
    fs::rename(landlord.folder("core"), landlord.state().join("backups/core")).expect("moved");
    landlord.start_again();
    assert_eq!(uid_of(&landlord.wait_state("acme", "running")), acme, "its folder tells whose it is");
    landlord.drop_tenant("echo", "");
    assert!(uids.insert(uid_of(&landlord.wait_state("echo", "running"))), "nobody else's: {uids:?}");
    landlord.drop_tenant("core", "");
    assert_eq!(uid_of(&landlord.wait_state("core", "running")), core, "its copies tell whose they are");
}

#[test]
fn a_tenant_may_be_an_account_that_nobody_else_is() {
    if !root() {
        return;
    }
    let (games, news) = (account("games"), account("news"));
    let asks = |user: &str| format!("company = \"x\"\nuser = {user:?}\n");
    let mut landlord = prepared(Setup::new().default_users().tenant("acme", &asks("games")).tenant("beta", ""));
    landlord.start_again();
    let entry = landlord.wait_state("acme", "running");
    assert_eq!((uid_of(&entry), owner(&landlord.folder("acme"))), (games.0, games));
    has_no_privilege(&entry);
    let beta = uid_of(&landlord.wait_state("beta", "running"));

    // What cannot be is told at its line, and beta stays who it is.
    let wrong = [
        ("games", "the user of acme"),
        ("root", "no tenant is"),
        ("nobody", "no tenant's"),
        ("no-such-account", "no user no-such-account"),
    ];
    for (user, words) in wrong {
        landlord.drop_tenant("beta", asks(user));
        let said = landlord.wait_entry("beta", "it is refused", |entry| entry.reason.contains(words));
        assert!(said.state == "running" && said.reason.contains("beta.toml:2:1"), "{said:?}");
        assert_eq!(uid_of(&said), beta);
    }
    landlord.drop_tenant("late", asks("games"));
    let err = landlord.err();
    err.wait_line("one that was never in is refused too", 0, |line| {
        line.contains("late.toml") && line.contains("acme")
    });

    // Whoever becomes another takes its files along, and leaves the account to who asks next.
    let data = landlord.folder("acme").join("instance/data");
    fs::write(&data, "precious").expect("written");
    chown(&data, Some(games.0), Some(games.1)).expect("given");
    landlord.drop_tenant("acme", asks("news"));
    let moved = landlord.wait_entry("acme", "it is news", |e| e.state == "running" && e.generation > entry.generation);
    assert_eq!((uid_of(&moved), owner(&landlord.folder("acme")), owner(&data)), (news.0, news, news));
    assert_eq!(fs::read_to_string(&data).expect("its data"), "precious");
    assert_eq!(uid_of(&landlord.wait_state("late", "running")), games.0, "nobody has it any more");
}

/// Each version writes its name; `v3` cannot be migrated to.
fn versioned(version: &str) -> String {
    let program = binaries::program("scripted");
    let worker = format!("test -w instance/data || exit 9; exec {}", program.display());
    let migration = format!("echo {version} >> instance/data; test {version} != v3");
    format!(
        "command = [\"sh\", \"-c\", {worker:?}]\nmigrate = [\"sh\", \"-c\", {migration:?}]\n\
         listen = \"inherit\"\nhealth = \"/healthz\"\nversion = {version:?}\n"
    )
}

/// landlord 0.3 ran everything as root where landlord.toml said nothing of users.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_roots_is_handed_over_and_copies_are_the_tenants_own_work() {
    if !root() {
        return;
    }
    let mut landlord = prepared(Setup::new().default_users().scripted(&versioned("v1")).tenant("acme", ""));
    let folder = |name: &str| {
        let path = landlord.state().join(name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).expect("a folder");
        path
    };
    let (instance, kept) = (folder("tenants/acme/instance"), folder("backups/acme/before-3"));
    let secret = landlord.dir().join("secret");
    for file in [instance.join("data"), kept.join("data"), secret.clone()] {
        fs::write(&file, "old\n").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("our own file");
    }
    // Root's, by a name in the folder.
    fs::hard_link(&secret, instance.join("secret")).expect("a second name");
    let big = instance.join("many");
    fs::create_dir(&big).expect("a folder");
    for n in 0..500 {
        fs::write(big.join(n.to_string()), "").expect("written");
    }
    landlord.start_again();
    let first = landlord.wait_state("acme", "running");
    let uid = uid_of(&first);
    let me = (uid, uid);
    for path in [instance.join("data"), big.join("499"), kept.join("data"), landlord.folder("acme")] {
        assert_eq!(owner(&path), me, "{}", path.display());
    }
    assert_eq!((owner(&secret), mode(&secret)), ((0, 0), 0o600), "another name of it is elsewhere");
    fs::remove_file(instance.join("secret")).expect("removed");

    let text = fs::read_to_string(landlord.config()).expect("landlord.toml");
    fs::write(landlord.config(), text.replace("v1", "v2")).expect("written");
    let second = landlord.wait_entry("acme", "v2", |e| e.state == "running" && e.generation > first.generation);
    assert_eq!(fs::read_to_string(instance.join("data")).expect("its data"), "old\nv1\nv2\n");
    let copy = landlord.state().join(format!("backups/acme/before-{}", second.generation.expect("one")));
    assert_eq!((owner(&copy), owner(&copy.join("data"))), (me, me), "the tenant has made it");
    assert_eq!(fs::read_to_string(copy.join("data")).expect("the copy"), "old\nv1\n");
    assert_eq!((mode(&landlord.state().join("backups")), owner(&landlord.state().join("backups"))), (0o700, (0, 0)));

    fs::write(landlord.config(), text.replace("v1", "v3")).expect("written");
    landlord.wait_entry("acme", "v3 is undone", |e| e.state == "running" && !e.reason.is_empty());
    assert_eq!(fs::read_to_string(instance.join("data")).expect("its data"), "old\nv1\nv2\n", "as it was");
    assert_eq!(owner(&instance.join("data")), me);
    assert_eq!(landlord.site("acme").get("/id/x").await.expect("an answer").text(), "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_only_root_can_pass_all_share_a_user_without_privilege_unless_users_are_asked_for() {
    if !root() {
        return;
    }
    let mut landlord = Setup::new().default_users().tenant("acme", "").prepare();
    fs::set_permissions(landlord.dir(), fs::Permissions::from_mode(0o700)).expect("our own folder");
    landlord.start_again();
    let entry = landlord.wait_state("acme", "running");
    assert_eq!((uid_of(&entry), owner(&landlord.folder("acme"))), (0, (0, 0)));
    has_no_privilege(&entry);
    assert_eq!(landlord.site("acme").get("/id/x").await.expect("an answer").text(), "x");
    let said = landlord.landlord(&["status"]).said();
    assert!(said.contains("chmod o+x") && said.contains("root without any privilege"), "{said}");
    assert_eq!(said.matches("chmod o+x").count(), 1, "once is enough: {said}");
    assert!(said.contains("Tenants are not kept apart by users") && said.contains("loopback"), "{said}");

    // Asked for, it is refused; the folder opened, everything is the tenant's.
    landlord.stop();
    landlord.edit_config("[listen]", "[users]\n[listen]");
    landlord.start_again();
    let refused = |line: &str| line.contains("acme") && line.contains("chmod o+x");
    landlord.err().wait_line("why it is not let in", 0, refused);
    assert!(landlord.status().iter().all(|entry| entry.state != "running"), "{:?}", landlord.status());
    fs::set_permissions(landlord.dir(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    let entry = landlord.wait_state("acme", "running");
    assert_eq!((uid_of(&entry), owner(&landlord.folder("acme"))), (70_000, (70_000, 70_000)));
}

/// A process of the tenant's that nobody knows of, at work in its folder; it ends with its standard input.
struct Racer {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Racer {
    fn start((uid, gid): (u32, u32), folder: &Path, target: &Path) -> Self {
        let mut command = process::leashed(&binaries::program("racer"));
        command.args([folder, target]).uid(uid).gid(gid).stdin(Stdio::piped());
        let mut child = process::spawn(command).expect("the racer starts");
        let stdin = child.stdin.take();
        Self { child, stdin }
    }

    /// Puts everything back and ends.
    fn end(mut self) {
        self.stdin = None;
        assert!(process::wait(&mut self.child, PATIENCE).is_some_and(|status| status.success()), "it never stops");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_owns_a_folder_and_races_every_step_leads_root_nowhere() {
    if !root() {
        return;
    }
    let quick = "[health]\nstart_timeout = \"2s\"\n";
    // What opens a FIFO for a file waits for its other end, as a shell does.
    let settings = versioned("v1")
        .replace("\"sh\", \"-c\", \"echo", "\"timeout\", \"--signal=KILL\", \"1\", \"sh\", \"-c\", \"echo");
    assert!(settings.contains("timeout"), "{settings}");
    let setup = Setup::new().default_users().scripted(&settings).tenant("acme", quick);
    let mut landlord = prepared(setup.tenant("beta", ""));
    let canaries = landlord.dir().join("etc");
    fs::create_dir(&canaries).expect("a folder");
    let shadow = canaries.join("shadow");
    fs::write(&shadow, "root:secret").expect("written");
    fs::set_permissions(&shadow, fs::Permissions::from_mode(0o600)).expect("our own file");
    let alive = async |landlord: &Landlord, what: &str| {
        assert_eq!(owner(&shadow), (0, 0), "{what}");
        assert_eq!((mode(&shadow), mode(&canaries), owner(&canaries)), (0o600, 0o755, (0, 0)), "{what}");
        assert_eq!(fs::read_to_string(&shadow).expect("the canary"), "root:secret", "{what}");
        assert_eq!(fs::read_dir(&canaries).expect("the folder").count(), 1, "{what}");
        landlord.landlord(&["status"]).expect(0);
        assert_eq!(landlord.site("beta").get("/id/x").await.expect(what).text(), "x", "{what}");
    };
    landlord.start_again();
    landlord.wait_state("beta", "running");
    let entry = landlord.wait_state("acme", "running");
    let (uid, folder) = (uid_of(&entry), landlord.folder("acme"));
    let racer = Racer::start((uid, uid), &folder, &shadow);
    // Well or not; and where cp waits for a FIFO's other end, the tenant waits for itself.
    let restart = |landlord: &Landlord| drop(landlord.landlord_within(PATIENCE / 3, &["restart", "acme"]));
    restart(&landlord);
    alive(&landlord, "a redeploy").await;
    let text = fs::read_to_string(landlord.config()).expect("landlord.toml");
    for version in ["v2", "v3", "v4"] {
        fs::write(landlord.config(), text.replace("v1", version)).expect("written");
        restart(&landlord);
        alive(&landlord, version).await;
    }
    let games = account("games");
    let second = Racer::start(games, &folder, &shadow);
    for (to, what) in [("user = \"games\"\n", "a hand-over"), ("", "a hand-over back")] {
        landlord.drop_tenant("acme", format!("{to}{quick}"));
        restart(&landlord);
        alive(&landlord, what).await;
    }
    landlord.stop();
    landlord.start_again();
    landlord.wait_state("beta", "running");
    alive(&landlord, "a restart of landlord").await;

    racer.end();
    second.end();
    alive(&landlord, "all over").await;
    landlord.stop();
    // What it has lost of its own it has lost; a new folder is as good as any.
    fs::remove_dir_all(&folder).expect("removed");
    fs::write(landlord.config(), text.replace("v1", "v5")).expect("written");
    landlord.start_again();
    landlord.landlord(&["restart", "acme"]);
    landlord.wait_state("acme", "running");
}
