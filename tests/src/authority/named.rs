//! One bind9, in a folder of its own, on a port of its own.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{Output, PATIENCE, eventually, process};

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Named {
    child: Child,
    pub(super) log: Output,
    pub(super) address: SocketAddr,
}

impl Named {
    /// Writes `named.conf` into `dir` and starts it; `zones` are its statements after `options`.
    ///
    /// # Panics
    /// When bind9 is not installed, or does not answer.
    #[track_caller]
    pub(super) fn start(dir: &Path, port: u16, zones: &str) -> Self {
        let conf = dir.join("named.conf");
        // It follows aliases from one of its zones into another, and asks nobody: the root is its own.
        let options = format!(
            "options {{\n  directory {dir:?};\n  pid-file \"named.pid\";\n  session-keyfile \"session.key\";\n  \
             lock-file none;\n  managed-keys-directory {dir:?};\n  listen-on port {port} {{ 127.0.0.1; }};\n  \
             listen-on-v6 {{ none; }};\n  recursion yes;\n  allow-recursion {{ 127.0.0.1; }};\n  querylog yes;\n  dnssec-validation no;\n  minimal-responses yes;\n  \
             allow-transfer {{ any; }};\n  allow-notify {{ 127.0.0.1; }};\n  notify no;\n  \
             serial-query-rate 1000;\n}};\ncontrols {{ }};\n{zones}"
        );
        fs::write(&conf, options).expect("named.conf is written");
        let program = super::pebble::program("named", "bind9");
        let mut command = process::leashed(&program);
        command.args(["-g", "-n", "1", "-c"]).arg(&conf);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = process::spawn(command).expect("named starts");
        let log = Output::follow(child.stderr.take().expect("stderr is piped"));
        let named = Self { child, log, address: SocketAddr::from(([127, 0, 0, 1], port)) };
        eventually(format!("named runs. It says:\n{}", named.log.text()), || {
            let runs = named.log.lines().iter().any(|line| line.ends_with("running"));
            (runs && named.answers()).then_some(())
        });
        named
    }

    /// Whether it answers anything at all.
    fn answers(&self) -> bool {
        // Class CH, because the answer does not matter: version.bind. TXT.
        let question = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x07version\x04bind\0\0\x10\0\x03";
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let _ = socket.set_read_timeout(Some(Duration::from_millis(500)));
        socket.send_to(question, self.address).is_ok() && socket.recv(&mut [0; 512]).is_ok()
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        process::signal(self.child.id(), Signal::SIGTERM);
        if process::wait(&mut self.child, PATIENCE).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
