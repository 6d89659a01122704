//! A gateway that others wrote: a child process in a folder of its own, before a worker for each company.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use harness::{PATIENCE, binaries, eventually, ports::Ports, process};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{FLOODED, NEIGHBOUR};

/// A running peer. Dropping it ends it, its workers, and those behind it.
pub(crate) struct Peer {
    child: Child,
    workers: Vec<Child>,
    ports: Ports,
    dir: TempDir,
}

/// Where a peer's settings say it is to listen, forward to, and write.
pub(crate) struct Place<'a> {
    pub(crate) https: SocketAddr,
    pub(crate) flooded: SocketAddr,
    pub(crate) neighbour: SocketAddr,
    pub(crate) dir: &'a Path,
}

impl Peer {
    /// Writes the certificate and the settings, starts the workers and then `command(settings)`, and waits for all.
    pub(crate) fn start(settings: impl Fn(&Place) -> String, command: impl Fn(&Path, &Path) -> Command) -> Self {
        let (ports, dir) = (Ports::take(), tempfile::Builder::new().prefix("ll-").tempdir().expect("a folder"));
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let first = *ports.workers().start();
        let place =
            Place { https: local(ports.https()), flooded: local(first), neighbour: local(first + 1), dir: dir.path() };
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new([FLOODED.to_owned(), NEIGHBOUR.to_owned()])
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate");
        let pem = format!("{}{}", certificate.pem(), key.serialize_pem());
        fs::write(dir.path().join("site.pem"), pem).expect("the certificate is written");
        let file = dir.path().join("settings.conf");
        fs::write(&file, settings(&place)).expect("settings are written");

        let worker = |at: SocketAddr| {
            let mut scripted = process::leashed(&binaries::program("scripted"));
            scripted.env("PORT", at.port().to_string()).stdin(Stdio::null());
            process::spawn(scripted).expect("a worker starts")
        };
        let workers = vec![worker(place.flooded), worker(place.neighbour)];
        let mut command = command(dir.path(), &file);
        let said = File::create(dir.path().join("said")).expect("a file for what it says");
        command.stdin(Stdio::null()).stdout(said.try_clone().expect("a second handle")).stderr(said);
        let child = process::spawn(command).expect("the peer starts");
        let all = [place.https, place.flooded, place.neighbour];
        let peer = Self { child, workers, ports, dir };
        eventually("the peer and its workers listen", || {
            all.iter().all(|at| TcpStream::connect(at).is_ok()).then_some(())
        });
        peer
    }

    pub(crate) fn place(&self) -> (SocketAddr, PathBuf) {
        (SocketAddr::from(([127, 0, 0, 1], self.ports.https())), self.dir.path().join("site.pem"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        process::signal(self.child.id(), Signal::SIGTERM);
        if process::wait(&mut self.child, PATIENCE).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        for worker in &mut self.workers {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}
