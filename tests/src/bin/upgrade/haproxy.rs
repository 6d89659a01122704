//! haproxy: SIGUSR2 to its master, which starts a new worker that takes the listening sockets over.

use std::path::PathBuf;

use harness::{client::Site, process};
use nix::sys::signal::Signal;

use crate::{
    Gateway, IDLE_TIMEOUT,
    peer::{self, Peer, Place},
};

/// haproxy in the foreground, with its master.
pub(crate) struct Haproxy {
    peer: Peer,
    program: PathBuf,
}

impl Haproxy {
    pub(crate) fn start() -> Self {
        let program = peer::program("haproxy").expect("it was looked for before");
        let peer = Peer::start(settings, |_, file| {
            let mut command = process::leashed(&program);
            command.arg("-W").arg("-f").arg(file);
            command
        });
        Self { peer, program }
    }
}

impl Gateway for Haproxy {
    fn name(&self) -> String {
        format!("haproxy {}, SIGUSR2 to its master", peer::version(&self.program, "-v"))
    }

    fn site(&self) -> Site {
        self.peer.site()
    }

    fn upgrade(&mut self) -> Result<(), String> {
        self.peer.another_child(|| {
            if process::signal(self.peer.pid(), Signal::SIGUSR2) { Ok(()) } else { Err("its master is gone".into()) }
        })
    }
}

/// Old workers may drain for as long as landlord's proxies. Without `close-spread-time` a reload closes every idle
/// connection at once; with the idle timeout as its value they are closed one by one while they would have lived.
fn settings(place: &Place) -> String {
    let Place { https, worker, dir } = place;
    let (dir, idle) = (dir.display(), IDLE_TIMEOUT.as_secs());
    format!(
        "global
    stats socket {dir}/admin.sock mode 600 level admin expose-fd listeners
    hard-stop-after 30s
    close-spread-time {idle}s
    maxconn 4096
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    option http-keep-alive
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout http-request 10s
    timeout http-keep-alive {idle}s
frontend tls
    bind {https} ssl crt {dir}/site.pem alpn h2,http/1.1
    default_backend workers
backend workers
    server worker {worker}
"
    )
}
