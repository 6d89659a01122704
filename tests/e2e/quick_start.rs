//! The first minute with landlord: no configuration, no root, one command; and the second start.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use harness::{Output, PATIENCE, Setup, binaries, client::Raw, client::Site, eventually, process};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::Signal,
};

/// A gateway on the embedded defaults, in a folder that has nothing but the samples.
struct Laptop {
    dir: tempfile::TempDir,
    child: Child,
    out: Output,
    err: Output,
    /// The defaults' ports are one pair for the whole machine.
    _turn: Flock<fs::File>,
}

impl Laptop {
    fn start() -> Self {
        let turn = fs::File::create(std::env::temp_dir().join("landlord-test-default-ports")).expect("a lock's file");
        let turn = Flock::lock(turn, FlockArg::LockExclusive).expect("our turn comes");
        let dir = tempfile::Builder::new().prefix("ll-").tempdir().expect("a folder");
        fs::create_dir(dir.path().join("tenants.d")).expect("a folder");
        for sample in samples() {
            let name = sample.file_name().expect("a file has a name");
            fs::copy(&sample, dir.path().join("tenants.d").join(name)).expect("a sample is copied");
        }
        let mut command = process::leashed(&binaries::program("landlord"));
        command
            .arg("run")
            .current_dir(dir.path())
            .env_remove("LANDLORD_CONFIG")
            // So that whoever is left behind is known by it.
            .env("LANDLORD_TEST_DIR", dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = process::spawn(command).expect("landlord can be started");
        let out = Output::follow(child.stdout.take().expect("piped"));
        let err = Output::follow(child.stderr.take().expect("piped"));
        Self { dir, child, out, err, _turn: turn }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Laptop {
    #[allow(clippy::print_stderr, reason = "a failing test shows all that was said")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\n{}", self.out.text(), self.err.text());
        }
        process::signal(self.child.id(), Signal::SIGTERM);
        if process::wait(&mut self.child, PATIENCE).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The sample companies that the repository has.
fn samples() -> Vec<PathBuf> {
    let dir = binaries::workspace().join("tenants.d");
    let entries = fs::read_dir(dir).expect("tenants.d has the samples");
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "toml"))
        .collect();
    found.sort();
    found
}

fn free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_and_two_companies_are_open() {
    let names: Vec<String> =
        samples().iter().map(|path| path.file_stem().expect("a stem").to_string_lossy().into_owned()).collect();
    assert!(names.len() >= 2, "two samples at least: {names:?}");

    let others_have_the_ports = !(free(8443) && free(8080));
    let mut laptop = Laptop::start();
    if others_have_the_ports {
        // Somebody else's program on this machine: then the start must fail, and say so.
        let status = process::wait(&mut laptop.child, PATIENCE).expect("it gives up");
        assert!(!status.success());
        assert!(laptop.err.text().contains("8443") || laptop.err.text().contains("8080"), "{}", laptop.err.text());
        return;
    }

    for name in &names {
        let url = format!("https://{name}.localhost:8443");
        laptop.out.wait_line("the table has every company's URL", 0, |line| line.contains(&url));
    }
    laptop.out.wait_line("how to trust the CA", 0, |line| line.contains("local-ca.pem"));
    laptop.out.wait_line("where to drop a file", 0, |line| line.contains("tenants.d"));

    let ca = laptop.path().join(".landlord/certs/local-ca.pem");
    for name in &names {
        let host = format!("{name}.localhost");
        let site = Site::new(SocketAddr::from(([127, 0, 0, 1], 8443)), &host, &ca);
        assert_eq!(site.get("/healthz").await.expect("an answer").status, 200, "{host}");
        let page = site.get("/").await.expect("a page");
        assert_eq!((page.status, page.text().contains("<html")), (200, true), "{}", page.text());
        let mut plain = Raw::tcp(SocketAddr::from(([127, 0, 0, 1], 8080))).await.expect("port 8080");
        plain.send(format!("GET /a?b HTTP/1.1\r\nHost: {host}:8080\r\n\r\n")).await.expect("sent");
        let redirect = plain.response().await.expect("a redirect");
        assert_eq!(redirect.status, 308);
        assert_eq!(redirect.field("location"), Some(format!("https://{host}:8443/a?b").as_str()));
    }

    // Ctrl-C.
    process::signal(laptop.child.id(), Signal::SIGINT);
    let asked = Instant::now();
    let status = process::wait(&mut laptop.child, PATIENCE).expect("Ctrl-C ends it");
    assert!(asked.elapsed() < Duration::from_secs(15), "within seconds, not {:?}", asked.elapsed());
    assert_eq!(status.code(), Some(0));
    eventually("nobody is left behind", || process::naming(laptop.path()).is_empty().then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_start_finds_the_first_ones_state() {
    let mut landlord = Setup::new().tenant("acme", "").start();
    let first = landlord.wait_state("acme", "running");
    landlord.write_dotenv("acme", "SECRET=kept\n");
    let first = landlord.wait_entry("acme", "redeployed", |e| e.state == "running" && e.generation > first.generation);
    let ca = fs::read(landlord.ca()).expect("a CA");
    fs::write(landlord.folder("acme").join("files/note.txt"), "precious").expect("a tenant's file");

    assert_eq!(landlord.stop().code(), Some(0));
    landlord.wait_nobody_left();
    landlord.start_again();

    let second = landlord.wait_state("acme", "running");
    assert_eq!(fs::read(landlord.ca()).expect("a CA"), ca, "visitors have trusted this one");
    assert!(second.generation > first.generation, "a generation's number is never used twice");
    assert_eq!(fs::read_to_string(landlord.folder("acme").join("files/note.txt")).expect("kept"), "precious");
    let generation: serde_json::Value = landlord.site("acme").get("/generation").await.expect("an answer").json();
    assert_eq!(generation["secret"], "kept");
}

#[test]
fn a_taken_port_is_named_with_its_holder_and_advice() {
    let mut landlord = Setup::new().prepare();
    let taken = TcpListener::bind(landlord.https()).expect("our own port");
    landlord.launch();
    let err = landlord.err();
    assert!(!landlord.wait_exit().success());
    let said = err.text();
    assert!(said.contains(&landlord.https().port().to_string()), "which port: {said}");
    assert!(said.contains(&std::process::id().to_string()), "by whom: {said}");
    assert!(said.contains("[listen]"), "what to do: {said}");
    drop(taken);
    landlord.start_again();
}

#[test]
fn a_second_gateway_on_the_same_state_is_refused() {
    let landlord = Setup::new().tenant("acme", "").start();
    let before = landlord.wait_state("acme", "running");
    let second = landlord.landlord(&["run"]);
    assert_ne!(second.code, 0, "{}", second.said());
    assert!(!second.stderr.is_empty());
    assert_eq!(landlord.entry("acme").pid, before.pid, "the first one goes on");
}

#[test]
fn the_table_tells_of_companies_that_do_not_start() {
    let landlord = Setup::new()
        .tenant("acme", "")
        .tenant("broken", "[env]\nEXIT_AT_START = \"3\"\n[health]\nstart_timeout = \"2s\"\n")
        .start();
    let out = landlord.out();
    let url = format!("https://acme.apps.test:{}", landlord.https().port());
    out.wait_line("a company that runs", 0, |line| line.contains(&url) && line.contains("running"));
    out.wait_line("a company that does not", 0, |line| {
        line.contains("broken") && (line.contains("failed") || line.contains("backoff"))
    });
}
