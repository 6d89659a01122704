//! Companies as their visitors reach them, and the house that they are in.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use harness::client::Site;

use crate::trouble;

/// The service's control group.
pub(crate) const UNIT: &str = "/sys/fs/cgroup/system.slice/landlord.service";
/// Whose visitors are measured.
pub(crate) const NEIGHBOURS: [&str; 3] = ["beta", "gamma", COMPUTES];
/// The one whose pages take its worker some milliseconds of the processor.
pub(crate) const COMPUTES: &str = "delta";
const TENANTS: &str = "/etc/landlord/tenants.d";
/// The unit may not make groups, and gets none to begin with: all that it starts is in its own.
const UNDIVIDED: &str = "/run/systemd/system/landlord.service.d/undivided.conf";
/// A landlord that does not answer after so long has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A company's site.
pub(crate) fn site(name: &str) -> Site {
    let ca = Path::new("/var/lib/landlord/certs/local-ca.pem");
    Site::new(SocketAddr::from(([127, 0, 0, 1], 443)), &format!("{name}.apps.test"), ca)
}

/// What it answers with 200.
pub(crate) fn ask(name: &str, path: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let answer = runtime.block_on(site(name).get(path)).map_err(|error| format!("{name}{path}: {error}"))?;
    if answer.status == 200 { Ok(answer.text()) } else { Err(format!("{name}{path}: status {}", answer.status)) }
}

/// Starts landlord with all companies, with and without its groups and their limits.
pub(crate) fn open(limited: bool) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    for neighbour in NEIGHBOURS {
        let app = if neighbour == COMPUTES { "trouble" } else { "scripted" };
        fs::write(format!("{TENANTS}/{neighbour}.toml"), format!("app = {app:?}\n")).map_err(failed)?;
    }
    for trouble in &trouble::ALL {
        fs::write(format!("{TENANTS}/{}.toml", trouble.name), trouble.toml(limited)).map_err(failed)?;
    }
    if !limited {
        let text = "[Service]\nReadWritePaths=\nDelegateSubgroup=\n";
        let path = Path::new(UNDIVIDED);
        fs::create_dir_all(path.parent().unwrap_or(path)).and_then(|()| fs::write(path, text)).map_err(failed)?;
        run(&["systemctl", "daemon-reload"])?;
    }
    run(&["systemctl", "start", "landlord"])?;
    let names = NEIGHBOURS.into_iter().chain(trouble::ALL.iter().map(|trouble| trouble.name));
    for name in names {
        let begun = Instant::now();
        while let Err(why) = ask(name, "/") {
            if begun.elapsed() > PATIENCE {
                return Err(format!("{name} is not there: {why}"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    let divided = Path::new(UNIT).join("t-beta").exists();
    if divided == limited { Ok(()) } else { Err(format!("groups are there: {divided}, and should be: {limited}")) }
}

/// Stops it.
pub(crate) fn close() -> Result<(), String> {
    run(&["systemctl", "stop", "landlord"])
}

/// A command of the machine's that must succeed.
pub(crate) fn run(words: &[&str]) -> Result<(), String> {
    let output = Command::new(words[0]).args(&words[1..]).output().map_err(|error| format!("{words:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{words:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}
