//! landlord itself: its settings, its user, its tenants' users, its program, the one that runs.

use super::{Finding, Level, Subject};
use crate::{cli::client::ClientError, master, sys::identity};

pub(super) fn examine(subject: &Subject, findings: &mut Vec<Finding>) {
    findings.push(settings(subject));
    findings.push(running(&subject.running, env!("CARGO_PKG_VERSION")));
    findings.push(user(subject));
    findings.extend(worker(subject));
}

fn settings(subject: &Subject) -> Finding {
    let file = subject.gateway.as_ref().and_then(|gateway| gateway.file.as_ref());
    let found = file.map_or_else(|| "no landlord.toml".to_owned(), |file| file.display().to_string());
    match (subject.wrong.first(), file) {
        (Some(first), _) => Finding::ok(
            "settings",
            format!("{} wrong in landlord.toml: {}", subject.wrong.len(), first.error),
            "landlord does not start with it; what follows is about what could be read",
        )
        .but(Level::Problem, "landlord check"),
        (None, Some(_)) => Finding::ok("settings", found, "landlord starts with it"),
        (None, None) => Finding::ok("settings", found, "a laptop's defaults: everything under .landlord, on loopback")
            .but(Level::Note, "landlord run --config FILE, or /etc/landlord/landlord.toml"),
    }
}

/// The one that runs, beside `ours`, the version of this program.
fn running(running: &Result<crate::wire::Status, ClientError>, ours: &str) -> Finding {
    match running {
        Ok(status) if status.gateway.version == ours => Finding::ok(
            "landlord",
            format!("version {ours} runs as pid {}, with {} tenants", status.gateway.pid, status.tenants.len()),
            "it answers, and is the same version as this program",
        ),
        Ok(status) => Finding::ok(
            "landlord",
            format!("version {} runs as pid {}; this program is {ours}", status.gateway.version, status.gateway.pid),
            "the running one goes on as it is until it is told to become the newer",
        )
        .but(Level::Warning, "landlord upgrade"),
        Err(ClientError::Denied(_)) => {
            Finding::ok("landlord", "it may run, but we may not ask it", "").but(Level::Note, "sudo landlord doctor")
        }
        Err(error @ (ClientError::Silent(_) | ClientError::Strange(_) | ClientError::Unreachable(..))) => {
            Finding::ok("landlord", error.to_string(), "nobody can tell how it is")
                .but(Level::Problem, "look into its log: journalctl -u landlord")
        }
        Err(_) => Finding::ok("landlord", "it does not run", "nobody is served; this is what it would find").noted(),
    }
}

fn user(subject: &Subject) -> Finding {
    let gateway = subject.gateway.as_ref();
    let (users, written) = gateway.map_or((None, false), |gateway| (gateway.users, gateway.users_written));
    let closed = gateway.and_then(|gateway| master::closed_folder(&gateway.state));
    let name = "users";
    match (identity::is_root(), users, closed) {
        (true, Some(range), None) => Finding::ok(
            name,
            format!("root, and [users] {} to {}", range.first, range.last),
            "each tenant's worker has a user of its own; the proxy and the log role have users without any right",
        ),
        (true, Some(_), Some(folder)) => Finding::ok(
            name,
            format!("root, and {} is closed to others", folder.display()),
            if written {
                "no user of its own could reach its folder: every tenant is refused"
            } else {
                "no user of its own could reach its folder: all tenants run as one user, without any privilege"
            },
        )
        .but(
            if written { Level::Problem } else { Level::Warning },
            format!("chmod o+x {}, or `state` in landlord.toml elsewhere", folder.display()),
        ),
        (true, None, _) => Finding::ok(
            name,
            "root, with users = \"none\"",
            "workers run as root, without any privilege: whoever breaks one may have what the others have",
        )
        .but(Level::Warning, "remove users = \"none\" from landlord.toml"),
        (false, Some(_), _) if written => Finding::ok(
            name,
            "not root, with [users]",
            "started by this user, all workers run as this user and [users] is not acted on; started as a service, each \
             has its own",
        )
        .but(Level::Note, "sudo landlord doctor tells what the service finds"),
        (false, ..) => Finding::ok(
            name,
            "not root",
            "every worker runs as this user, and can read what the others write: good for a laptop",
        )
        .but(Level::Note, "run it as root to keep tenants apart"),
    }
}

/// The bundled app's program, if it is the default and must be found.
fn worker(subject: &Subject) -> Option<Finding> {
    let gateway = subject.gateway.as_ref()?;
    let command = gateway.apps.get(&gateway.app)?.command.first()?.clone();
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(&command)));
    let found = beside.filter(|path| path.is_file()).or_else(|| super::find_program(&command));
    let (name, app) = ("app", gateway.app.as_str());
    Some(match found {
        Some(path) => {
            Finding::ok(name, format!("{app}: {}", path.display()), "a tenant that names no app gets this one")
        }
        None => Finding::ok(
            name,
            format!("{app}: there is no program {command}"),
            "a tenant that names no app cannot start",
        )
        .but(Level::Warning, format!("install {command}, or name another default: app = \"…\" in landlord.toml")),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::wire::{Started, Status};

    #[test]
    fn another_version_that_runs_is_told() {
        let started = |version: &str| Started {
            pid: 7,
            proxy_pid: None,
            version: version.to_owned(),
            zone: "localhost".to_owned(),
            since: "2026-01-01T00:00:00Z".to_owned(),
            walls: Vec::new(),
            draining: Vec::new(),
        };
        let status =
            |version| Ok(Status { tenants: vec![], rejected: vec![], notices: vec![], gateway: started(version) });
        assert_eq!(running(&status("1.0.0"), "1.0.0").level, Level::Ok);
        let other = running(&status("1.0.0"), "1.1.0");
        assert_eq!((other.level, other.remedy.as_deref()), (Level::Warning, Some("landlord upgrade")));
        assert_eq!(running(&Err(ClientError::Gone), "1").level, Level::Note);
        assert_eq!(running(&Err(ClientError::Strange("x".into())), "1").level, Level::Problem);
    }
}
