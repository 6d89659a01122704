//! Where a storm rages: a gateway, and whoever starts it again.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::PathBuf,
    process::Command,
};

use nix::{sys::signal::Signal, unistd::geteuid};

use crate::{Entry, Landlord, Setup, binaries, client::Site, process, status};

/// A gateway under a storm, told by what differs between ways of keeping one alive. Paths and pids are this machine's.
pub trait House {
    /// `landlord ARGS` as its operator, ready to be started.
    fn command(&self, args: &[&str]) -> Command;
    /// `landlord.toml`.
    fn config(&self) -> PathBuf;
    /// `tenants.d`.
    fn tenants(&self) -> PathBuf;
    /// The state folder.
    fn state(&self) -> PathBuf;
    /// A tenant's site.
    fn site(&self, tenant: &str) -> Site;
    /// The ports for its workers.
    fn worker_ports(&self) -> std::ops::RangeInclusive<u16>;
    /// Its master, as long as there is one.
    fn master(&self) -> Option<u32>;
    /// Every process of it, the master included.
    fn processes(&self) -> Vec<u32>;
    /// After `kill -9` of the master: whoever starts it again is given the chance to, and nobody is waited for.
    fn revive(&mut self);
    /// What a master said that has ended by itself, which none ever may.
    fn gave_up(&mut self) -> Option<String>;
    /// Whether workers and proxy live on while the master is dead.
    fn outlives_its_master(&self) -> bool;

    /// What `landlord status --json` says; `None` while nobody answers.
    fn status(&self) -> Option<Vec<Entry>> {
        let output = self.command(&["status", "--json"]).output().ok()?;
        status::parse(std::str::from_utf8(&output.stdout).ok()?).ok().filter(|_| output.status.success())
    }

    /// Writes a file beside its place and renames it there, as careful editors do.
    fn write(&self, path: &std::path::Path, text: &str) -> std::io::Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = path.with_file_name(format!(".{name}.tmp"));
        fs::write(&beside, text)?;
        fs::rename(beside, path)
    }

    /// A tenant's `.env`, owned by whoever owns its folder; an error while it has no folder.
    fn write_dotenv(&self, tenant: &str, text: &str) -> std::io::Result<()> {
        let folder = self.state().join("tenants").join(tenant);
        let owner = fs::metadata(&folder)?;
        let beside = folder.join(".env.tmp");
        fs::write(&beside, text)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
        chown(&beside, Some(owner.uid()), Some(owner.gid()))?;
        fs::rename(beside, folder.join(".env"))
    }
}

/// A gateway without systemd: everybody dies with the master, and the test starts it again at once.
#[derive(Debug)]
pub struct Laptop(pub Landlord);

impl House for Laptop {
    fn command(&self, args: &[&str]) -> Command {
        self.0.command(args)
    }

    fn config(&self) -> PathBuf {
        self.0.config()
    }

    fn tenants(&self) -> PathBuf {
        self.0.tenants()
    }

    fn state(&self) -> PathBuf {
        self.0.state()
    }

    fn site(&self, tenant: &str) -> Site {
        self.0.site(tenant)
    }

    fn worker_ports(&self) -> std::ops::RangeInclusive<u16> {
        self.0.ports().workers()
    }

    fn master(&self) -> Option<u32> {
        Some(self.0.pid()).filter(|pid| process::alive(*pid))
    }

    fn processes(&self) -> Vec<u32> {
        let path = self.0.dir();
        process::naming(path).into_iter().map(|(pid, _)| pid).collect()
    }

    fn revive(&mut self) {
        self.0.relaunch();
    }

    fn gave_up(&mut self) -> Option<String> {
        self.0.ended()
    }

    fn outlives_its_master(&self) -> bool {
        false
    }
}

/// The gateway's settings for a storm: the apps of [`super::App`], and as root a uid for each tenant.
pub fn setup(version: u32) -> Setup {
    let scripted = binaries::program("scripted");
    let scripted = scripted.display();
    let bundled = "command = [\"landlord-worker\", \"serve\"]\nmigrate = [\"landlord-worker\", \"migrate\"]\n\
                   health = \"/healthz\"\nstop_timeout = \"2s\"\n";
    let own = format!("command = [\"{scripted}\"]\nhealth = \"/healthz\"\nstop_timeout = \"2s\"\n");
    let tables = format!(
        "[defaults.deploy]\nhold_timeout = \"10s\"\ndrain_timeout = \"5s\"\n\
         [apps.board]\n{bundled}listen = \"inherit\"\nversion = \"{version}\"\n\
         [apps.socket]\n{bundled}listen = \"unix\"\nversion = \"{version}\"\n\
         [apps.inherit]\n{own}listen = \"inherit\"\n\
         [apps.port]\n{own}listen = \"port\"\n\
         [apps.hold]\n{own}listen = \"inherit\"\ndeploy = {{ strategy = \"hold\" }}\n\
         migrate = [\"sh\", \"-c\", \"echo migrated >> journal\"]\n\
         [apps.wrapped]\ncommand = [\"sh\", \"-c\", \"{scripted}; exit $?\"]\nhealth = \"/healthz\"\nstop_timeout = \"2s\"\n\
         listen = \"port\"\n"
    );
    let users = if geteuid().is_root() { "[users]\nfirst = 71000\nlast = 71099\n" } else { "" };
    Setup::new().tables(&tables).tables(users)
}

/// Kills a process without a word; `false` when it was gone.
pub(super) fn strike(pid: u32) -> bool {
    process::signal(pid, Signal::SIGKILL)
}
