//! The worker's environment: what the master says of it, `[env]`, and the tenant's own `.env`.

use std::{collections::BTreeMap, path::Path};

use super::{failure::Failure, program};
use crate::{
    config::dotenv,
    sys::{self, files::ReadError},
    wire::Plan,
};

/// Bytes of a `.env`.
const DOTENV_CAP: u64 = 1 << 20;

/// The worker's whole environment: `[env]`, over it `.env`, over both the contract.
pub(super) fn whole(plan: &Plan, dotenv: Vec<(String, String)>, pid: u32) -> BTreeMap<String, String> {
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

pub(super) fn read_dotenv(plan: &Plan) -> Result<Vec<(String, String)>, Failure> {
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
    use crate::wire::{Estate, Job, ProcessLimits};

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
            estate: Estate::default(),
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
        let env = whole(&plan(), dotenv, 42);
        let expected = [
            ("DATABASE_URL", "postgres://db"),
            ("LANDLORD_GENERATION", "7"),
            ("MODE", "file"),
            ("SECRET", "dotenv"),
            ("TENANT", "acme"),
        ];
        assert_eq!(env.into_iter().collect::<Vec<_>>(), pairs(&expected));
        assert_eq!(whole(&plan(), Vec::new(), 42)["DATABASE_URL"], "sqlite:instance/app.db");
    }

    #[test]
    fn the_socket_is_announced_with_the_workers_own_pid() {
        let env = whole(&Plan { listen_fds: true, ..plan() }, Vec::new(), 42);
        assert_eq!((env["LISTEN_FDS"].as_str(), env["LISTEN_PID"].as_str()), ("1", "42"));
        assert!(!whole(&plan(), Vec::new(), 42).contains_key("LISTEN_FDS"));
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
