//! SIGTERM and handed-over sockets: every request that reached the socket is answered.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener},
    os::unix::net::{UnixListener, UnixStream},
    sync::mpsc::{Sender, channel},
    time::Duration,
};

use nix::sys::signal::Signal;
use tempfile::tempdir;

use crate::{client::Client, process::Worker};

/// Longer than twenty answers take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A notice is announced, and has not come yet.
const HEAD: &[u8] =
    b"POST /api/notices HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 25\r\n\r\n";

#[test]
fn it_serves_on_the_socket_that_it_is_given() {
    let folder = tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let worker = Worker::on(listener.try_clone().unwrap(), folder.path(), &[("PORT", "1")]);
    assert_eq!(worker.address(), listener.local_addr().unwrap());
    assert_eq!(worker.client().get("/healthz").unwrap().status, 200);
    worker.stop();

    let path = folder.path().join("worker.sock");
    let worker = Worker::on(UnixListener::bind(&path).unwrap(), folder.path(), &[]);
    let mut client = Client::new(UnixStream::connect(&path).unwrap());
    assert_eq!(client.get("/healthz").unwrap().status, 200);
    worker.stop();
}

#[test]
fn a_socket_for_another_process_is_not_taken() {
    let folder = tempdir().unwrap();
    let worker = Worker::alone(folder.path(), &[("LISTEN_FDS", "1"), ("LISTEN_PID", "1")]);
    assert_eq!(worker.client().get("/healthz").unwrap().status, 200);
}

#[test]
fn what_has_begun_and_what_is_on_its_way_is_answered() {
    let folder = tempdir().unwrap();
    let mut worker = Worker::alone(folder.path(), &[]);
    let mut idle = worker.client();
    assert!(idle.get("/healthz").unwrap().keeps_alive());
    let mut begun = worker.client();
    begun.send(HEAD).unwrap();
    begun.send(br#"{"author":"a","#).unwrap();
    // Its answer tells that the connection before it was accepted too.
    assert_eq!(worker.client().get("/healthz").unwrap().status, 200);

    worker.signal(Signal::SIGTERM);
    worker.hear("stopping");
    let late = idle.get("/healthz").unwrap();
    assert_eq!((late.status, late.keeps_alive()), (200, false));
    assert!(idle.is_closed());
    begun.send(br#""body":"b"}"#).unwrap();
    let answer = begun.read_answer(false).unwrap();
    assert_eq!((answer.status, answer.keeps_alive()), (201, false));
    assert_eq!(worker.ended().code(), Some(0));
}

#[test]
fn idle_connections_do_not_keep_it_and_a_second_signal_ends_it_at_once() {
    let folder = tempdir().unwrap();
    let worker = Worker::alone(folder.path(), &[]);
    let mut idle = worker.client();
    idle.get("/healthz").unwrap();
    worker.stop();
    assert!(idle.is_closed());

    let mut worker = Worker::alone(folder.path(), &[]);
    let mut begun = worker.client();
    begun.send(HEAD).unwrap();
    worker.client().get("/healthz").unwrap();
    worker.signal(Signal::SIGTERM);
    worker.hear("stopping");
    worker.signal(Signal::SIGINT);
    worker.hear("asked twice");
    assert_eq!(worker.ended().code(), Some(0));
}

#[test]
fn twenty_changes_of_worker_on_one_socket_lose_nothing() {
    let folder = tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let next = || Worker::on(listener.try_clone().unwrap(), folder.path(), &[]);
    let (worker, kept) = std::thread::scope(|scope| {
        let mut worker = next();
        let (tell, answered) = channel();
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let tell = tell.clone();
                scope.spawn(move || write_notes(address, client, client % 2 == 0, &tell))
            })
            .collect();
        for change in 0..20 {
            // Traffic goes on through every change: so many were answered since the last one.
            for _ in 0..20 {
                answered.recv_timeout(PATIENCE).unwrap();
            }
            if change % 2 == 0 {
                let new = next();
                std::mem::replace(&mut worker, new).stop();
            } else {
                // Nobody is there for a moment: the kernel's queue holds what comes.
                worker.stop();
                worker = next();
            }
        }
        drop(answered);
        let kept: Vec<String> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        (worker, kept)
    });

    let (mut found, mut path) = (Vec::new(), "/api/notices".to_owned());
    let mut client = Client::connect(address).unwrap();
    loop {
        let page = client.get(&path).unwrap().json();
        found.extend(page["notices"].as_array().unwrap().iter().map(|n| n["body"].as_str().unwrap().to_owned()));
        let Some(before) = page["next"].as_i64() else { break };
        path = format!("/api/notices?before={before}");
    }
    assert!(kept.len() >= 400, "too little traffic: {}", kept.len());
    assert_eq!(found.len(), kept.len(), "each acknowledged notice is there once");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), kept.into_iter().collect());
    worker.stop();
}

/// Writes until nobody listens to `tell` any more, and panics at the first request that is not answered as it should be.
fn write_notes(address: SocketAddr, client: u32, keep_alive: bool, tell: &Sender<()>) -> Vec<String> {
    let (mut kept, mut connection) = (Vec::new(), None);
    for number in 0.. {
        let body = format!("{client}.{number}");
        let mut open = connection.take().unwrap_or_else(|| Client::connect(address).unwrap());
        let answer = open.note("load", &body).unwrap_or_else(|error| panic!("notice {body} was lost: {error}"));
        assert_eq!(answer.status, 201, "{body}: {}", answer.body);
        kept.push(body);
        connection = Some(open).filter(|_| keep_alive && answer.keeps_alive());
        if tell.send(()).is_err() {
            break;
        }
    }
    kept
}
