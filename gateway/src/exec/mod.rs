//! The exec shim, `landlord exec`: becomes the tenant, reads its `.env`, becomes its worker.
//!
//! Everything that only root may do comes before the change of uid, everything about the tenant's own files after it:
//! root never opens what a tenant can write.

mod program;

use std::{
    collections::BTreeMap,
    ffi::{CString, NulError},
    fs::{DirBuilder, File},
    io::{self, Write},
    os::{
        fd::{AsFd, RawFd},
        unix::{ffi::OsStrExt, fs::DirBuilderExt},
    },
    path::Path,
    process::exit,
};

use crate::{
    config::dotenv,
    sys::{self, files::ReadError},
    wire::Plan,
};

/// Bytes of a `.env`.
const DOTENV_CAP: u64 = 1 << 20;
/// Bytes of a plan.
const PLAN_CAP: usize = 4 << 20;
/// Open files of a worker. As many as landlord itself may have are too many: some programs close every possible number one
/// by one before they start another.
const NOFILE: u64 = 65_536;
/// The worker's listening socket, by the systemd protocol.
const SOCKET: RawFd = 3;

/// Why there is no worker, with the exit status that a shell or sysexits.h would give.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    status: i32,
    sentence: String,
}

impl Failure {
    /// The settings are wrong: EX_CONFIG.
    fn settings(sentence: impl Into<String>) -> Self {
        Self { status: 78, sentence: sentence.into() }
    }

    /// What is there cannot be used.
    fn unusable(sentence: impl Into<String>) -> Self {
        Self { status: 126, sentence: sentence.into() }
    }

    /// The command is not there.
    fn not_found(sentence: impl Into<String>) -> Self {
        Self { status: 127, sentence: sentence.into() }
    }

    /// What the kernel refused while becoming the tenant: EX_OSERR.
    fn system(what: &str, error: &io::Error) -> Self {
        Self { status: 71, sentence: format!("{what}: {error}") }
    }
}

impl From<NulError> for Failure {
    fn from(_: NulError) -> Self {
        Self::settings("a setting or argument with a NUL byte cannot be given to a program")
    }
}

/// Becomes the worker that the plan behind this descriptor describes, or says why not and ends.
pub fn main(plan: RawFd) -> ! {
    let read = || -> Result<Plan, String> {
        let sealed = sys::fd::inherited(plan).map_err(|e| e.to_string())?;
        let bytes = sys::memfd::read(sealed, PLAN_CAP).map_err(|e| e.to_string())?;
        serde_json::from_slice(&bytes).map_err(|e| e.to_string())
    };
    let plan = read().unwrap_or_else(|error| {
        say(&mut stderr(), &format!("`landlord exec` is started by landlord itself, with a plan: {error}"));
        exit(64)
    });
    let report = sys::fd::inherited(plan.report).ok();
    let failure = become_worker(&plan);
    say(&mut report.map(File::from), &failure.sentence);
    say(&mut stderr(), &failure.sentence);
    exit(failure.status)
}

fn stderr() -> Option<File> {
    Some(File::from(io::stderr().as_fd().try_clone_to_owned().ok()?))
}

/// One line. Whoever should read it may have gone: the exit status still tells.
fn say(out: &mut Option<File>, sentence: &str) {
    if let Some(out) = out {
        let _ = out.write_all(format!("landlord: {}\n", sentence.replace('\n', " ")).as_bytes());
    }
}

/// Returns only when it failed.
fn become_worker(plan: &Plan) -> Failure {
    let start = become_tenant(plan).and_then(|()| {
        let env = environment(plan, read_dotenv(plan)?, std::process::id());
        let program = program::find(plan)?;
        let path = CString::new(program.as_os_str().as_bytes())?;
        let words = plan.argv.iter().map(|word| CString::new(word.as_str())).collect::<Result<Vec<_>, _>>()?;
        let pairs =
            env.iter().map(|(key, value)| CString::new(format!("{key}={value}"))).collect::<Result<Vec<_>, _>>()?;
        let Err(error) = nix::unistd::execve(&path, &words, &pairs);
        Err::<(), _>(program::not_executed(plan, &program, &error.into()))
    });
    start.err().unwrap_or_else(|| Failure::unusable("the worker did not start"))
}

/// In this order: limits and descriptors, the change of uid, what that change would have cleared, the folder.
fn become_tenant(plan: &Plan) -> Result<(), Failure> {
    let system = |what: &'static str| move |error: io::Error| Failure::system(what, &error);
    let parent = sys::process::parent();
    sys::fd::close_at_exec_from(3).map_err(system("closing descriptors"))?;
    if plan.listen_fds {
        sys::fd::keep_at_exec(SOCKET).map_err(system("its listening socket"))?;
    }
    sys::signals::reset().map_err(system("resetting signals"))?;
    // Started by landlord it has a session already; from a shell, as a test of the plan, it may not.
    let _ = nix::unistd::setsid();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    sys::identity::set_limits(sys::identity::Limits { nofile: Some(NOFILE) }).map_err(system("setting limits"))?;
    match plan.identity {
        Some((uid, gid)) => sys::identity::drop_to(uid, gid).map_err(system("becoming the tenant"))?,
        None => sys::identity::no_new_privs().map_err(system("giving up privileges"))?,
    }
    if plan.die_with_parent {
        sys::process::die_with_parent().map_err(system("tying its life to landlord's"))?;
        // It may have ended before we asked.
        if sys::process::parent() != parent {
            exit(0);
        }
    }
    std::env::set_current_dir(&plan.dir).map_err(|error| program::out_of_reach(plan, &plan.dir, &error))?;
    make_rooms(plan)
}

