//! The Debian package in a whole machine: installed, it serves; upgraded, it loses nothing; removed, it keeps all data;
//! purged, it asks.

use std::{fs, path::PathBuf, process::Command};

use harness::{
    Entry, Ran, binaries,
    client::Site,
    eventually,
    installation::{another_build, package, run},
    machine::{Machine, Plan, SCRIPTED, Version},
    ports::Ports,
    traffic::{Kind, Load, Traffic},
};
use tempfile::TempDir;

/// Versions of packages, one after the other.
const OLD: &str = "1.0";
const NEW: &str = "1.1";

/// Where packages are seen in a machine.
const PACKAGES: &str = "/packages";

/// A machine that nothing is installed in yet, and a folder of packages that both sides see.
struct House {
    // First: it uses the folder.
    machine: Machine,
    packages: TempDir,
}

impl House {
    #[track_caller]
    fn boot(version: Version, change: impl FnOnce(Plan) -> Plan) -> Self {
        let packages = tempfile::tempdir().expect("a temporary folder");
        let plan = change(Plan::new(version).bind(packages.path(), PACKAGES));
        Self { machine: plan.boot(), packages }
    }

    /// Makes a package of the programs in `programs`, and gives its path in the machine.
    #[track_caller]
    fn package(&self, programs: PathBuf, version: &str) -> String {
        let file = package(&programs, version, self.packages.path());
        format!("{PACKAGES}/{}", file.file_name().expect("a file").to_string_lossy())
    }

    /// The same package with a program that was cut off on its way.
    #[track_caller]
    fn broken(&self, deb: &str) -> String {
        let file = self.packages.path().join(deb.trim_start_matches(PACKAGES).trim_start_matches('/'));
        let unpacked = self.packages.path().join("unpacked");
        run(Command::new("dpkg-deb").arg("--raw-extract").arg(&file).arg(&unpacked)).expect(0);
        let program = fs::OpenOptions::new().write(true).open(unpacked.join("usr/bin/landlord")).expect("the program");
        program.set_len(100_000).expect("it is cut off");
        drop(program);
        run(Command::new("dpkg-deb").args(["-Zgzip", "-z1", "--build"]).arg(&unpacked).arg(&file)).expect(0);
        deb.to_owned()
    }

    #[track_caller]
    fn dpkg(&self, args: &[&str]) -> Ran {
        // Without the triggers of others, such as an index of all manual pages of the machine.
        let quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--no-triggers", "--force-unsafe-io"];
        self.machine.run(&[&quiet[..], args].concat()).expect(0)
    }

    #[track_caller]
    fn entry(&self, name: &str) -> Option<Entry> {
        let ran = self.machine.run(&["landlord", "status", "--json"]);
        serde_json::from_str::<Vec<Entry>>(&ran.stdout).ok()?.into_iter().find(|entry| entry.name == name)
    }

    #[track_caller]
    fn wait_running(&self, name: &str) -> Entry {
        eventually(format!("{name} runs"), || self.entry(name).filter(|entry| entry.state == "running"))
    }

    #[track_caller]
    fn master(&self) -> u32 {
        self.machine.property("landlord", "MainPID").parse().expect("a number")
    }

    /// What a visitor on the machine itself is answered, over https.
    #[track_caller]
    fn visit(&self, path: &str) -> Ran {
        let ca = "/var/lib/landlord/certs/local-ca.pem";
        let address = "acme.localhost:443:127.0.0.1";
        let url = format!("https://acme.localhost{path}");
        self.machine.run(&[
            "curl",
            "-sS",
            "--max-time",
            "20",
            "--cacert",
            ca,
            "--resolve",
            address,
            "-w",
            "%{http_code}",
            &url,
        ])
    }

    fn exists(&self, path: &str) -> bool {
        self.machine.run(&["test", "-e", path]).code == 0
    }
}

