//! A running gateway of a test's own: the real binaries, in a temporary folder, on ports of its own.

use std::{
    fmt::Write as _,
    fs,
    net::TcpStream,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{Output, PATIENCE, Setup, binaries, eventually, ports::Ports, process, small_disk::SmallDisk};

mod certificates;
mod files;
mod operator;
mod places;

pub use certificates::Certificate;
pub use operator::Ran;

/// Lines of each log that a failing test shows.
const SHOWN: usize = 200;

/// A gateway, its folder and its ports. Dropping it stops it and holds it to leaving no process behind.
#[derive(Debug)]
pub struct Landlord {
    running: Option<Running>,
    ports: Arc<Ports>,
    env: Vec<(String, String)>,
    descriptors: Option<u32>,
    network_rights: bool,
    zone: String,
    disk: Option<SmallDisk>,
    /// Everything that earlier runs in this folder said.
    past: String,
    dir: TempDir,
}

#[derive(Debug)]
struct Running {
    child: Child,
    out: Output,
    err: Output,
}

impl Landlord {
    /// A gateway with nobody let in yet.
    #[track_caller]
    pub fn start() -> Self {
        Setup::new().start()
    }

    #[track_caller]
    pub(crate) fn start_with(setup: &Setup) -> Self {
        let mut landlord = Self::prepare(setup);
        landlord.start_again();
        landlord
    }

    #[track_caller]
    pub(crate) fn prepare(setup: &Setup) -> Self {
        // Short, because the path of a unix socket has at most 107 bytes.
        let dir = tempfile::Builder::new().prefix("ll-").tempdir().expect("a temporary folder");
        let ports = setup.take_ports();
        fs::create_dir(dir.path().join("tenants.d")).expect("a folder for tenants");
        fs::write(dir.path().join("landlord.toml"), setup.toml(&ports)).expect("landlord.toml is written");
        let landlord = Self {
            running: None,
            ports,
            env: setup.environment().to_vec(),
            descriptors: setup.descriptor_limit(),
            network_rights: setup.has_network_rights(),
            zone: "apps.test".into(),
            disk: None,
            past: String::new(),
            dir,
        };
        for (name, toml) in setup.initial_tenants() {
            landlord.drop_tenant(name, toml);
        }
        for (name, text) in setup.initial_dotenvs() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(landlord.folder(name)).expect("a tenant's folder");
            landlord.write_dotenv(name, text);
        }
        landlord
    }

    /// Its state is to be on a disk of its own of so many MiB. Its control socket must be elsewhere: `run = "run"`.
    #[track_caller]
    pub fn put_on_small_disk(&mut self, mebibytes: u32) -> &SmallDisk {
        let state = self.dir.path().join("state");
        fs::create_dir_all(&state).expect("a folder for the disk");
        self.disk.insert(SmallDisk::at(&state, mebibytes))
    }

    /// That disk.
    #[track_caller]
    pub fn small_disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("put_on_small_disk was called")
    }

    /// Starts the gateway in its folder, after [`Landlord::stop`] or [`Landlord::kill`], and waits until it answers.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.launch();
        eventually("the gateway answers its operator and listens to its visitors", || {
            let running = self.running.as_mut().expect("just launched");
            if let Some(status) = running.child.try_wait().expect("a child of ours can be waited for") {
                panic!("the gateway ended with {status}:\n{}\n{}", running.out.text(), running.err.text());
            }
            let answers = self.landlord(&["status", "--json"]).code == 0;
            (answers && TcpStream::connect(self.https()).is_ok()).then_some(())
        });
    }

    /// Starts the gateway and waits for nothing.
    #[track_caller]
    pub fn launch(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let mut command = match &self.disk {
            None => process::leashed_gateway(self.descriptors, self.network_rights),
            Some(disk) => {
                let words = disk.entering(&binaries::program("landlord"));
                let mut command = process::leashed(Path::new(&words[0]));
                command.args(&words[1..]);
                command
            }
        };
        command
            .arg("run")
            .current_dir(self.dir.path())
            .env("LANDLORD_CONFIG", self.config())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = process::spawn(command).expect("the gateway can be started (setpriv is in util-linux)");
        let out = Output::follow(child.stdout.take().expect("stdout is piped"));
        let err = Output::follow(child.stderr.take().expect("stderr is piped"));
        self.running = Some(Running { child, out, err });
    }

    /// The gateway's pid.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("it runs").child.id()
    }

    /// The pids of its proxies, oldest first.
    pub fn proxies(&self) -> Vec<u32> {
        let mut found: Vec<u32> = process::descendants(self.pid())
            .into_iter()
            .filter(|pid| process::command_line(*pid).get(1).is_some_and(|verb| verb == "proxy"))
            .collect();
        found.sort_unstable();
        found
    }

    /// The process of one of its roles: `role("acme")`.
    pub fn role(&self, verb: &str) -> Option<u32> {
        let is = |pid: &u32| process::command_line(*pid).get(1).is_some_and(|word| word == verb);
        process::descendants(self.pid()).into_iter().find(|pid| is(pid) && process::alive(*pid))
    }

    /// What it says on standard output.
    #[track_caller]
    pub fn out(&self) -> Output {
        self.running.as_ref().expect("it runs").out.clone()
    }

    /// What it says on standard error.
    #[track_caller]
    pub fn err(&self) -> Output {
        self.running.as_ref().expect("it runs").err.clone()
    }

    /// Waits for its end by itself: it has 30 s of patience with a tenant's migration.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let running = self.running.as_mut().expect("it runs");
        let status = process::wait(&mut running.child, PATIENCE * 2).expect("the gateway ends");
        self.put_by();
        status
    }

    /// Asks it to stop and waits for its end.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        process::signal(self.pid(), Signal::SIGTERM);
        self.wait_exit()
    }

    /// Kills the master alone, without a word.
    #[track_caller]
    pub fn kill(&mut self) -> ExitStatus {
        process::signal(self.pid(), Signal::SIGKILL);
        self.wait_exit()
    }

    /// Starts the master again the instant it is gone, killed, and waits for nobody: neither for those who die with it nor
    /// for the new one. This is what a supervisor does.
    #[track_caller]
    pub fn relaunch(&mut self) {
        let mut running = self.running.take().expect("it runs");
        let status = process::wait(&mut running.child, PATIENCE).expect("the gateway ends");
        let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(Signal::SIGKILL as i32);
        assert!(killed, "it ended by itself with {status}:\n{}\n{}", running.out.text(), running.err.text());
        self.launch();
        // Its last words may come after the new one has begun.
        running.out.wait_end(PATIENCE);
        running.err.wait_end(PATIENCE);
        append(&mut self.past, "standard output of an earlier run", &running.out.text());
        append(&mut self.past, "standard error of an earlier run", &running.err.text());
    }

    /// How it ended, and what it said, if it has ended.
    pub fn ended(&mut self) -> Option<String> {
        let running = self.running.as_mut()?;
        let status = running.child.try_wait().expect("a child of ours can be waited for")?;
        Some(format!("{status}\n{}\n{}", running.out.text(), running.err.text()))
    }

    /// Waits until no process names its folder any more.
    #[track_caller]
    pub fn wait_nobody_left(&self) {
        eventually("no process of this gateway is left", || process::naming(self.dir()).is_empty().then_some(()));
    }

    /// All that was said so far, by everybody.
    pub fn logs(&self) -> String {
        let mut text = self.past.clone();
        if let Some(running) = &self.running {
            append(&mut text, "standard output", &running.out.text());
            append(&mut text, "standard error", &running.err.text());
        }
        let mut files: Vec<PathBuf> = fs::read_dir(self.state().join("logs"))
            .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
            .unwrap_or_default();
        files.sort();
        for file in files {
            append(&mut text, &file.display().to_string(), &fs::read_to_string(&file).unwrap_or_default());
        }
        text
    }

    fn put_by(&mut self) {
        if let Some(running) = self.running.take() {
            running.out.wait_end(PATIENCE);
            running.err.wait_end(PATIENCE);
            append(&mut self.past, "standard output of an earlier run", &running.out.text());
            append(&mut self.past, "standard error of an earlier run", &running.err.text());
        }
    }

    /// Stops what runs, kills what is left, and tells who had to be killed.
    fn clear(&mut self) -> Vec<(u32, String)> {
        let mut stragglers = Vec::new();
        if let Some(running) = &mut self.running {
            process::signal(running.child.id(), Signal::SIGTERM);
            if process::wait(&mut running.child, PATIENCE).is_none() {
                stragglers.push((running.child.id(), "the gateway itself, which does not end on SIGTERM".into()));
                let _ = running.child.kill();
                let _ = running.child.wait();
            }
        }
        let left = |dir: &Path| process::naming(dir);
        // Children of a killed master end a moment after it.
        let _ = crate::wait::within(Duration::from_secs(5), || left(self.dir.path()).is_empty().then_some(()));
        for (pid, command) in left(self.dir.path()) {
            process::signal(pid, Signal::SIGKILL);
            stragglers.push((pid, command));
        }
        stragglers
    }
}

impl Drop for Landlord {
    #[allow(clippy::print_stderr, reason = "a failing test shows all that was said")]
    fn drop(&mut self) {
        let stragglers = self.clear();
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
            if !stragglers.is_empty() {
                eprintln!("left behind and killed: {stragglers:?}");
            }
        } else {
            assert!(stragglers.is_empty(), "the gateway left processes behind: {stragglers:?}\n{}", self.logs());
        }
    }
}

/// Adds the end of one log under its title.
fn append(text: &mut String, title: &str, log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    let skipped = lines.len().saturating_sub(SHOWN);
    let _ = writeln!(text, "---- {title} ({} lines) ----", lines.len());
    if skipped > 0 {
        let _ = writeln!(text, "[{skipped} lines not shown]");
    }
    for line in &lines[skipped..] {
        let _ = writeln!(text, "{line}");
    }
}
