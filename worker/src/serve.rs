//! The site's life: open everything, accept, and on SIGTERM stop without losing a request.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    settings::Settings,
    socket::{Listener, SocketError, Stream},
    store::{self, Migrate, StoreError},
    web::{self, Site},
};

/// Connections at once; more wait in the accept queue.
const CONNECTIONS: usize = 1000;
/// After SIGTERM an idle connection may still have a request on its way to us: so long it is waited for.
const LINGER: Duration = Duration::from_millis(500);
/// After SIGTERM whatever is still unanswered is cut. Below the ten seconds after which a supervisor would do it.
const STOP_WITHIN: Duration = Duration::from_secs(8);
/// Without a next request, alone: nobody stands between us and slow clients.
const IDLE_ALONE: Duration = Duration::from_secs(60);
/// Behind the gateway: long enough that it is always the gateway that closes an idle connection, never we in the
/// moment in which it sends a request.
const IDLE_BEHIND: Duration = Duration::from_secs(600);

/// Why the site did not come up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The runtime or its signals.
    #[error("cannot start: {0}")]
    Runtime(#[from] io::Error),
}

/// How far the stop has come, as every connection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Idle connections are to close now.
    Closing,
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn serve(settings: Settings) -> Result<(), ServeError> {
    // One thread is plenty for one company's site, and keeps it small.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(settings))
}

async fn run(settings: Settings) -> Result<(), ServeError> {
    let mut stop = Stop::listen()?;
    // The database first: a socket that is bound but not served would let visitors in too early.
    let migrate = if settings.under_landlord { Migrate::WhenEmpty } else { Migrate::Always };
    let store = store::open(&settings.database, migrate)?;
    let listener = Listener::open(settings.address)?;
    info!("{} is on {listener}, its data in {}", settings.company(), settings.database);

    let idle = if settings.under_landlord { IDLE_BEHIND } else { IDLE_ALONE };
    let site = Arc::new(Site::new(settings, store));
    let mut connections = Connections::new(web::router(Arc::clone(&site)), idle);

    connections.accept_until(&listener, stop.asked()).await;
    info!("stopping");
    site.drain();
    for stream in listener.drain() {
        connections.spawn(stream);
    }
    tokio::select! {
        () = connections.finish() => info!("stopped"),
        () = stop.asked() => warn!("asked twice: stopped at once"),
    }
    Ok(())
}

/// The signals that ask us to stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Every open connection.
struct Connections {
    router: Router,
    idle: Duration,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<()>,
}

impl Connections {
    fn new(router: Router, idle: Duration) -> Self {
        Self { router, idle, phase: watch::Sender::new(Phase::Serving), tasks: JoinSet::new() }
    }

    async fn accept_until(&mut self, listener: &Listener, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            let room = self.tasks.len() < CONNECTIONS;
            tokio::select! {
                biased;
                () = &mut stop => return,
                Some(_) = self.tasks.join_next() => {}
                accepted = listener.accept(), if room => match accepted {
                    Ok(stream) => self.spawn(stream),
                    Err(error) => {
                        warn!("cannot accept: {error}");
                        // Out of descriptors or memory: the queue stays readable, so this would spin.
                        tokio::select! { () = &mut stop => return, () = sleep(Duration::from_millis(100)) => {} }
                    }
                },
            }
        }
    }

    fn spawn(&mut self, stream: Stream) {
        let (router, idle, phase) = (self.router.clone(), self.idle, self.phase.subscribe());
        match stream {
            Stream::Tcp(stream) => self.tasks.spawn(connection(stream, router, idle, phase)),
            Stream::Unix(stream) => self.tasks.spawn(connection(stream, router, idle, phase)),
        };
    }

    /// Waits until every request is answered and every connection closed, within [`STOP_WITHIN`].
    async fn finish(&mut self) {
        let ended = timeout(LINGER, self.all_ended()).await;
        if ended.is_ok() {
            return;
        }
        self.phase.send_replace(Phase::Closing);
        if timeout(STOP_WITHIN - LINGER, self.all_ended()).await.is_err() {
            warn!("{} connections were cut: they did not finish in time", self.tasks.len());
        }
    }

    async fn all_ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn connection<S>(stream: S, router: Router, idle: Duration, mut phase: watch::Receiver<Phase>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    // The timer of a head runs from the end of the last answer, so it is the one for idle connections too.
    http.timer(TokioTimer::new()).header_read_timeout(idle).max_headers(128);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    tokio::select! {
        // A client that broke off is its own business.
        _ = connection.as_mut() => return,
        _ = phase.wait_for(|phase| *phase == Phase::Closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