/// From a bare Debian to a company that is served, and back to a bare Debian: with the ports, the users and the settings that
/// the package itself brings.
#[test]
fn it_serves_when_installed_and_keeps_all_data_until_somebody_says_otherwise() {
    let house = House::boot(Version::V257, Plan::private_network);
    let deb = house.package(binaries::profile_dir(), OLD);
    house.dpkg(&["--install", &deb]);
    let unit = |name| house.machine.property("landlord", name);
    assert_eq!((unit("ActiveState").as_str(), unit("UnitFileState").as_str()), ("active", "enabled"));
    assert_eq!(unit("Type"), "notify-reload", "where systemd knows it");
    let names = house.machine.shell("getent passwd 69997 69998 69999 | cut -d: -f1,3").expect(0).stdout;
    assert_eq!(names, "landlord-acme:69997\nlandlord-proxy:69998\nlandlord-log:69999\n");
    house.machine.write("/etc/landlord/tenants.d/acme.toml", "");
    house.wait_running("acme");
    let answer = house.visit("/healthz");
    assert!(answer.stdout.ends_with("200"), "{}", answer.said());
    let shell = "ps -o user= -p $(pgrep -d, -f 'landlord.* (proxy|log) --link') | sort | paste -sd' '";
    let users = house.machine.shell(shell).stdout;
    assert_eq!(users.trim(), "landlord-log landlord-proxy");

    // The company's data, in its database and beside it.
    let posted = "curl -sS --cacert /var/lib/landlord/certs/local-ca.pem --resolve acme.localhost:443:127.0.0.1 \
                  --json '{\"author\": \"A\", \"body\": \"still here\"}' https://acme.localhost/api/notices";
    house.machine.shell(posted).expect(0);

    let removed = house.dpkg(&["--remove", "landlord"]);
    assert!(removed.said().contains("are kept"), "{}", removed.said());
    assert!(!house.exists("/usr/bin/landlord") && !house.exists("/usr/lib/systemd/system/landlord.service.d"));
    let left = house.machine.run(&["pgrep", "--list-full", "landlord"]);
    assert_eq!((left.code, left.stdout.as_str()), (1, ""), "removed, nothing of it runs");
    house.dpkg(&["--install", &deb]);
    house.wait_running("acme");
    assert!(house.visit("/api/notices").stdout.contains("still here"), "{:?}", house.visit("/api/notices"));

    // Nobody is there to be asked.
    let kept = house.dpkg(&["--purge", "landlord"]);
    assert!(kept.said().contains("data and settings were kept"), "{}", kept.said());
    assert!(
        house.exists("/var/lib/landlord/tenants/acme/instance/app.db") && house.exists("/etc/landlord/landlord.toml")
    );
    house.dpkg(&["--install", &deb]);
    house.wait_running("acme");
    assert!(house.visit("/api/notices").stdout.contains("still here"));

    // Somebody at a terminal is asked, and says yes.
    let asked = "export TERM=dumb DEBIAN_FRONTEND=teletype; echo yes | script -qec 'dpkg --purge landlord' /dev/null";
    let ran = house.machine.shell(asked).expect(0);
    assert!(ran.said().contains("Remove all companies' data below /var/lib/landlord?"), "{}", ran.said());
    assert!(!house.exists("/var/lib/landlord/tenants") && !house.exists("/etc/landlord"), "{}", ran.said());
    let backup = house.machine.shell("stat -c '%a %U' /var/backups/landlord-*.tar.gz").expect(0).stdout;
    assert_eq!(backup, "600 root\n");
    let packed = house.machine.shell("tar tzf /var/backups/landlord-*.tar.gz").expect(0).stdout;
    for path in [
        "etc/landlord/landlord.toml",
        "etc/landlord/tenants.d/acme.toml",
        "var/lib/landlord/tenants/acme/instance/app.db",
    ] {
        assert!(packed.lines().any(|line| line == path), "{path} is not in\n{packed}");
    }
}

