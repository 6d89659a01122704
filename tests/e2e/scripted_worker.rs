//! The scripted worker alone, without a gateway: what the other topics rely on.

use std::{
    net::SocketAddr,
    process::{Child, Stdio},
};

use harness::{
    binaries,
    client::{Ending, Raw, WebSocket},
    eventually,
    ports::Ports,
    process,
};
use nix::sys::signal::Signal;

struct Alone {
    child: Child,
    address: SocketAddr,
    _ports: Ports,
}

impl Alone {
    fn start(env: &[(&str, &str)]) -> Self {
        let ports = Ports::take();
        let port = *ports.workers().start();
        let mut command = process::leashed(&binaries::program("scripted"));
        command.env("PORT", port.to_string()).envs(env.iter().copied()).stdout(Stdio::null());
        let child = process::spawn(command).expect("the scripted worker starts");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("it listens", || std::net::TcpStream::connect(address).ok());
        Self { child, address, _ports: ports }
    }

    async fn connect(&self) -> Raw {
        Raw::tcp(self.address).await.expect("it listens")
    }

    async fn ask(&self, message: &str) -> harness::client::Response {
        let mut raw = self.connect().await;
        raw.send(message).await.expect("sent");
        raw.response().await.expect("answered")
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn bodies_trailers_and_counts() {
    let worker = Alone::start(&[("MARK", "m1")]);
    let mut raw = worker.connect().await;
    raw.send("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await.expect("sent");
    assert_eq!(raw.head().await.expect("a head before the body's end").status, 200);
    assert_eq!(raw.chunk().await.expect("a chunk"), Some(b"abc".to_vec()));
    raw.send("0\r\n\r\n").await.expect("sent");
    assert_eq!(raw.chunk().await.expect("the last chunk"), None);
    assert!(raw.trailers().await.expect("no trailers").is_empty());
    raw.send("GET /trailers HTTP/1.1\r\n\r\nGET /bytes/70000?chunked HTTP/1.1\r\n\r\n").await.expect("sent");
    assert_eq!(raw.response().await.expect("trailers").trailers, [("X-Sum".to_owned(), "4".to_owned())]);
    assert_eq!(raw.response().await.expect("bytes").body.len(), 70_000);

    let generation: serde_json::Value = worker.ask("GET /generation HTTP/1.1\r\n\r\n").await.json();
    assert_eq!(generation["mark"], "m1");
    assert_eq!(generation["pid"], worker.child.id());
    let seen: serde_json::Value = worker.ask("GET /seen HTTP/1.1\r\n\r\n").await.json();
    assert_eq!((seen["heads"].as_u64(), seen["complete"].as_u64()), (Some(4), Some(4)));
}

#[tokio::test]
async fn a_websocket_echoes_and_a_bad_answer_breaks_off() {
    let worker = Alone::start(&[]);
    let mut socket = WebSocket::open(worker.connect().await, "x", "/ws").await.expect("an upgrade");
    socket.send("hello").await.expect("sent");
    assert_eq!(socket.text().await.expect("echoed"), "hello");

    let mut raw = worker.connect().await;
    raw.send("GET /bad/short-length HTTP/1.1\r\n\r\n").await.expect("sent");
    assert!(raw.response().await.is_err());
    let mut raw = worker.connect().await;
    raw.send("GET /bad/nothing HTTP/1.1\r\n\r\n").await.expect("sent");
    assert_eq!(raw.rest().await.expect("an end"), (Vec::new(), Ending::Clean));
}

#[tokio::test]
async fn it_finishes_what_is_in_flight_when_asked_to_stop() {
    let mut worker = Alone::start(&[]);
    let mut raw = worker.connect().await;
    raw.send("GET /drip/5 HTTP/1.1\r\n\r\n").await.expect("sent");
    raw.head().await.expect("it has begun");
    process::signal(worker.child.id(), Signal::SIGTERM);
    let mut lines = 0;
    while raw.chunk().await.expect("the download goes on").is_some() {
        lines += 1;
    }
    assert_eq!(lines, 5);
    let status = process::wait(&mut worker.child, harness::PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn it_dies_and_fails_as_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let sick = dir.path().join("sick");
    let mut worker = Alone::start(&[("UNHEALTHY", &format!("file:{}", sick.display()))]);
    assert_eq!(worker.ask("GET /healthz HTTP/1.1\r\n\r\n").await.status, 200);
    std::fs::write(&sick, "").expect("written");
    assert_eq!(worker.ask("GET /healthz HTTP/1.1\r\n\r\n").await.status, 500);
    let mut raw = worker.connect().await;
    raw.send("GET /crash HTTP/1.1\r\n\r\n").await.expect("sent");
    assert!(raw.response().await.is_err());
    assert!(process::wait(&mut worker.child, harness::PATIENCE).is_some());
}
