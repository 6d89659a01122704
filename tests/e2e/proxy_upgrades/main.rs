//! One proxy follows another: nothing is lost, what fails changes nothing, and nobody who drains is cut or holds others up.

mod draining;
mod killed;
mod upgrades;

use std::{
    io::{self, Read},
    path::Path,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use harness::{
    Landlord, Output, Setup,
    client::WebSocket,
    eventually, process,
    traffic::{Kind, Load, Report, Traffic},
};
use nix::sys::signal::Signal;

#[track_caller]
fn the_proxy(landlord: &Landlord) -> u32 {
    let [proxy] = landlord.proxies()[..] else { panic!("one proxy: {:?}", landlord.proxies()) };
    proxy
}

/// The proxy that is none of these.
#[track_caller]
fn newcomer(landlord: &Landlord, known: &[u32]) -> u32 {
    eventually("a new proxy is started", || landlord.proxies().into_iter().find(|pid| !known.contains(pid)))
}

/// An upgrade whose new proxy was stopped before it could say that it accepts; both. One that was faster is let go on, and
/// another one begun.
#[track_caller]
fn upgrade_to_a_stopped_one(landlord: &Landlord, proxy: &mut u32) -> (Child, u32) {
    eventually("a new proxy is stopped in time", || {
        let upgrade = begin_upgrade(landlord);
        let next = newcomer(landlord, &[*proxy]);
        assert!(process::signal(next, Signal::SIGSTOP));
        eventually("it stands still", || process::stopped(next).then_some(()));
        let shown = landlord.landlord(&["status"]).expect(0).stdout;
        if landlord.proxies().contains(proxy) && !shown.contains("older prox") {
            return Some((upgrade, next));
        }
        assert!(process::signal(next, Signal::SIGCONT));
        assert_eq!(end_of(upgrade).0, 0);
        eventually("the one before it ends", || (landlord.proxies() == [next]).then_some(()));
        *proxy = next;
        None
    })
}

/// `landlord upgrade`, under way.
#[track_caller]
fn begin_upgrade(landlord: &Landlord) -> Child {
    let mut command = landlord.command(&["upgrade"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process::spawn(command).expect("landlord can be started")
}

/// How it ended: its exit code and all that it said.
#[track_caller]
fn end_of(child: Child) -> (i32, String) {
    let ended = child.wait_with_output().expect("a child of ours can be waited for");
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

async fn open_socket(landlord: &Landlord) -> WebSocket {
    let mut socket = landlord.site("acme").websocket("/ws").await.expect("an upgrade");
    echo(&mut socket, "opened").await;
    socket
}

/// A WebSocket in the newest proxy: the one before it accepts too, until it has read that it is to drain.
async fn open_socket_in(landlord: &Landlord, proxy: u32) -> WebSocket {
    harness::eventually_async("the newest proxy takes a WebSocket", async || {
        let socket = open_socket(landlord).await;
        (process::accepted(proxy, landlord.https().port()) > 0).then_some(socket)
    })
    .await
}

async fn echo(socket: &mut WebSocket, text: &str) {
    socket.send(text).await.expect("sent");
    assert_eq!(socket.text().await.expect("echoed"), text);
}