/// The systemd of Debian 12 does not know `notify-reload`; and where an image is built, nothing is to be started.
#[test]
fn it_starts_where_that_is_the_policy_and_serves_with_an_older_systemd() {
    let house = House::boot(Version::V252, Plan::private_network);
    let deb = house.package(binaries::profile_dir(), OLD);
    let policy = "/usr/sbin/policy-rc.d";
    house.machine.shell(&format!("printf '#!/bin/sh\\nexit 101\\n' >{policy} && chmod 755 {policy}")).expect(0);
    house.dpkg(&["--install", &deb]);
    assert_eq!(house.machine.property("landlord", "ActiveState"), "inactive");
    house.dpkg(&["--remove", "landlord"]);
    house.machine.shell(&format!("rm {policy}")).expect(0);
    house.dpkg(&["--install", &deb]);
    assert_eq!(house.machine.property("landlord", "ActiveState"), "active");
    assert_eq!(house.machine.property("landlord", "Type"), "notify");
    house.machine.write("/etc/landlord/tenants.d/acme.toml", "");
    house.wait_running("acme");
    let answer = house.visit("/healthz");
    assert!(answer.stdout.ends_with("200"), "{}", answer.said());
    house.dpkg(&["--remove", "landlord"]);
    assert!(house.exists("/var/lib/landlord/tenants/acme/instance/app.db"));
}

/// Somebody has said yes before, and there is no room for the backup. Then there is, and the data was elsewhere all along.
#[test]
fn a_purge_removes_nothing_that_it_cannot_pack_and_nothing_elsewhere() {
    let house = House::boot(Version::V257, Plan::private_network);
    let deb = house.package(binaries::profile_dir(), OLD);
    house.dpkg(&["--install", &deb]);
    house.machine.write("/etc/landlord/tenants.d/acme.toml", "");
    house.wait_running("acme");
    house.dpkg(&["--remove", "landlord"]);
    let yes = "echo landlord landlord/purge boolean true | debconf-set-selections";
    let database = "/var/lib/landlord/tenants/acme/instance/app.db";

    // More than fits.
    house.machine.shell("head -c 65536 /dev/urandom >/var/lib/landlord/tenants/acme/files/random").expect(0);
    house.machine.shell(&format!("{yes} && mount -t tmpfs -o size=4k tmpfs /var/backups")).expect(0);
    let purge = ["env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--purge", "landlord"];
    let refused = house.machine.run(&purge).expect(1);
    assert!(refused.said().contains("nothing was removed"), "{}", refused.said());
    assert!(house.exists(database) && house.exists("/etc/landlord/landlord.toml"));
    assert_eq!(house.machine.shell("ls /var/backups; umount /var/backups").expect(0).stdout, "");

    let settings = house.machine.read("/etc/landlord/landlord.toml");
    let elsewhere = settings.replace("\"/var/lib/landlord\"", "\"/srv/landlord\"");
    assert_ne!(elsewhere, settings);
    house.machine.write("/etc/landlord/landlord.toml", elsewhere);
    house.machine.shell(yes).expect(0);
    let left = house.machine.run(&purge).expect(0);
    assert!(left.said().contains("names another folder"), "{}", left.said());
    assert!(house.exists(database) && house.exists("/etc/landlord/tenants.d/acme.toml"));

    house.dpkg(&["--install", &deb]);
    house.machine.write("/etc/landlord/landlord.toml", settings);
    house.machine.shell(yes).expect(0);
    let removed = house.machine.run(&purge).expect(0);
    assert!(removed.said().contains("A copy is in /var/backups/landlord-"), "{}", removed.said());
    assert!(!house.exists("/var/lib/landlord") && !house.exists("/etc/landlord"));
}

