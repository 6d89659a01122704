//! Let's Encrypt's small test server: a real ACME server that forgets everything when it ends.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use nix::sys::signal::Signal;

use super::{EAB_KEY, EAB_KID, Plan, tls::Identity};
use crate::{Output, PATIENCE, binaries, client::Site, eventually, ports::Ports, process};

/// Which pebble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// 2.4, as Debian 12 has it: without renewal information.
    Bookworm,
    /// 2.6, as Debian 13 has it: with renewal information (RFC 9773).
    Trixie,
}

impl Edition {
    /// # Panics
    /// When it is not there, with what to do about it.
    #[track_caller]
    fn program(self) -> PathBuf {
        match self {
            Self::Bookworm => program("pebble", "pebble"),
            Self::Trixie => {
                let path = binaries::target().join("roots/trixie/usr/bin/pebble");
                assert!(path.is_file(), "{} is missing: scripts/test makes it", path.display());
                path
            }
        }
    }
}

/// A server on ports of its own, which validates at the gateway's. Dropping it ends it.
#[derive(Debug)]
pub struct Pebble {
    running: Option<Child>,
    log: Output,
    program: PathBuf,
    environment: Vec<(&'static str, String)>,
    dir: PathBuf,
    root: PathBuf,
    address: SocketAddr,
    management: SocketAddr,
    zone: SocketAddr,
}

impl Pebble {
    #[track_caller]
    pub(super) fn start(
        dir: &Path,
        identity: &Identity,
        plan: &Plan,
        gateway: &Ports,
        [acme, management]: [u16; 2],
        zone: SocketAddr,
    ) -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut settings = serde_json::json!({
            "listenAddress": local(acme),
            "managementListenAddress": local(management),
            "certificate": identity.certificate,
            "privateKey": identity.key,
            "httpPort": gateway.http(),
            "tlsPort": if plan.deaf_to_tls { *gateway.spare().end() } else { gateway.https() },
            "ocspResponderURL": "",
            "externalAccountBindingRequired": plan.external_accounts,
            "retryAfter": { "authz": 1, "order": 1 },
        });
        if plan.external_accounts {
            settings["externalAccountMACKeys"] = serde_json::json!({ EAB_KID: EAB_KEY });
        }
        if let Some(validity) = plan.validity {
            settings["certificateValidityPeriod"] = validity.as_secs().into();
        }
        let settings = serde_json::json!({ "pebble": settings });
        fs::write(dir.join("pebble.json"), settings.to_string()).expect("pebble.json is written");
        let environment = vec![
            ("PEBBLE_VA_NOSLEEP", "1".to_owned()),
            ("PEBBLE_WFE_NONCEREJECT", plan.nonces_rejected.to_string()),
            ("PEBBLE_AUTHZREUSE", plan.authorizations_reused.to_string()),
        ];
        let mut pebble = Self {
            running: None,
            log: Output::default(),
            program: plan.edition.program(),
            environment,
            dir: dir.to_owned(),
            root: identity.root.clone(),
            address: local(acme),
            management: local(management),
            zone,
        };
        pebble.start_again();
        pebble
    }

    /// Starts it, on the same ports, with an empty memory and another root.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let mut command = process::leashed(&self.program);
        command.arg("-config").arg(self.dir.join("pebble.json")).arg("-dnsserver").arg(self.zone.to_string());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = process::spawn(command).expect("pebble starts");
        self.log = Output::follow(child.stdout.take().expect("stdout is piped"));
        self.running = Some(child);
        let roots = eventually("pebble tells its root", || self.fetch("/roots/0"));
        fs::write(self.roots(), roots).expect("its root is written");
    }

    /// Ends it: nobody listens there any more.
    #[track_caller]
    pub fn stop(&mut self) {
        let mut child = self.running.take().expect("it runs");
        process::signal(child.id(), Signal::SIGKILL);
        assert!(process::wait(&mut child, PATIENCE).is_some(), "pebble does not end");
    }

    /// Where the ACME server is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says.
    pub fn log(&self) -> &Output {
        &self.log
    }

    /// The root of what it issues, PEM.
    pub fn roots(&self) -> PathBuf {
        self.dir.join("issued-by.pem")
    }

    /// The intermediate that signs what it issues, PEM.
    #[track_caller]
    pub fn intermediate(&self) -> String {
        self.fetch("/intermediates/0").expect("pebble tells its intermediate")
    }

    /// How many validations it has found wanting.
    pub fn failed_validations(&self) -> usize {
        self.log.lines().iter().filter(|line| line.contains("set INVALID by completed challenge")).count()
    }

    /// Asks its management port.
    fn fetch(&self, path: &str) -> Option<String> {
        let site = Site::new(self.management, "127.0.0.1", &self.root);
        // A test may be in a runtime of its own, in which none may be started.
        let asking = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(site.get(path)).ok().filter(|answer| answer.status == 200).map(|answer| answer.text())
        };
        std::thread::scope(|scope| scope.spawn(asking).join().expect("no panic"))
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.stop();
        }
    }
}

/// A program of a Debian package.
///
/// # Panics
/// When it is not there, with what to install.
#[track_caller]
pub(super) fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file()).unwrap_or_else(|| {
        panic!("{name} is missing. Install it: sudo apt-get install --no-install-recommends {package}")
    })
}
