//! A worker that misbehaves on request. What it does at its start comes from its environment, what it answers from the path.
//!
//! | environment | effect |
//! |---|---|
//! | `START_DELAY_MS` | binds nothing and accepts nothing for so long |
//! | `EXIT_AT_START` | exits with this code at once |
//! | `CRASH_FILE` | exits 1 at once while this file exists |
//! | `UNHEALTHY` | `/healthz` answers 500; with `file:PATH`, while that file exists |
//! | `HANG_FILE` | `/healthz` is accepted and never answered while this file exists |
//! | `IGNORE_TERM` | SIGTERM does nothing |
//! | `GRANDCHILD` | leaves a process behind that left its session and its parent |
//! | `BOAST` | writes its name to standard output and standard error at its start |

mod answers;
mod bad;
mod conversation;
mod files;
mod seen;

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, exit},
    sync::Arc,
    time::Duration,
};

use conversation::Conversation;
use seen::Seen;

fn main() {
    if let Ok(code) = std::env::var("EXIT_AT_START") {
        exit(code.parse().unwrap_or(1));
    }
    if std::env::var_os("CRASH_FILE").is_some_and(|file| Path::new(&file).exists()) {
        exit(1);
    }
    let seen = Arc::new(Seen::default());
    heed_term(Arc::clone(&seen));
    greet();
    if flag("GRANDCHILD") {
        // The grandchild has a session of its own, and init or a subreaper for its parent.
        let _ = Command::new("setsid").args(["--fork", "sleep", "600"]).status();
    }
    if let Some(delay) = std::env::var("START_DELAY_MS").ok().and_then(|ms| ms.parse().ok()) {
        std::thread::sleep(Duration::from_millis(delay));
    }
    let listener = listener().expect("a socket to listen on: LISTEN_FDS or PORT");
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let seen = Arc::clone(&seen);
        std::thread::spawn(move || {
            if let Ok(mut conversation) = Conversation::new(stream) {
                // An error is the peer's going away: there is nobody left to tell.
                let _ = answers::serve(&mut conversation, &seen);
            }
        });
    }
}

/// Whether a variable is set at all.
fn flag(name: &str) -> bool {
    std::env::var_os(name).is_some()
}

/// The inherited socket (the systemd protocol), or `127.0.0.1:$PORT`.
fn listener() -> std::io::Result<TcpListener> {
    let ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    if ours && std::env::var("LISTEN_FDS").is_ok_and(|count| count == "1") {
        return Ok(inherited());
    }
    let port = std::env::var("PORT").ok().and_then(|port| port.parse::<u16>().ok()).unwrap_or(0);
    TcpListener::bind(("127.0.0.1", port))
}

#[allow(unsafe_code, reason = "there is no safe way to name an inherited descriptor")]
fn inherited() -> TcpListener {
    use std::os::fd::FromRawFd;
    // SAFETY: LISTEN_PID names this process, so fd 3 is a listening socket that was handed to it, and nothing else here
    // has opened or closed it: this is called once.
    let listener = unsafe { TcpListener::from_raw_fd(3) };
    listener.set_nonblocking(false).expect("a socket's mode can be set");
    listener
}

/// SIGTERM: finish what is in flight, exit 0. Or nothing, when told so.
fn heed_term(seen: Arc<Seen>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    let mut term = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("a signal can be awaited")
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            while term.recv().await.is_some() {
                if !flag("IGNORE_TERM") {
                    seen.wait_idle();
                    exit(0);
                }
            }
        });
    });
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is what a log is made of")]
fn greet() {
    if let Ok(name) = std::env::var("BOAST") {
        println!("out: {name}");
        eprintln!("err: {name}");
    }
}