/// A new version of the package, while visitors of every kind go in and out.
#[test]
fn an_upgrade_under_load_loses_nothing_and_restarts_nobody() {
    let ports = Ports::take();
    let toml = format!(
        "zone = \"apps.test\"\napp = \"scripted\"\n[listen]\nhttps = [\"127.0.0.1:{}\"]\nhttp = [\"127.0.0.1:{}\"]\n\
         [ports]\nfirst = {}\nlast = {}\n[users]\n\
         [apps.scripted]\ncommand = [{SCRIPTED:?}]\nlisten = \"inherit\"\nhealth = \"/healthz\"\n",
        ports.https(),
        ports.http(),
        ports.workers().start(),
        ports.workers().end(),
    );
    let scripted = binaries::program("scripted");
    // Settings that are there before are the operator's.
    let house = House::boot(Version::V257, |plan| {
        let plan = plan.program(SCRIPTED, &scripted).file("/etc/landlord/landlord.toml", &toml);
        plan.file("/etc/landlord/tenants.d/acme.toml", "")
    });
    let deb = house.package(binaries::profile_dir(), OLD);
    house.dpkg(&["--install", &deb]);
    assert_eq!(house.machine.read("/etc/landlord/landlord.toml"), toml);
    let before = house.wait_running("acme");
    let master = house.master();
    let program = || house.machine.shell(&format!("stat -Lc %i /proc/{master}/exe")).expect(0).stdout;
    let old_program = program();

    let build = another_build();
    let deb = house.package(build.path().to_owned(), NEW);
    let address = ([127, 0, 0, 1], ports.https()).into();
    let site = Site::new(address, "acme.apps.test", &house.machine.path("/var/lib/landlord/certs/local-ca.pem"));
    let crowds: Vec<Traffic> = Kind::ALL
        .into_iter()
        .map(|kind| Load::new(kind, 50))
        .chain([Load::slow(Kind::KeepAlive, 10, 150), Load::slow(Kind::Http2, 10, 150)])
        .map(|load| Traffic::start(site.clone(), load))
        .collect();
    Traffic::wait_all_answered(&crowds, 20);
    let upgraded = house.dpkg(&["--install", &deb]);
    Traffic::wait_all_answered(&crowds, 20);

    conclude("a package upgraded", crowds);
    assert!(!upgraded.said().contains("OLD VERSION"), "{}", upgraded.said());
    assert_eq!(house.master(), master, "the same process");
    assert_ne!(program(), old_program, "of another program");
    assert_eq!(house.machine.property("landlord", "NRestarts"), "0");
    let after = house.wait_running("acme");
    assert_eq!((after.pid, after.port, after.restarts), (before.pid, before.port, before.restarts));
    let version =
        house.machine.shell("dpkg-query --show --showformat '${Version} ${db:Status-Status}' landlord").expect(0);
    assert_eq!(version.stdout, format!("{NEW} installed"));
}

/// A new version that does not even start: the old one goes on, the package is configured, and somebody is told.
#[test]
fn a_new_version_that_cannot_take_over_leaves_the_old_one_running() {
    let house = House::boot(Version::V257, Plan::private_network);
    let deb = house.package(binaries::profile_dir(), OLD);
    house.dpkg(&["--install", &deb]);
    house.machine.write("/etc/landlord/tenants.d/acme.toml", "");
    let before = house.wait_running("acme");
    let master = house.master();
    let deb = house.broken(&house.package(binaries::profile_dir(), NEW));
    let upgraded = house.dpkg(&["--install", &deb]);
    assert!(upgraded.said().contains("THE OLD VERSION STILL RUNS"), "{}", upgraded.said());
    let version =
        house.machine.shell("dpkg-query --show --showformat '${Version} ${db:Status-Status}' landlord").expect(0);
    assert_eq!(version.stdout, format!("{NEW} installed"));
    assert_eq!(house.master(), master);
    assert_eq!(house.machine.property("landlord", "ActiveState"), "active");
    assert_ne!(house.machine.run(&["landlord", "--version"]).code, 0, "the new one is broken indeed");
    let after = house.visit("/healthz");
    assert!(after.stdout.ends_with("200"), "{}", after.said());
    let pid = before.pid.expect("a running worker has a pid");
    assert_eq!(house.machine.run(&["test", "-d", &format!("/proc/{pid}")]).code, 0, "its worker is the same");
    // It has not lost its hands, either.
    house.machine.run(&["kill", "-KILL", &pid.to_string()]).expect(0);
    let after = house.visit("/healthz");
    assert!(after.stdout.ends_with("200"), "{}", after.said());
    assert_eq!(house.machine.run(&["test", "-d", &format!("/proc/{pid}")]).code, 1, "another worker answered");
}

#[allow(clippy::print_stdout, reason = "the figures are what these tests are read for")]
fn conclude(what: &str, crowds: Vec<Traffic>) {
    let reports: Vec<_> = crowds.into_iter().map(Traffic::stop).collect();
    for report in &reports {
        println!("{what}: {report}");
    }
    for report in &reports {
        report.assert_none_lost(20);
    }
}
