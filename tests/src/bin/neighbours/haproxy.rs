//! haproxy: a stick table that counts by host, and `maxconn` before the flooded company's worker.

use std::{net::SocketAddr, path::PathBuf};

use harness::{peers, process};

use crate::{
    BURST, CONCURRENT, FLOODED, Gateway,
    peer::{Peer, Place},
};

/// haproxy in the foreground.
pub(crate) struct Haproxy {
    peer: Peer,
    program: PathBuf,
}

impl Haproxy {
    pub(crate) fn start(rate: u32) -> Self {
        let program = peers::program("haproxy").expect("it was looked for before");
        let peer = Peer::start(
            |place| settings(place, rate),
            |_, file| {
                let mut command = process::leashed(&program);
                command.arg("-W").arg("-f").arg(file);
                command
            },
        );
        Self { peer, program }
    }
}

impl Gateway for Haproxy {
    fn name(&self) -> String {
        format!("haproxy {}, stick table and maxconn", peers::version(&self.program, "-v"))
    }

    fn place(&self) -> (SocketAddr, PathBuf) {
        self.peer.place()
    }
}

/// It counts requests over a sliding window, refused ones too; so that the flood gets something, the count is left alone by
/// those that are refused: each counts by `track-sc` only where it is let in.
fn settings(place: &Place, rate: u32) -> String {
    let Place { https, flooded, neighbour, dir } = place;
    let (dir, burst) = (dir.display(), rate * BURST);
    format!(
        "global
    maxconn 8192
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    option http-keep-alive
    timeout connect 5s
    timeout queue 5s
    timeout client 30s
    timeout server 30s
    timeout http-request 10s
frontend tls
    bind {https} ssl crt {dir}/site.pem alpn h2,http/1.1
    acl flooded hdr(host) -m beg {FLOODED}
    http-request deny deny_status 429 if flooded {{ hdr(host),table_http_req_rate(rates) ge {burst} }}
    http-request track-sc0 hdr(host) table rates if flooded
    use_backend flooded if flooded
    default_backend neighbour
backend rates
    stick-table type string len 64 size 1k expire 30s store http_req_rate({BURST}s)
backend flooded
    server worker {flooded} maxconn {CONCURRENT} maxqueue 100
backend neighbour
    server worker {neighbour}
"
    )
}
