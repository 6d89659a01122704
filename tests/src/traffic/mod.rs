//! Visitors in a crowd: requests at a constant rate over real TLS, sent whether or not earlier ones were answered
//! (open loop), each with an id of its own, each outcome counted. Operations run *through* it.

mod report;
mod visitors;

pub use report::{Loss, Report, share_of};

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Runtime,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use crate::{client::Site, eventually};
use report::Sample;
use visitors::Visitors;

/// How the crowd connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP/1.1, connections kept and used again.
    KeepAlive,
    /// HTTP/1.1, a new connection for each request.
    NewConnection,
    /// HTTP/2, many requests at once on a few connections.
    Http2,
    /// HTTP/1.1, as many kept connections as it takes for each to rest so long between two of its requests. One that
    /// the gateway has ended meanwhile is opened again, as any client does, and that is counted.
    Resting {
        /// From one request of a connection to its next.
        each: Duration,
    },
}

impl Kind {
    /// The three that know no rest.
    pub const ALL: [Self; 3] = [Self::KeepAlive, Self::NewConnection, Self::Http2];

    /// A word for the requests' ids.
    fn word(self) -> &'static str {
        match self {
            Self::KeepAlive => "kept",
            Self::NewConnection => "new",
            Self::Http2 => "h2",
            Self::Resting { .. } => "rested",
        }
    }
}

/// What a crowd does.
#[derive(Clone, Debug)]
pub struct Load {
    /// How it connects.
    pub kind: Kind,
    /// Requests a second.
    pub rate: u32,
    /// Asked for. `{id}` becomes the request's own id, and an answer of 200 must contain it.
    pub path: String,
    /// Bytes of a body to send along (POST), which begins with the request's id; 0 is a GET.
    pub body: usize,
    /// Whether a kept connection is looked at before it is used, as any sensible client does: one that has been ended is
    /// replaced, and that is counted. Without it, a gateway that ends idle connections early is caught at it.
    pub watchful: bool,
    /// Kept connections rest between two requests: some hardly, some for nearly so long, none for longer.
    pub rest: Option<Duration>,
}

impl Load {
    /// GETs of the scripted worker's `/id/ID`.
    pub fn new(kind: Kind, rate: u32) -> Self {
        Self { kind, rate, path: "/id/{id}".into(), body: 0, watchful: false, rest: None }
    }

    /// The same crowd, looking before it sends.
    pub fn watchful(self) -> Self {
        Self { watchful: true, ..self }
    }

    /// POSTs whose body of so many bytes must come back.
    pub fn uploads(kind: Kind, rate: u32, body: usize) -> Self {
        Self { kind, rate, path: "/echo?{id}".into(), body, watchful: false, rest: None }
    }

    /// GETs that take the worker so long, so that some are in flight whenever something happens.
    pub fn slow(kind: Kind, rate: u32, ms: u32) -> Self {
        Self { kind, rate, path: format!("/slow/{ms}"), body: 0, watchful: false, rest: None }
    }

    /// On connections of their own that rest for up to so long between two requests, HTTP/2 as well.
    pub fn resting(self, rest: Duration) -> Self {
        Self { rest: Some(rest), ..self }
    }
}

/// A crowd at work.
#[derive(Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
    finished: std::sync::mpsc::Receiver<()>,
    /// Its own, so that a test that blocks cannot hold the crowd up. `None` once it is shut down.
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    report: Mutex<Report>,
    answered: AtomicU64,
    stop: AtomicBool,
}

impl Traffic {
    /// Lets a crowd loose on a site.
    pub fn start(site: Site, load: Load) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("traffic")
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let shared = Arc::new(Shared {
            report: Mutex::new(Report::new(&load)),
            answered: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let (done, finished) = std::sync::mpsc::channel();
        let crowd = Arc::clone(&shared);
        runtime.spawn(async move {
            crowd.run(site, load).await;
            let _ = done.send(());
        });
        Self { shared, finished, runtime: Some(runtime) }
    }

    /// Waits until `count` more requests have been answered with 200, so that what was just done has been seen by visitors.
    #[track_caller]
    pub fn wait_answered(&self, count: u64) {
        let goal = self.answered() + count;
        eventually(format!("{count} more requests are answered. So far: {}", self.so_far()), || {
            (self.answered() >= goal).then_some(())
        });
    }

    /// [`Traffic::wait_answered`] for several crowds at once.
    #[track_caller]
    pub fn wait_all_answered(crowds: &[Self], count: u64) {
        let goals: Vec<u64> = crowds.iter().map(|crowd| crowd.answered() + count).collect();
        let reached = || crowds.iter().zip(&goals).all(|(crowd, goal)| crowd.answered() >= *goal);
        eventually(format!("{count} more requests of every crowd are answered"), || reached().then_some(()));
    }

    /// How many were answered with 200.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Acquire)
    }

    /// The counts so far.
    pub fn so_far(&self) -> Report {
        self.shared.report.lock().expect("no visitor panics").clone()
    }

    /// Sends no more, waits for every answer that is still to come, and reports.
    #[track_caller]
    pub fn stop(mut self) -> Report {
        self.shared.stop.store(true, Ordering::Release);
        let bound = crate::client::DEADLINE + crate::PATIENCE;
        self.finished.recv_timeout(bound).expect("every request ends within its deadline");
        self.shut();
        self.so_far()
    }

    fn shut(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime may not be dropped in an asynchronous test; nothing in it is needed any more.
            runtime.shutdown_background();
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.shut();
    }
}

impl Shared {
    async fn run(self: &Arc<Self>, site: Site, load: Load) {
        let visitors = Arc::new(Visitors::new(site, &load));
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / load.rate);
        // A tick that was late is made up for: the rate is constant whatever the machine does.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut requests = JoinSet::new();
        let mut number = 0u64;
        while !self.stop.load(Ordering::Acquire) {
            // The moment at which it was due: a crowd held up by itself counts as slow answers, not as fewer requests.
            let due: Instant = ticks.tick().await;
            number += 1;
            let id = format!("{}-{number}", load.kind.word());
            let path = load.path.replace("{id}", &id);
            let must_name_id = load.path.contains("{id}");
            let mut body = if load.body > 0 { id.clone().into_bytes() } else { Vec::new() };
            body.resize(load.body, b'.');
            let (shared, visitors) = (Arc::clone(self), Arc::clone(&visitors));
            shared.report.lock().expect("no visitor panics").sent += 1;
            requests.spawn(async move {
                let outcome = visitors.ask(&path, body).await;
                let sample = Sample { due, took: due.elapsed() };
                let mut report = shared.report.lock().expect("no visitor panics");
                report.reopened = visitors.reopened();
                let ok = report.count(outcome, must_name_id.then_some(&id), sample);
                drop(report);
                if ok {
                    shared.answered.fetch_add(1, Ordering::Release);
                }
            });
            while requests.try_join_next().is_some() {}
        }
        requests.join_all().await;
    }
}
