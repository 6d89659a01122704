//! A running gateway of a test's own: the real binaries, in a temporary folder, on ports of its own.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{
    Entry, Output, PATIENCE, Setup, Watch, binaries,
    client::{Raw, Result as ClientResult, Site},
    eventually,
    ports::Ports,
    process, status,
};

/// Lines of each log that a failing test shows.
const SHOWN: usize = 200;

/// A gateway, its folder and its ports. Dropping it stops it and holds it to leaving no process behind.
#[derive(Debug)]
pub struct Landlord {
    running: Option<Running>,
    ports: Ports,
    env: Vec<(String, String)>,
    descriptors: Option<u32>,
    zone: String,
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

/// How a command ended and what it said.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Both streams.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Itself, when it exited with `code`; panics with what it said otherwise.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code. It said:\n{}{}", self.stdout, self.stderr);
        self
    }
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
        let ports = Ports::take();
        fs::create_dir(dir.path().join("tenants.d")).expect("a folder for tenants");
        fs::write(dir.path().join("landlord.toml"), setup.toml(&ports)).expect("landlord.toml is written");
        let landlord = Self {
            running: None,
            ports,
            env: setup.environment().to_vec(),
            descriptors: setup.descriptor_limit(),
            zone: "apps.test".into(),
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
        let mut command = process::leashed_with(&binaries::program("landlord"), self.descriptors);
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

    // ---- The operator's side ----

    /// Runs `landlord ARGS` to its end.
    pub fn landlord<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        let output = self.command(args).stdin(Stdio::null()).output().expect("landlord can be started");
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// `landlord ARGS`, ready to be started by the test itself.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = process::leashed(&binaries::program("landlord"));
        command.args(args).env("LANDLORD_CONFIG", self.config()).current_dir(self.dir.path());
        command
    }

    /// What `landlord status --json` says now.
    #[track_caller]
    pub fn status(&self) -> Vec<Entry> {
        let ran = self.landlord(&["status", "--json"]).expect(0);
        status::parse(&ran.stdout).unwrap_or_else(|error| panic!("status --json wrote {:?}: {error}", ran.stdout))
    }

    /// One tenant of [`Landlord::status`].
    #[track_caller]
    pub fn entry(&self, name: &str) -> Entry {
        let fleet = self.status();
        fleet.iter().find(|e| e.name == name).unwrap_or_else(|| panic!("no {name} in {fleet:#?}")).clone()
    }

    /// Every state from now on.
    pub fn watch(&self) -> Watch {
        let mut command = self.command(&["status", "--watch", "--json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Watch::follow(process::spawn(command).expect("landlord can be started"))
    }

    /// Waits until the tenant is in `state`, and tells what it then is.
    #[track_caller]
    pub fn wait_state(&self, name: &str, state: &str) -> Entry {
        self.wait_entry(name, &format!("{name} is {state}"), |entry| entry.state == state)
    }

    /// Waits until `wanted` takes the tenant's entry.
    #[track_caller]
    pub fn wait_entry(&self, name: &str, what: &str, mut wanted: impl FnMut(&Entry) -> bool) -> Entry {
        let fleet = self.watch().until(what, |fleet| fleet.iter().any(|e| e.name == name && wanted(e)));
        fleet.into_iter().find(|entry| entry.name == name).expect("the watch found it")
    }

    /// Waits until nothing is known of the tenant.
    #[track_caller]
    pub fn wait_gone(&self, name: &str) {
        self.watch().until(&format!("{name} is gone"), |fleet| fleet.iter().all(|entry| entry.name != name));
    }

    // ---- The editor's side ----

    /// A new or changed tenant file, whole at once: written beside and renamed over.
    #[track_caller]
    pub fn drop_tenant(&self, name: &str, toml: impl AsRef<[u8]>) {
        let beside = self.tenants().join(format!(".{name}.toml.tmp"));
        fs::write(&beside, toml).expect("a tenant file is written");
        fs::rename(beside, self.tenant_file(name)).expect("a tenant file is renamed");
    }

    /// A changed tenant file, as editors do that truncate and write.
    #[track_caller]
    pub fn overwrite_tenant(&self, name: &str, toml: impl AsRef<[u8]>) {
        fs::write(self.tenant_file(name), toml).expect("a tenant file is written");
    }

    /// The file is gone.
    #[track_caller]
    pub fn remove_tenant(&self, name: &str) {
        fs::remove_file(self.tenant_file(name)).expect("a tenant file is removed");
    }

    /// A tenant's secrets.
    #[track_caller]
    pub fn write_dotenv(&self, name: &str, text: &str) {
        let beside = self.folder(name).join(".env.tmp");
        fs::write(&beside, text).expect("a .env is written");
        fs::rename(beside, self.folder(name).join(".env")).expect("a .env is renamed");
    }

    /// Changes `landlord.toml` by replacing a text in it.
    #[track_caller]
    pub fn edit_config(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).expect("landlord.toml");
        assert!(text.contains(from), "{from:?} is not in landlord.toml:\n{text}");
        fs::write(self.config(), text.replace(from, to)).expect("landlord.toml is written");
    }

    // ---- The visitor's side ----

    /// A tenant's host under the zone.
    pub fn host(&self, tenant: &str) -> String {
        format!("{tenant}.{}", self.zone)
    }

    /// A tenant's site, as a visitor who trusts the house's CA opens it.
    pub fn site(&self, tenant: &str) -> Site {
        self.site_at(&self.host(tenant))
    }

    /// The site at any host name.
    pub fn site_at(&self, host: &str) -> Site {
        Site::new(self.https(), host, &self.ca())
    }

    /// A connection in clear text, to the port that redirects.
    pub async fn plain(&self) -> ClientResult<Raw> {
        Raw::tcp(self.http()).await
    }

    // ---- Places ----

    /// Its folder, in which everything of it lies.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `landlord.toml`.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("landlord.toml")
    }

    /// `tenants.d`.
    pub fn tenants(&self) -> PathBuf {
        self.dir.path().join("tenants.d")
    }

    /// `tenants.d/NAME.toml`.
    pub fn tenant_file(&self, name: &str) -> PathBuf {
        self.tenants().join(format!("{name}.toml"))
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A tenant's own folder.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.state().join("tenants").join(name)
    }

    /// The certificate that visitors trust.
    pub fn ca(&self) -> PathBuf {
        self.state().join("certs/local-ca.pem")
    }

    /// Where TLS is.
    pub fn https(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.https()))
    }

    /// Where clear text is.
    pub fn http(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.http()))
    }

    /// The ports that are this test's.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    // ---- The process ----

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

    /// Waits for its end by itself.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let running = self.running.as_mut().expect("it runs");
        let status = process::wait(&mut running.child, PATIENCE).expect("the gateway ends");
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
