//! landlord installed in a machine as its package does it: programs in /usr/bin, units, /etc/landlord, and a tenant uid
//! range. The scripted worker is its default app.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use super::{Machine, Plan, Version};
use crate::{Entry, Ran, Watch, binaries, client::Site, ports::Ports, process, status};

/// Where the scripted worker is, for all users.
pub const SCRIPTED: &str = "/usr/lib/landlord-tests/scripted";

/// What is to be installed.
#[derive(Debug)]
pub struct Install {
    plan: Plan,
    version: Version,
    ports: Ports,
    own_ports: bool,
    keys: String,
    tables: String,
}

impl Install {
    /// Programs, units and the folder for tenants; nobody let in yet.
    pub fn new(version: Version) -> Self {
        let mut plan = Plan::new(version)
            .program("/usr/bin/landlord", &binaries::program("landlord"))
            .program("/usr/bin/landlord-worker", &binaries::program("landlord-worker"))
            .program(SCRIPTED, &binaries::program("scripted"))
            .file("/etc/landlord/tenants.d/.keep", "");
        for (name, text) in units() {
            plan = match (name.as_str(), version) {
                ("notify-reload.conf", Version::V252) => plan,
                ("notify-reload.conf", Version::V257) => {
                    plan.file("/usr/lib/systemd/system/landlord.service.d/notify-reload.conf", text)
                }
                _ => plan.file(&format!("/usr/lib/systemd/system/{name}"), text),
            };
        }
        Self { plan, version, ports: Ports::take(), own_ports: false, keys: String::new(), tables: String::new() }
    }

    /// Top-level keys of landlord.toml.
    #[must_use]
    pub fn keys(mut self, toml: &str) -> Self {
        self.keys.push_str(toml);
        self.keys.push('\n');
        self
    }

    /// Tables of landlord.toml.
    #[must_use]
    pub fn tables(mut self, toml: &str) -> Self {
        self.tables.push_str(toml);
        self.tables.push('\n');
        self
    }

    /// A tenant that is there from the start.
    #[must_use]
    pub fn tenant(self, name: &str, toml: &str) -> Self {
        self.plan(|plan| plan.file(&format!("/etc/landlord/tenants.d/{name}.toml"), toml))
    }

    /// What `systemctl edit UNIT` would add.
    #[must_use]
    pub fn drop_in(self, unit: &str, text: &str) -> Self {
        self.plan(|plan| plan.file(&format!("/etc/systemd/system/{unit}.d/test.conf"), text))
    }

    /// Anything else about the machine.
    #[must_use]
    pub fn plan(mut self, change: impl FnOnce(Plan) -> Plan) -> Self {
        self.plan = change(self.plan);
        self
    }

    /// landlord's own default ports, 443 and 80 among them: in a machine with a private network, nobody else has them.
    #[must_use]
    pub fn own_ports(mut self) -> Self {
        self.own_ports = true;
        self
    }

    /// The test's ports, for what it writes itself.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Boots the machine; landlord is not started.
    #[track_caller]
    pub fn boot(self) -> Service {
        let ports = Some(&self.ports).filter(|_| !self.own_ports);
        let toml = toml(&self.keys, &self.tables, ports);
        let plan = self.plan.file("/etc/landlord/landlord.toml", toml);
        Service { machine: plan.boot(), version: self.version, ports: self.ports }
    }

    /// Boots the machine and starts landlord as an operator does.
    #[track_caller]
    pub fn start(self) -> Service {
        let service = self.boot();
        service.machine.systemctl(&["start", "landlord"]).expect(0);
        service
    }
}

/// landlord in a machine.
#[derive(Debug)]
pub struct Service {
    // First: the ports are free when nothing listens there any more.
    machine: Machine,
    version: Version,
    ports: Ports,
}

impl Service {
    /// Where it runs.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Its systemd.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The machine alone, for what ends with it.
    pub fn into_machine(self) -> Machine {
        self.machine
    }

    /// `landlord ARGS` in the machine.
    #[track_caller]
    pub fn landlord(&self, args: &[&str]) -> Ran {
        self.machine.run(&[&["landlord"], args].concat())
    }

