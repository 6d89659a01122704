//! A gateway that others wrote: a child process in a folder of its own, before a worker of its own.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

pub(crate) use harness::peers::{program, require, version};
use harness::{PATIENCE, binaries, client::Site, eventually, ports::Ports, process, wait::within};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::HOST;

/// A running peer. Dropping it ends it, its workers, and the worker behind it.
pub(crate) struct Peer {
    child: Child,
    worker: Child,
    ports: Ports,
    dir: TempDir,
}

/// Where a peer's settings say it is to listen, forward to, and write.
pub(crate) struct Place<'a> {
    pub(crate) https: SocketAddr,
    pub(crate) worker: SocketAddr,
    pub(crate) dir: &'a Path,
}

impl Peer {
    /// Writes the certificate and the settings, starts the worker and then `command(settings)`, and waits for both.
    pub(crate) fn start(settings: impl Fn(&Place) -> String, command: impl Fn(&Place, &Path) -> Command) -> Self {
        let (ports, dir) = (Ports::take(), tempfile::Builder::new().prefix("ll-").tempdir().expect("a folder"));
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let place = Place { https: local(ports.https()), worker: local(*ports.workers().start()), dir: dir.path() };
        certificate(&place);
        let file = dir.path().join("settings.conf");
        fs::write(&file, settings(&place)).expect("settings are written");

        let mut scripted = process::leashed(&binaries::program("scripted"));
        scripted.env("PORT", place.worker.port().to_string()).stdin(Stdio::null());
        let worker = process::spawn(scripted).expect("the worker starts");
        let mut command = command(&place, &file);
        let said = File::create(dir.path().join("said")).expect("a file for what it says");
        command.stdin(Stdio::null()).stdout(said.try_clone().expect("a second handle")).stderr(said);
        let child = process::spawn(command).expect("the peer starts");
        let (https, worker_at) = (place.https, place.worker);
        let peer = Self { child, worker, ports, dir };
        eventually("the peer and its worker listen", || {
            let both = TcpStream::connect(https).is_ok() && TcpStream::connect(worker_at).is_ok();
            both.then_some(())
        });
        peer
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn site(&self) -> Site {
        Site::new(SocketAddr::from(([127, 0, 0, 1], self.ports.https())), HOST, &self.dir.path().join("site.pem"))
    }

    /// Does `reload`, and waits until the peer has a child that it did not have before.
    pub(crate) fn another_child(&self, reload: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        let before = process::descendants(self.pid());
        reload()?;
        within(PATIENCE, || process::descendants(self.pid()).into_iter().find(|pid| !before.contains(pid)))
            .map(|_| ())
            .ok_or_else(|| format!("no new worker came: {}", self.said()))
    }

    fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("said")).unwrap_or_default()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let all = process::descendants(self.pid());
        process::signal(self.pid(), Signal::SIGTERM);
        if process::wait(&mut self.child, PATIENCE).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = self.worker.kill();
        let _ = self.worker.wait();
        // Old workers may still drain: they are nobody's children by now.
        let ours = process::naming(self.dir.path());
        for pid in all {
            if ours.iter().any(|(left, _)| *left == pid) {
                process::signal(pid, Signal::SIGKILL);
            }
        }
    }
}

/// A certificate for [`HOST`] that signs itself, with its key, in `site.pem`.
fn certificate(place: &Place) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new([HOST.to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let pem = format!("{}{}", certificate.pem(), key.serialize_pem());
    fs::write(place.dir.join("site.pem"), pem).expect("the certificate is written");
}
