//! A hostile tenant beside an innocent one: it tries each thing that it should not be able to do, and fails at each, while its
//! neighbour is asked and answers. The program is `tests/src/bin/hostile_tenant`.

#![allow(clippy::print_stdout, reason = "the table is shown with --nocapture, and when it fails")]

mod disk;

use std::{
    collections::BTreeSet,
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr, UnixListener},
        },
    },
    time::Instant,
};

use harness::{Landlord, Setup, binaries, eventually, network, process};
use serde_json::Value;

/// What each is allowed to have, so that a hog and a bomb have something to run against.
const LIMITS: &str = "app = \"hostile\"\n[limits]\nmemory = \"256M\"\nprocesses = 128\n";

/// Has the hostile app, within all walls.
fn hostile(setup: Setup) -> Setup {
    let program = binaries::program("hostile-tenant");
    let app = format!("[apps.hostile]\ncommand = [{program:?}]\nlisten = \"port\"\nhealth = \"/healthz\"\n");
    setup.sandbox("").tables(&app)
}

fn house() -> Landlord {
    let setup = if nix::unistd::geteuid().is_root() { Setup::new().network_rights() } else { Setup::new() };
    let mut landlord = hostile(setup.default_users()).tenant("acme", LIMITS).tenant("beta", "").prepare();
    fs::set_permissions(landlord.dir(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    landlord.start_again();
    landlord
}

/// The walls that hold here, by what `landlord doctor` says of the landlord that runs.
fn holding(landlord: &Landlord) -> BTreeSet<String> {
    let findings: Vec<Value> =
        serde_json::from_str(&landlord.landlord(&["doctor", "--json"]).stdout).expect("JSON, whatever is found");
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let walls = findings.iter().filter_map(|one| {
        let name = word(one, "name").strip_prefix("wall ")?.to_owned();
        (word(one, "level") == "ok").then_some(name)
    });
    walls.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_tenant_fails_at_each_and_its_neighbour_answers_meanwhile() {
    let root = nix::unistd::geteuid().is_root();
    // The rules that keep tenants from each other's ports are a network's.
    if root && !network::alone("a_hostile_tenant_fails_at_each_and_its_neighbour_answers_meanwhile") {
        return;
    }
    let landlord = house();
    let hostile = landlord.wait_state("acme", "running");
    let neighbour = landlord.wait_state("beta", "running");
    landlord.landlord(&["env", "beta", "set", "SECRET=theirs"]).expect(0);
    let neighbour = landlord.wait_entry("beta", "its secret is in force", |entry| {
        entry.state == "running" && entry.generation != neighbour.generation
    });
    let name = format!("landlord-walls-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _elsewhere = UnixListener::bind_addr(&address).expect("an abstract socket");
    let free =
        landlord.ports().workers().rev().find(|port| Some(*port) != neighbour.port && Some(*port) != hostile.port);
    let victims = format!(
        "dir={}&neighbour={}&master={}&proxy={}&port={}&free_port={}&abstract={name}",
        landlord.dir().display(),
        neighbour.pid.expect("a pid"),
        landlord.pid(),
        landlord.proxies()[0],
        neighbour.port.expect("a port"),
        free.expect("a range of several"),
    );

    let (acme, beta) = (landlord.site("acme"), landlord.site("beta"));
    let list = acme.get("/attacks").await.expect("the list");
    let list: Vec<(String, Vec<String>)> = serde_json::from_slice(&list.body).expect("JSON");
    assert!(list.len() > 60, "{}", list.len());
    let must_hold: &[&str] = if root { &["users", "files", "syscalls", "loopback"] } else { &["files", "syscalls"] };
    let holding = eventually("the walls that this test is about hold", || {
        Some(holding(&landlord)).filter(|holding| must_hold.iter().all(|wall| holding.contains(*wall)))
    });
    assert!(root || !holding.contains("users"), "{holding:?}");
    let (mut table, mut broken) = (String::new(), Vec::new());
    for (attack, walls) in &list {
        let target = format!("/attack/{attack}?{victims}");
        let (began, kept) = (Instant::now(), log_of(&landlord, "acme"));
        let (answer, meanwhile) = tokio::join!(acme.get(&target), beta.get("/healthz"));
        assert_eq!(meanwhile.expect("the neighbour answers").status, 200, "during {attack}");
        assert_eq!(beta.get("/healthz").await.expect("the neighbour answers").status, 200, "after {attack}");
        let answer = answer.unwrap_or_else(|error| panic!("{attack}: {error}"));
        // Of a flood, what comes in a second, and as much at once.
        let most = 1_100_000 * (began.elapsed().as_secs() + 2);
        let more = log_of(&landlord, "acme").saturating_sub(kept);
        assert!(more <= most, "{attack}: {more} bytes of log, of at most {most}");
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        table += &format!("{attack:28} {said}\n");
        let stopped = walls.is_empty() || walls.iter().any(|wall| holding.contains(wall));
        let is_refused =
            answer.status == 200 && said.starts_with("refused: ") && !said.contains("the test does not say");
        if stopped && !is_refused {
            broken.push(format!("{attack}: {said}"));
        }
    }
    println!("{table}");
    assert!(broken.is_empty(), "went through:\n{}\n\nall of them:\n{table}", broken.join("\n"));

    let after = landlord.entry("beta");
    assert_eq!((after.pid, after.restarts), (neighbour.pid, 0), "the neighbour lives on");
    assert!(process::alive(landlord.pid()) && landlord.proxies().len() == 1);
    assert!(
        landlord
            .folder("beta")
            .join("files")
            .read_dir()
            .expect("its files")
            .all(|entry| { entry.expect("an entry").file_name() != "planted" })
    );
    let left: Value =
        serde_json::from_str(&landlord.landlord(&["env", "beta", "list", "--json", "--reveal"]).expect(0).stdout)
            .expect("JSON");
    assert_eq!(left[0]["value"], "theirs");
    landlord.landlord(&["env", "beta", "set", "BOAST=after the flood"]).expect(0);
    eventually("what the neighbour has to say is kept", || {
        landlord.logs().contains("out: after the flood").then_some(())
    });
}

/// Bytes of a tenant's log.
fn log_of(landlord: &Landlord, tenant: &str) -> u64 {
    let files = fs::read_dir(landlord.state().join("logs")).expect("logs").map(|file| file.expect("an entry"));
    let own = files.filter(|file| file.file_name().to_string_lossy().starts_with(&format!("{tenant}.log")));
    own.map(|file| file.metadata().map_or(0, |file| file.len())).sum()
}

/// The same where landlord is nobody in particular: what then fails is what needs no other user and no rule of the firewall.
#[test]
fn without_root_all_but_what_needs_it_fails() {
    as_nobody("a_hostile_tenant_fails_at_each_and_its_neighbour_answers_meanwhile");
}

/// Runs the test `name` once more, as nobody in particular, and holds it to success.
#[track_caller]
fn as_nobody(name: &str) {
    if !nix::unistd::geteuid().is_root() {
        // The test itself is this one.
        return;
    }
    let folder = tempfile::Builder::new().prefix("ll-").tempdir().expect("a temporary folder");
    std::os::unix::fs::chown(folder.path(), Some(65_534), Some(65_534)).expect("a folder of nobody's");
    let mut command = process::leashed(std::path::Path::new("setpriv"));
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(std::env::current_exe().expect("this test"));
    command.args(["--exact", name, "--nocapture"]);
    let output = command.env("TMPDIR", folder.path()).current_dir("/").output().expect("setpriv is in util-linux");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}