    /// The master's pid, as the machine numbers it.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.machine.property("landlord", "MainPID").parse().expect("a number")
    }

    /// What `landlord status --json` says now.
    #[track_caller]
    pub fn fleet(&self) -> Vec<Entry> {
        let ran = self.landlord(&["status", "--json"]).expect(0);
        status::parse(&ran.stdout).expect("status --json writes entries")
    }

    /// One tenant of [`Service::fleet`].
    #[track_caller]
    pub fn entry(&self, name: &str) -> Entry {
        let fleet = self.fleet();
        fleet.iter().find(|e| e.name == name).unwrap_or_else(|| panic!("no {name} in {fleet:#?}")).clone()
    }

    /// Stops it as an operator does: no process of it is left, and no descriptor in systemd's keeping.
    #[track_caller]
    pub fn stop(&self) {
        let group = self.machine.property("landlord", "ControlGroup");
        self.machine.systemctl(&["stop", "landlord"]).expect(0);
        let left = self.machine.shell(&format!("find /sys/fs/cgroup{group} -name cgroup.procs -exec cat {{}} +"));
        assert_eq!(left.stdout, "", "processes are left");
        assert_eq!(self.machine.property("landlord", "NFileDescriptorStore"), "0");
    }

    /// Every state from now on.
    pub fn watch(&self) -> Watch {
        let mut command = self.machine.command(&["landlord", "status", "--watch", "--json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Watch::follow(process::spawn(command).expect("nsenter can be started"))
    }

    /// Waits until the tenant is in `state`, and tells what it then is.
    #[track_caller]
    pub fn wait_state(&self, name: &str, state: &str) -> Entry {
        let what = format!("{name} is {state}");
        let fleet = self.watch().until(&what, |fleet| fleet.iter().any(|e| e.name == name && e.state == state));
        fleet.into_iter().find(|entry| entry.name == name).expect("the watch found it")
    }

    /// A new or changed tenant file, whole at once.
    #[track_caller]
    pub fn drop_tenant(&self, name: &str, toml: impl AsRef<[u8]>) {
        self.machine.write(&format!("/etc/landlord/tenants.d/{name}.toml"), toml);
    }

    /// The file is gone.
    #[track_caller]
    pub fn remove_tenant(&self, name: &str) {
        let file = self.machine.path(&format!("/etc/landlord/tenants.d/{name}.toml"));
        fs::remove_file(file).expect("a tenant file is removed");
    }

    /// A tenant's site, as a visitor who trusts the house's CA opens it.
    #[track_caller]
    pub fn site(&self, tenant: &str) -> Site {
        let ca = self.machine.path("/var/lib/landlord/certs/local-ca.pem");
        Site::new(self.https(), &format!("{tenant}.apps.test"), &ca)
    }

    /// Where TLS is.
    pub fn https(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.https()))
    }

    /// The ports that are this test's.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }
}

/// Everything in `systemd/`: name and text.
pub fn units() -> Vec<(String, String)> {
    let folder: PathBuf = binaries::workspace().join("systemd");
    let entries = fs::read_dir(&folder).expect("the folder of units");
    let text = |path: &Path| fs::read_to_string(path).expect("a unit");
    entries.flatten().map(|entry| (entry.file_name().to_string_lossy().into_owned(), text(&entry.path()))).collect()
}

fn toml(keys: &str, tables: &str, ports: Option<&Ports>) -> String {
    let listen = ports.map_or_else(String::new, |ports| {
        let (https, http, workers) = (ports.https(), ports.http(), ports.workers());
        format!(
            "[listen]\nhttps = [\"127.0.0.1:{https}\"]\nhttp = [\"127.0.0.1:{http}\"]\n\
             [ports]\nfirst = {}\nlast = {}\n",
            workers.start(),
            workers.end(),
        )
    });
    format!(
        "zone = \"apps.test\"\napp = \"scripted\"\n{keys}\n{listen}[users]\nfirst = 70000\nlast = 79999\n\
         [apps.scripted]\ncommand = [{SCRIPTED:?}]\nlisten = \"inherit\"\nhealth = \"/healthz\"\n{tables}\n",
    )
}
