//! Loopback between tenants: nobody but root and the gateway reaches a worker's port, whatever happens to the rules. Each test
//! has a network of its own.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use harness::{
    Landlord, Setup, eventually,
    machine::{Install, Version},
    network::{self, sh},
    process,
    traffic::{Kind, Load, Traffic},
};

const USERS: &str = "[users]\nfirst = 70000\nlast = 70099\n";
/// Binds its port itself, on every address of the machine.
const EVERYWHERE: &str = "[apps.everywhere]\nlisten = \"port\"\nhealth = \"/\"\n\
                          command = [\"/usr/bin/python3\", \"-m\", \"http.server\", \"--bind\", \"0.0.0.0\", \"${PORT}\"]\n";

/// Connects as each of the users to each of the addresses, and tells how it went, a line each.
const CONNECT: &str = r#"
import encodings.idna, errno, os, socket, sys
for user in map(int, sys.argv[1].split(",")):
    sys.stdout.flush()
    if os.fork() == 0:
        os.setgroups([]); os.setresgid(user, user, user); os.setresuid(user, user, user)
        for at in sys.argv[2:]:
            host, port = at.rsplit(":", 1)
            try:
                socket.create_connection((host, int(port)), timeout=20).close()
                print(user, at, "connected")
            except OSError as error:
                print(user, at, errno.errorcode.get(error.errno, error))
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"#;

/// A worker's listening socket was made by root. Its tenant makes a client of it, which keeps root's name.
const LISTENER_TURNED_CLIENT: &str = r#"
import encodings.idna, errno, os, socket, sys
own, other = map(int, sys.argv[1:])
listener = socket.socket()
listener.bind(("127.0.0.1", own))
listener.listen()
os.setgroups([]); os.setresgid(70050, 70050, 70050); os.setresuid(70050, 70050, 70050)
listener.shutdown(socket.SHUT_RDWR)
listener.settimeout(20)
try:
    listener.connect(("127.0.0.1", other))
    print("connected")
except OSError as error:
    print(errno.errorcode.get(error.errno, error))
"#;

/// Knocks at a neighbour's port without a pause until its standard input ends; then how often it was let in and refused.
const KNOCK_ON: &str = r#"
import encodings.idna, os, select, socket, sys
os.setgroups([]); os.setresgid(70050, 70050, 70050); os.setresuid(70050, 70050, 70050)
counts = {"let in": 0, "refused": 0}
while not select.select([sys.stdin], [], [], 0)[0]:
    with socket.socket() as knocker:
        knocker.settimeout(20)
        try:
            knocker.connect(("127.0.0.1", int(sys.argv[1])))
            counts["let in"] += 1
        except ConnectionRefusedError:
            counts["refused"] += 1
print(counts["let in"], counts["refused"])
"#;

