//! From accept to an admitted request, and the answers back: TLS, framing, deadlines, floods.
//!
//! `accept` takes a socket into the `census` and wraps it in a `shield`; `tls` opens it for one name, in its `turns` and by
//! the `policy`; then `h1` (hyper behind the `guard`) or `h2` (behind `frames`) hands each request to [`Forward`]. One
//! `sweep` per core keeps every deadline, looking at each connection's `watch`.

mod accept;
mod admission;
mod answer;
mod census;
pub mod challenges;
mod chunked;
mod crowd;
mod events;
mod frames;
mod goodbye;
mod guard;
mod h1;
mod h2;
mod head;
mod issuers;
mod policy;
mod redirect;
mod shield;
mod stream;
mod sweep;
#[cfg(test)]
mod tests;
pub mod tls;
mod turns;
mod watch;

use std::{
    cell::Cell,
    io,
    os::fd::OwnedFd,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use http::Response;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch as news},
    task::{AbortHandle, JoinHandle},
};

pub use self::census::Census;
pub(crate) use self::census::who;
use self::{
    challenges::Challenges, crowd::Crowd, policy::Configs, sweep::Sweep, tls::Certificates, turns::Turns,
    watch::Verdict,
};
use super::exchange::{Connection, Forward, Refusal, ResponseBody};
use crate::{
    model::{Host, HttpLimits},
    wire::ListenerKind,
};

/// What all cores share.
pub struct Shared {
    /// The newest certificates; stored whole, read at each handshake.
    pub certificates: Arc<ArcSwap<Certificates>>,
    /// The newest answers to authorities; stored whole, read at each validator's handshake or request.
    pub challenges: Arc<ArcSwap<Challenges>>,
    /// Bounds on what a client controls.
    pub limits: HttpLimits,
    /// How many connections there are.
    pub census: Arc<Census>,
    crowd: Arc<Crowd>,
    tls: Configs,
}

impl Shared {
    /// No certificates and no challenges yet. Fails when there is no randomness for the tickets' key.
    pub fn new(limits: HttpLimits) -> Result<Arc<Self>, rustls::Error> {
        let certificates = Arc::new(ArcSwap::from_pointee(Certificates::default()));
        let challenges = Arc::new(ArcSwap::from_pointee(Challenges::default()));
        let tls = Configs::new(&certificates, &challenges)?;
        Ok(Arc::new(Self { certificates, challenges, census: Census::new(&limits), crowd: Crowd::new(), limits, tls }))
    }
}

/// What the connections of one core share.
struct Core<F> {
    forward: Rc<F>,
    shared: Arc<Shared>,
    limits: Arc<HttpLimits>,
    sweep: Rc<Sweep>,
    turns: Rc<Turns>,
    live: Arc<Live>,
    draining: Rc<Cell<bool>>,
}

impl<F: Forward> Core<F> {
    fn refuse(&self, connection: &Connection, refusal: Refusal, host: Option<&Host>) -> Response<ResponseBody> {
        self.shared.census.count_reject();
        events::reject(connection.client_ip(), refusal);
        self.forward.refuse(connection, refusal, host)
    }
}

/// How many connections of one core are open, upgraded ones included.
#[derive(Debug, Default)]
struct Live {
    open: AtomicUsize,
    ended: Notify,
}

/// One open connection, counted until it is dropped.
#[derive(Debug)]
struct Open(Arc<Live>);

impl Open {
    fn new(live: &Arc<Live>) -> Self {
        live.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(live))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}

/// One core's listeners and connections, at work as long as its `LocalSet` is.
pub struct Listening {
    accepting: Vec<JoinHandle<()>>,
    /// Told `true` when nobody is to be let in any more.
    closing: news::Sender<bool>,
    sweeping: AbortHandle,
    sweep: Rc<Sweep>,
    live: Arc<Live>,
    draining: Rc<Cell<bool>>,
}

/// Accepts on these sockets, on the current `LocalSet`.
///
/// # Errors
/// When a socket cannot be watched by the runtime.
pub fn serve<F: Forward>(
    listeners: Vec<(ListenerKind, OwnedFd)>,
    forward: Rc<F>,
    shared: Arc<Shared>,
) -> io::Result<Listening> {
    let sweep = Sweep::new(shared.limits.clone());
    let limits = Arc::new(shared.limits.clone());
    let core = Rc::new(Core {
        forward,
        shared,
        limits,
        sweep,
        turns: Rc::default(),
        live: Arc::default(),
        draining: Rc::new(Cell::new(false)),
    });
    let closing = news::Sender::new(false);
    let mut accepting = Vec::with_capacity(listeners.len());
    for (kind, socket) in listeners {
        let socket = std::net::TcpListener::from(socket);
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(socket)?;
        accepting.push(tokio::task::spawn_local(accept::run(Rc::clone(&core), kind, listener, closing.subscribe())));
    }
    let sweeping = tokio::task::spawn_local(Rc::clone(&core.sweep).run()).abort_handle();
    Ok(Listening {
        accepting,
        closing,
        sweeping,
        sweep: Rc::clone(&core.sweep),
        live: Arc::clone(&core.live),
        draining: Rc::clone(&core.draining),
    })
}

impl Listening {
    /// Open client connections of this core.
    pub fn connections(&self) -> usize {
        self.live.open.load(Ordering::Relaxed)
    }

    /// Stops accepting, and asks every connection to end in its own good time.
    ///
    /// A connection that the kernel has handed out is served; one that waits in its queue is left to whoever else has the
    /// socket. Idle HTTP/1.1 connections stay until their next answer or the idle timeout: closing them would lose the
    /// requests that are on their way. Told again, it changes nothing.
    pub fn retire(&self) {
        self.closing.send_replace(true);
        self.draining.set(true);
        self.sweep.wake_all();
    }

    /// Ends when nobody is let in any more and the last connection has ended. Only a [`retire`](Self::retire) leads there.
    pub async fn ended(&mut self) {
        // Until its task has ended, a connection that it has in its hands is not counted yet.
        while let Some(accepting) = self.accepting.last_mut() {
            // A panic of it would have been reported; it lets nobody in either.
            let _ended = accepting.await;
            self.accepting.pop();
        }
        loop {
            let ended = self.live.ended.notified();
            if self.connections() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Ends every connection, whatever it is at.
    pub async fn cut(&self) {
        self.sweep.judge_all(Verdict::Cut);
        // One more turn for the tasks to fall; a connection inside a worker's tunnel falls at its next poll.
        tokio::task::yield_now().await;
    }

    /// [`retire`](Self::retire), and [`cut`](Self::cut) what is left at the deadline.
    #[cfg(test)]
    pub async fn drain(mut self, deadline: std::time::Duration) {
        self.retire();
        if tokio::time::timeout(deadline, self.ended()).await.is_err() {
            self.cut().await;
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        for accepting in &self.accepting {
            accepting.abort();
        }
        self.sweeping.abort();
    }
}
