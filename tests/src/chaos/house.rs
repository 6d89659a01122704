//! Where a storm rages: a gateway, and whoever starts it again.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
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
    /// Other files with the same program in them, as its operator names them: what it may be told to become.
    fn programs(&self) -> Vec<PathBuf>;

    /// What `landlord status --json` says; `None` while nobody answers.
    fn status(&self) -> Option<Vec<Entry>> {
        let output = self.command(&["status", "--json"]).output().ok()?;
        status::parse(std::str::from_utf8(&output.stdout).ok()?).ok().filter(|_| output.status.success())
    }

    /// Writes a file beside its place and renames it there, as careful editors do.
    fn write(&self, path: &Path, text: &str) -> std::io::Result<()> {
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

    fn programs(&self) -> Vec<PathBuf> {
        programs(&self.0.dir().join("programs"))
    }
}

impl Laptop {
    /// The gateway, and beside it the programs that it may be told to become.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn new(landlord: Landlord) -> Self {
        for program in programs(&landlord.dir().join("programs")) {
            let folder = program.parent().expect("a folder");
            fs::create_dir_all(folder).expect("a folder of ours");
            fs::copy(binaries::program("landlord"), &program).expect("a copy");
            symlink(binaries::program("landlord-worker"), folder.join("landlord-worker")).expect("a link");
        }
        Self(landlord)
    }
}

/// Two places for programs.
pub(super) fn programs(folder: &Path) -> Vec<PathBuf> {
    ["one", "other"].map(|name| folder.join(name).join("landlord")).to_vec()
}

/// The gateway's settings for a storm: the apps of [`tables`], and as root a uid for each tenant.
pub fn setup() -> Setup {
    let users = if geteuid().is_root() { "[users]\nfirst = 71000\nlast = 71099\n" } else { "" };
    Setup::new().tables(&tables(&binaries::program("scripted"))).tables(users)
}

/// The apps of [`super::App`], with the scripted worker where it is.
pub fn tables(scripted: &Path) -> String {
    let scripted = scripted.display();
    let bundled = "command = [\"landlord-worker\", \"serve\"]\nmigrate = [\"landlord-worker\", \"migrate\"]\n\
                   health = \"/healthz\"\nstop_timeout = \"2s\"\n";
    let own = format!("command = [\"{scripted}\"]\nhealth = \"/healthz\"\nstop_timeout = \"2s\"\n");
    format!(
        "[defaults.deploy]\nhold_timeout = \"10s\"\ndrain_timeout = \"5s\"\n\
         [apps.board]\n{bundled}listen = \"inherit\"\nversion = \"1\"\n\
         [apps.socket]\n{bundled}listen = \"unix\"\nversion = \"1\"\n\
         [apps.inherit]\n{own}listen = \"inherit\"\n\
         [apps.port]\n{own}listen = \"port\"\n\
         [apps.hold]\n{own}listen = \"inherit\"\ndeploy = {{ strategy = \"hold\" }}\n\
         migrate = [\"sh\", \"-c\", \"echo migrated >> journal\"]\n\
         [apps.wrapped]\nsandbox = {{ read = [\"{scripted}\"] }}\n\
         command = [\"sh\", \"-c\", \"{scripted}; exit $?\"]\nhealth = \"/healthz\"\nstop_timeout = \"2s\"\n\
         listen = \"port\"\n"
    )
}

/// Kills a process without a word; `false` when it was gone.
pub(super) fn strike(pid: u32) -> bool {
    process::signal(pid, Signal::SIGKILL)
}