/// An operator who put a `.env` into a folder of their own making gets the rest of it here.
fn make_rooms(plan: &Plan) -> Result<(), Failure> {
    for room in &plan.rooms {
        match DirBuilder::new().mode(0o700).create(room) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(program::out_of_reach(plan, &plan.dir.join(room), &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The worker's whole environment: `[env]`, over it `.env`, over both the contract.
fn environment(plan: &Plan, dotenv: Vec<(String, String)>, pid: u32) -> BTreeMap<String, String> {
    let mut env = plan.extra.clone();
    env.extend(dotenv);
    // `.env` may not even try: `config::dotenv` refuses the contract's names. `DATABASE_URL` is a default, not a name that
    // landlord keeps for itself.
    let given = plan.env.iter().filter(|(name, _)| is_reserved(name) || !env.contains_key(*name));
    let given: Vec<_> = given.map(|(name, value)| (name.clone(), value.clone())).collect();
    env.extend(given);
    if plan.listen_fds {
        env.insert("LISTEN_FDS".into(), "1".into());
        env.insert("LISTEN_FDNAMES".into(), "landlord".into());
        // Only now is the pid the worker's own.
        env.insert("LISTEN_PID".into(), pid.to_string());
    }
    env
}

/// Names that nothing overrides: the contract's, and those by which landlord finds its processes again.
fn is_reserved(name: &str) -> bool {
    dotenv::RESERVED.contains(&name) || name.starts_with("LANDLORD_")
}

fn read_dotenv(plan: &Plan) -> Result<Vec<(String, String)>, Failure> {
    let Some(file) = &plan.dotenv else { return Ok(Vec::new()) };
    let bytes = match sys::files::read_regular(file, DOTENV_CAP) {
        Ok(bytes) => bytes,
        Err(ReadError::NotFound) => return Ok(Vec::new()),
        Err(ReadError::Unreadable(error)) => return Err(program::out_of_reach(plan, file, &error)),
        Err(wrong) => return Err(Failure::settings(format!("{}: {wrong}", file.display()))),
    };
    parse_dotenv(file, &bytes)
}

fn parse_dotenv(file: &Path, bytes: &[u8]) -> Result<Vec<(String, String)>, Failure> {
    dotenv::parse(file, bytes).map_err(|wrong| Failure::settings(format!("{}: {}", wrong.place, wrong.error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Job, ProcessLimits};

    fn plan() -> Plan {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Plan {
            argv: vec!["serve".into()],
            rooms: Vec::new(),
            dir: "/".into(),
            env: map(&[("TENANT", "acme"), ("DATABASE_URL", "sqlite:instance/app.db"), ("LANDLORD_GENERATION", "7")]),
            extra: map(&[("MODE", "file"), ("SECRET", "file"), ("TENANT", "other")]),
            dotenv: None,
            listen_fds: false,
            job: Job::Exec,
            identity: None,
            group: None,
            limits: ProcessLimits::default(),
            sandbox: None,
            report: 5,
            die_with_parent: false,
            path: String::new(),
        }
    }

    fn pairs(text: &[(&str, &str)]) -> Vec<(String, String)> {
        text.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn dotenv_wins_over_settings_and_the_contract_over_both() {
        let dotenv = pairs(&[("SECRET", "dotenv"), ("DATABASE_URL", "postgres://db"), ("LANDLORD_GENERATION", "1")]);
        let env = environment(&plan(), dotenv, 42);
        let expected = [
            ("DATABASE_URL", "postgres://db"),
            ("LANDLORD_GENERATION", "7"),
            ("MODE", "file"),
            ("SECRET", "dotenv"),
            ("TENANT", "acme"),
        ];
        assert_eq!(env.into_iter().collect::<Vec<_>>(), pairs(&expected));
        assert_eq!(environment(&plan(), Vec::new(), 42)["DATABASE_URL"], "sqlite:instance/app.db");
    }

    #[test]
    fn the_socket_is_announced_with_the_workers_own_pid() {
        let env = environment(&Plan { listen_fds: true, ..plan() }, Vec::new(), 42);
        assert_eq!((env["LISTEN_FDS"].as_str(), env["LISTEN_PID"].as_str()), ("1", "42"));
        assert!(!environment(&plan(), Vec::new(), 42).contains_key("LISTEN_FDS"));
    }

    #[test]
    fn a_bad_line_is_named_and_its_value_is_not() {
        let failure =
            parse_dotenv(Path::new("/t/acme/.env"), b"A=1\nB='topsecret\n").map_or_else(|e| e, |_| panic!("taken"));
        assert_eq!(failure.status, 78);
        assert!(failure.sentence.starts_with("/t/acme/.env:2"), "{}", failure.sentence);
        assert!(!failure.sentence.contains("topsecret"), "{}", failure.sentence);
    }
}