fn python(text: &str, args: &[String]) -> String {
    let output = Command::new("python3").arg("-c").arg(text).args(args).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// How each of `users` fares at each of `at`.
fn connect(users: &str, at: &[String]) -> Vec<String> {
    let args: Vec<String> = [users.to_owned()].into_iter().chain(at.iter().cloned()).collect();
    python(CONNECT, &args).lines().map(str::to_owned).collect()
}

/// With a folder that each tenant can reach.
fn started(setup: Setup) -> Landlord {
    let mut landlord = setup.default_app("workspace").tables(USERS).prepare();
    fs::set_permissions(landlord.dir(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    landlord.start_again();
    landlord
}

/// What doctor finds about loopback: its level and its words.
fn loopback(landlord: &Landlord) -> (String, String) {
    let ran = landlord.landlord(&["doctor", "--json"]);
    let all: Vec<serde_json::Value> = serde_json::from_str(&ran.stdout).expect("JSON");
    let one = all.iter().find(|finding| finding["name"] == "loopback").expect("a finding").clone();
    let word = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
    (word("level"), format!("{} {} {}", word("found"), word("means"), word("remedy")))
}

/// Waits until the one that runs says that nobody gets through, or that somebody does.
#[track_caller]
fn wait_closed(landlord: &Landlord, closed: bool) {
    eventually(format_args!("loopback is closed: {closed}"), || {
        let said = landlord.landlord(&["status"]).expect(0).stdout;
        (said.contains("Tenants are not kept apart by loopback") != closed).then_some(())
    });
}

fn tables() -> String {
    sh("nft list tables")
}

#[test]
fn a_neighbours_port_is_refused() {
    if !network::alone("a_neighbours_port_is_refused") {
        return;
    }
    let setup = Setup::new().network_rights().tables(EVERYWHERE).tenant("acme", "");
    let mut landlord = started(setup.tenant("beta", "app = \"everywhere\"\n"));
    let port = |name: &str| landlord.wait_state(name, "running").port.expect("a port");
    let (acme, beta) = (port("acme"), port("beta"));
    wait_closed(&landlord, true);
    assert_eq!(loopback(&landlord).0, "ok", "{:?}", loopback(&landlord));

    let at = [format!("127.0.0.1:{acme}"), format!("127.0.0.1:{beta}"), format!("192.0.2.1:{beta}")];
    // Tenants, the roles that need no worker, and nobody: all are strangers.
    for user in ["70000", "70001", "70050", "69997", "69999", "65534", "1000"] {
        let told = connect(user, &at);
        assert!(told.len() == 3 && told.iter().all(|line| line.ends_with(" ECONNREFUSED")), "{told:#?}");
    }
    let told = connect("0,69998", &at);
    assert!(told.len() == 6 && told.iter().all(|line| line.ends_with(" connected")), "{told:#?}");
    let elsewhere = format!("127.0.0.1:{}", landlord.https().port());
    assert!(connect("70000", &[elsewhere])[0].ends_with(" connected"), "the gateway is everybody's");

    let free = landlord.ports().workers().end().to_string();
    assert_eq!(python(LISTENER_TURNED_CLIENT, &[free, acme.to_string()]), "ECONNREFUSED\n");

    for name in ["acme", "beta"] {
        assert_eq!(landlord.entry(name).restarts, 0, "the gateway asks how they are, and hears it");
    }
    let before = tables();
    assert_eq!(before.lines().count(), 1, "{before}");
    landlord.stop();
    assert_eq!(tables(), "", "what it has loaded, it takes away");
}

#[test]
fn rules_are_replaced_under_traffic() {
    if !network::alone("rules_are_replaced_under_traffic") {
        return;
    }
    let mut landlord = started(Setup::new().network_rights().tenant("acme", ""));
    let port = landlord.wait_state("acme", "running").port.expect("a port");
    wait_closed(&landlord, true);
    let site = |kind| {
        let load = Load { path: "/healthz".into(), ..Load::new(kind, 25) };
        Traffic::start(landlord.site("acme"), load)
    };
    let crowds = [site(Kind::KeepAlive), site(Kind::NewConnection)];
    let mut knocker = Command::new("python3");
    knocker.args(["-c", KNOCK_ON, &port.to_string()]);
    knocker.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut knocker = process::spawn(knocker).expect("python3");
    Traffic::wait_all_answered(&crowds, 10);
    for _ in 0..10 {
        let said = landlord.landlord(&["firewall"]).expect(0).stdout;
        assert!(said.contains("only root and the gateway"), "{said}");
    }
    Traffic::wait_all_answered(&crowds, 10);
    drop(knocker.stdin.take());
    let told = knocker.wait_with_output().expect("it ends");
    let told = String::from_utf8(told.stdout).expect("text");
    let counts: Vec<u64> = told.split_whitespace().map(|count| count.parse().expect("a number")).collect();
    assert!(counts[0] == 0 && counts[1] > 10, "let in, refused: {counts:?}");
    for crowd in crowds {
        crowd.stop().assert_none_lost(20);
    }

    // An administrator's own rules may well begin with this.
    sh("nft flush ruleset");
    assert!(connect("70050", &[format!("127.0.0.1:{port}")])[0].ends_with(" connected"));
    landlord.landlord(&["reload"]).expect(0);
    eventually("the rules are loaded again", || (!tables().is_empty()).then_some(()));
    wait_closed(&landlord, true);

    // Killed, it takes nothing away; the next one knows what is its own.
    landlord.kill();
    landlord.wait_nobody_left();
    let (first, last) = (*landlord.ports().workers().start(), *landlord.ports().workers().end());
    landlord.edit_config(&format!("first = {first}\n"), &format!("first = {}\n", first + 1));
    landlord.start_again();
    wait_closed(&landlord, true);
    assert!(tables().contains(&format!("landlord_{}_{last}\n", first + 1)), "{}", tables());
    landlord.edit_config(&format!("first = {}\n", first + 1), &format!("first = {first}\n"));
    landlord.landlord(&["reload"]).expect(0);
    eventually("both ranges are closed", || (tables().lines().count() == 2).then_some(()));
    wait_closed(&landlord, true);
    landlord.stop();
    assert_eq!(tables(), "");
}

#[test]
fn without_the_right_it_starts_and_says_so() {
    if !network::alone("without_the_right_it_starts_and_says_so") {
        return;
    }
    let mut landlord = started(Setup::new().tenant("acme", ""));
    let port = landlord.wait_state("acme", "running").port.expect("a port");
    wait_closed(&landlord, false);
    assert_eq!(tables(), "");
    let (level, words) = loopback(&landlord);
    assert!(level == "warning" && words.contains("landlord firewall"), "{level} {words}");
    assert!(connect("70050", &[format!("127.0.0.1:{port}")])[0].ends_with(" connected"));

    // Whoever has the right does it, as before the start of the service; it stays when landlord ends.
    landlord.landlord(&["firewall"]).expect(0);
    landlord.landlord(&["reload"]).expect(0);
    wait_closed(&landlord, true);
    assert_eq!(loopback(&landlord).0, "ok");
    landlord.stop();
    assert_eq!(tables().lines().count(), 1);
    assert_eq!(loopback(&landlord).0, "ok", "doctor tries by itself");
    landlord.landlord(&["firewall", "--remove"]).expect(0);
    landlord.landlord(&["firewall", "--remove"]).expect(0);
    assert_eq!(tables(), "");
}

#[test]
fn the_rules_can_be_read_and_only_root_loads_them() {
    if !network::alone("the_rules_can_be_read_and_only_root_loads_them") {
        return;
    }
    let landlord = Setup::new().tables(USERS).prepare();
    let printed = landlord.landlord(&["firewall", "--print"]).expect(0).stdout;
    let file = landlord.dir().join("rules.nft");
    fs::write(&file, &printed).expect("a file of ours");
    sh(&format!("nft --check --file {}", file.display()));
    assert_eq!(tables(), "", "neither changes anything");

    fs::set_permissions(landlord.dir(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    let program = landlord.dir().join("landlord");
    fs::copy(harness::binaries::program("landlord"), &program).expect("landlord is copied");
    let as_nobody = |verb: &[&str]| {
        let mut command = process::leashed(Path::new("setpriv"));
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&program);
        let output = command.arg("--config").arg(landlord.config()).args(verb).output().expect("setpriv");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = as_nobody(&["firewall"]);
    assert!(code == Some(1) && said.contains("sudo landlord firewall"), "{code:?} {said}");
    assert_eq!(as_nobody(&["firewall", "--print"]).0, Some(0));

    let alike = Setup::new().prepare();
    let ran = alike.landlord(&["firewall"]).expect(1);
    assert!(ran.stderr.contains("[users]"), "{}", ran.stderr);
}

/// The service itself may not change rules; what runs before it does.
#[test]
fn the_unit_loads_them_before_the_start() {
    let install = Install::new(Version::V252).tables(EVERYWHERE).tenant("acme", "app = \"everywhere\"\n");
    let service = install.plan(harness::machine::Plan::private_network).start();
    let port = service.wait_state("acme", "running").port.expect("a port");
    let machine = service.machine();
    let at = format!("127.0.0.1:{port}");
    let connect = |user: &str| machine.run(&["python3", "-c", CONNECT, user, &at]).expect(0).stdout;
    assert_eq!(connect("70050"), format!("70050 {at} ECONNREFUSED\n"));
    assert_eq!(connect("0,69998"), format!("0 {at} connected\n69998 {at} connected\n"));
    eventually("it has found that it holds", || {
        let said = service.landlord(&["status"]).expect(0).stdout;
        (!said.contains("apart by loopback")).then_some(())
    });
    assert_eq!(machine.shell("nft list tables | wc -l").stdout.trim(), "1");
    // It is not the service's to take away: workers of a crashed one go on behind it.
    service.stop();
    assert_eq!(machine.shell("nft list tables | wc -l").stdout.trim(), "1");
    machine.systemctl(&["start", "landlord"]).expect(0);
    service.wait_state("acme", "running");
    assert_eq!(machine.shell("nft list tables | wc -l").stdout.trim(), "1");
}
