//! The data threads: one per core, each with a runtime, listeners and connections to workers of its own.

use std::{
    io,
    os::fd::OwnedFd,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Builder,
    sync::{mpsc, watch},
    task::LocalSet,
    time,
};

use super::{
    access::{Access, Record},
    connection::{self, challenges::Challenges, tls::Certificates},
    control::Event,
    forward::forwarder::{Counts, Forwarder, Report, Settings},
    routes::Routes,
};
use crate::{
    model::{CertificateSet, HttpLimits},
    wire::{Answers, ListenerKind},
};

/// Deadlines in flight are looked at, and log records handed over, this often.
const SWEEP: Duration = Duration::from_millis(100);

/// Turns that the last tasks of a core get to fall after their connections.
const TURNS: u32 = 100;

/// What `Configure` told.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) cores: usize,
    pub(crate) http: HttpLimits,
    pub(crate) https_port: u16,
}

/// One public socket and the core that accepts on it.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) kind: ListenerKind,
    pub(crate) core: usize,
    pub(crate) socket: OwnedFd,
}

/// The data threads, seen from the control thread.
pub(crate) struct Cores {
    shared: Arc<connection::Shared>,
    counts: Vec<Arc<Counts>>,
    lost: Arc<AtomicU64>,
    leave: watch::Sender<Leave>,
    news: mpsc::UnboundedReceiver<News>,
    tell: mpsc::UnboundedSender<News>,
    started: usize,
    accepting: usize,
    ended: usize,
}

/// Whether, and how soon, the threads are to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Leave {
    /// Nobody is let in any more, since then.
    retired: Option<Instant>,
    /// What is left is cut then.
    deadline: Option<Instant>,
}

/// What a thread has to say.
#[derive(Debug)]
enum News {
    Accepting,
    Ended(Result<(), String>),
}

/// What one thread takes with it.
struct Core {
    index: usize,
    settings: Settings,
    routes: Routes,
    listeners: Vec<(ListenerKind, OwnedFd)>,
    shared: Arc<connection::Shared>,
    counts: Arc<Counts>,
    lost: Arc<AtomicU64>,
    reports: mpsc::UnboundedSender<Report>,
    records: mpsc::Sender<Vec<Record>>,
    leave: watch::Receiver<Leave>,
    tell: Ending,
}

/// Tells the end of a thread, a panic included.
struct Ending(mpsc::UnboundedSender<News>, Result<(), String>);

impl Drop for Ending {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.1, Ok(()));
        let _ = self.0.send(News::Ended(result));
    }
}

impl Cores {
    /// None started yet.
    ///
    /// # Errors
    /// When there is no randomness for TLS.
    pub(crate) fn new(setup: &Setup) -> Result<Self, String> {
        let shared = connection::Shared::new(setup.http.clone()).map_err(|error| error.to_string())?;
        let (tell, news) = mpsc::unbounded_channel();
        Ok(Self {
            shared,
            counts: (0..setup.cores).map(|_| Arc::default()).collect(),
            lost: Arc::default(),
            leave: watch::Sender::new(Leave::default()),
            news,
            tell,
            started: 0,
            accepting: 0,
            ended: 0,
        })
    }

    /// Handshakes use these from now on. What cannot be used is left out and told to the log.
    pub(crate) fn certify(&self, set: &CertificateSet) {
        let (new, errors) = Certificates::build(set, &self.shared.certificates.load());
        self.shared.certificates.store(Arc::new(new));
        for error in errors {
            tracing::error!(event = "set_aside", %error, "cert");
        }
    }

    /// Authorities are answered by these from now on, by every core: each look is at what is stored here. A certificate
    /// that cannot be used is left out and told to the log.
    pub(crate) fn challenge(&self, answers: Answers) {
        let (new, errors) = Challenges::build(answers);
        self.shared.challenges.store(Arc::new(new));
        for error in errors {
            tracing::error!(event = "failed", %error, "cert");
        }
    }

