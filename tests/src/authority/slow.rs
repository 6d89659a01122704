//! A DNS server that takes its time.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// How long a question may take at the true server.
const ANSWER: Duration = Duration::from_secs(5);
/// How soon it notices that it is to end.
const GLANCE: Duration = Duration::from_millis(50);

/// Passes every question on at once and its answer only after a while. UDP alone: over TCP nobody is there.
#[derive(Debug)]
pub struct SlowDns {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    ended: AtomicBool,
    asked: AtomicU64,
}

impl SlowDns {
    pub(super) fn start(port: u16, server: SocketAddr, by: Duration) -> Self {
        let socket = Arc::new(UdpSocket::bind(("127.0.0.1", port)).expect("a port of ours"));
        socket.set_read_timeout(Some(GLANCE)).expect("a socket");
        let shared = Arc::new(Shared { ended: AtomicBool::new(false), asked: AtomicU64::new(0) });
        let address = socket.local_addr().expect("it is bound");
        let state = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut question = [0; 1500];
            while !state.ended.load(Ordering::Acquire) {
                let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
                state.asked.fetch_add(1, Ordering::Release);
                let (socket, question) = (Arc::clone(&socket), question[..length].to_vec());
                std::thread::spawn(move || {
                    let mut answer = [0; 4096];
                    let onward = UdpSocket::bind("127.0.0.1:0").expect("a socket");
                    let _ = onward.set_read_timeout(Some(ANSWER));
                    if onward.send_to(&question, server).is_ok()
                        && let Ok(length) = onward.recv(&mut answer)
                    {
                        std::thread::sleep(by);
                        let _ = socket.send_to(&answer[..length], from);
                    }
                });
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::Acquire)
    }
}

impl Drop for SlowDns {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