    /// Starts a thread for every core.
    ///
    /// # Errors
    /// When a thread cannot be started, or a listener names a core that there is not.
    pub(crate) fn start(
        &mut self,
        setup: &Setup,
        routes: &Routes,
        mut listeners: Vec<Listener>,
        reports: &mpsc::UnboundedSender<Report>,
        records: &mpsc::Sender<Vec<Record>>,
    ) -> io::Result<()> {
        if let Some(stray) = listeners.iter().find(|listener| listener.core >= setup.cores) {
            return Err(io::Error::other(format!("a listener for core {} of {}", stray.core, setup.cores)));
        }
        for (index, counts) in self.counts.iter().enumerate() {
            let (own, others) = listeners.into_iter().partition(|listener| listener.core == index);
            listeners = others;
            let own: Vec<Listener> = own;
            let settings = Settings { https_port: setup.https_port, response_timeout: setup.http.response_timeout };
            let core = Core {
                index,
                settings,
                routes: routes.clone(),
                listeners: own.into_iter().map(|listener| (listener.kind, listener.socket)).collect(),
                shared: Arc::clone(&self.shared),
                counts: Arc::clone(counts),
                lost: Arc::clone(&self.lost),
                reports: reports.clone(),
                records: records.clone(),
                leave: self.leave.subscribe(),
                tell: Ending(self.tell.clone(), Err("panicked".to_owned())),
            };
            thread::Builder::new().name(format!("core-{index}")).spawn(move || core.run())?;
            self.started += 1;
        }
        Ok(())
    }

    /// Stops accepting, and ends when the last connection has; each request and tunnel has its tenant's time from here.
    pub(crate) fn retire(&self) {
        self.leave.send_modify(|leave| _ = leave.retired.get_or_insert_with(Instant::now));
    }

    /// The same, and at the deadline whatever is left is cut. A later deadline never replaces an earlier.
    pub(crate) fn drain(&self, deadline: Instant) {
        self.leave.send_modify(|leave| {
            leave.deadline = Some(leave.deadline.map_or(deadline, |known| known.min(deadline)));
        });
    }

    /// Whether it was told to end.
    pub(crate) fn leaves(&self) -> bool {
        *self.leave.borrow() != Leave::default()
    }

    /// The next event. Cancel safe.
    pub(crate) async fn event(&mut self) -> Event {
        loop {
            if self.leaves() && self.ended == self.started {
                return Event::Ended;
            }
            match self.news.recv().await {
                Some(News::Accepting) => {
                    self.accepting += 1;
                    if self.accepting == self.started {
                        return Event::Ready;
                    }
                }
                Some(News::Ended(Ok(()))) => self.ended += 1,
                Some(News::Ended(Err(why))) => return Event::Died(why),
                // Not while we hold a sender ourselves.
                None => std::future::pending().await,
            }
        }
    }

    /// Log records that were lost since the last call.
    pub(crate) fn lost_records(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// Open connections, requests answered, requests refused.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let requests = self.counts.iter().map(|counts| counts.requests.load(Ordering::Relaxed)).sum();
        (self.shared.census.connections(), requests, self.shared.census.rejects())
    }
}

impl Core {
    fn run(mut self) {
        let result = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => LocalSet::new().block_on(&runtime, self.serve()),
            Err(error) => Err(error),
        };
        self.tell.1 = result.map_err(|error| error.to_string());
    }

    /// Serves until drained.
    async fn serve(&mut self) -> io::Result<()> {
        let forwarder = Forwarder::new(
            self.index,
            self.settings.clone(),
            &self.routes,
            Access::new(self.records.clone()),
            self.reports.clone(),
            Arc::clone(&self.counts),
        );
        let listeners = std::mem::take(&mut self.listeners);
        let mut listening = connection::serve(listeners, Rc::new(forwarder.clone()), Arc::clone(&self.shared))?;
        let _ = self.tell.0.send(News::Accepting);

        let mut tick = time::interval(SWEEP);
        tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut leave = Leave::default();
        loop {
            tokio::select! {
                _ = tick.tick() => self.sweep(&forwarder),
                // The sender lives as long as the control thread, and that as long as the process.
                Ok(()) = self.leave.changed() => {
                    leave = *self.leave.borrow_and_update();
                    listening.retire();
                    if let Some(since) = leave.retired {
                        forwarder.retire(since);
                    }
                }
                () = listening.ended(), if leave != Leave::default() => break,
                () = reached(leave.deadline) => {
                    listening.cut().await;
                    break;
                }
            }
        }
        forwarder.cut_all();
        // Each request's task tells the log of its end, once it has seen it.
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
            if forwarder.in_flight() == 0 {
                break;
            }
        }
        self.sweep(&forwarder);
        Ok(())
    }

    fn sweep(&self, forwarder: &Forwarder) {
        forwarder.sweep(Instant::now());
        self.lost.fetch_add(forwarder.lost_records(), Ordering::Relaxed);
    }
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
