//! The connections of a crowd.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Mutex as AsyncMutex;

use super::{Kind, Load};
use crate::client::{ClientError, Http2, Raw, Response, Result, Site};

/// HTTP/2 connections of one crowd.
const CONNECTIONS: usize = 4;

/// Sends each request as its crowd's kind has it. Nothing is ever tried again: a request lost is a request counted.
pub(super) struct Visitors {
    site: Site,
    kind: Kind,
    watchful: bool,
    /// Kept HTTP/1.1 connections that are free.
    idle: Mutex<Vec<Raw>>,
    multiplexed: [AsyncMutex<Option<Http2>>; CONNECTIONS],
    /// Connections that are used in turn, each after the same rest.
    paced: Vec<AsyncMutex<Option<Raw>>>,
    turn: AtomicUsize,
    rest: Option<Duration>,
    /// Since when each rests, the one that has for longest first.
    resting: Mutex<VecDeque<(Instant, Kept)>>,
    reopened: AtomicU64,
}

/// A connection that one request at a time has for itself.
enum Kept {
    Http1(Raw),
    Http2(Http2),
}

/// Into so many lengths the rests of connections are graded.
const GRADES: usize = 8;

impl Visitors {
    pub(super) fn new(site: Site, load: &Load) -> Self {
        let paced = match load.kind {
            Kind::Resting { each } => (each.as_secs_f64() * f64::from(load.rate)).ceil() as usize,
            _ => 0,
        };
        Self {
            site,
            kind: load.kind,
            watchful: load.watchful,
            idle: Mutex::new(Vec::new()),
            multiplexed: [const { AsyncMutex::const_new(None) }; CONNECTIONS],
            paced: (0..paced).map(|_| AsyncMutex::new(None)).collect(),
            turn: AtomicUsize::new(0),
            rest: load.rest,
            resting: Mutex::new(VecDeque::new()),
            reopened: AtomicU64::new(0),
        }
    }

    /// Kept connections that the gateway had ended while nobody used them, so that another had to be opened.
    pub(super) fn reopened(&self) -> u64 {
        self.reopened.load(Ordering::Relaxed)
    }

    /// A GET; with a body, a POST.
    pub(super) async fn ask(&self, path: &str, body: Vec<u8>) -> Result<Response> {
        let method = if body.is_empty() { "GET" } else { "POST" };
        if let Some(rest) = self.rest {
            return self.rested(rest, method, path, body).await;
        }
        match self.kind {
            Kind::NewConnection => self.site.request(method, path, &[("Connection", "close")], &body).await,
            Kind::KeepAlive => self.keep_alive(method, path, &body).await,
            Kind::Resting { .. } => self.paced_by_turn(method, path, &body).await,
            Kind::Http2 => {
                loop {
                    let connection = self.multiplexed().await?;
                    let request = connection.request(method, path).body(()).expect("a request");
                    match connection.send(request, body.clone().into()).await {
                        // It said goodbye after it was looked at, and before anything was sent.
                        Err(ClientError::NotSent(_)) if self.watchful => {
                            self.reopened.fetch_add(1, Ordering::Relaxed);
                        }
                        outcome => return outcome,
                    }
                }
            }
        }
    }

    async fn keep_alive(&self, method: &str, path: &str, body: &[u8]) -> Result<Response> {
        let mut kept = self.idle.lock().expect("no visitor panics").pop();
        while self.watchful && kept.as_mut().is_some_and(Raw::is_over) {
            self.reopened.fetch_add(1, Ordering::Relaxed);
            kept = self.idle.lock().expect("no visitor panics").pop();
        }
        let (answer, raw) = self.ask_over(kept, method, path, body).await?;
        self.idle.lock().expect("no visitor panics").extend(raw);
        Ok(answer)
    }

    async fn paced_by_turn(&self, method: &str, path: &str, body: &[u8]) -> Result<Response> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.paced.len();
        let mut place = self.paced[turn].lock().await;
        let mut kept = place.take();
        if kept.as_mut().is_some_and(Raw::is_over) {
            kept = None;
            self.reopened.fetch_add(1, Ordering::Relaxed);
        }
        let (answer, raw) = self.ask_over(kept, method, path, body).await?;
        *place = raw;
        Ok(answer)
    }

    /// On a connection that was kept, or else on a new one; the connection, if it may be kept.
    async fn ask_over(
        &self,
        kept: Option<Raw>,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<(Response, Option<Raw>)> {
        let mut raw = match kept {
            Some(raw) => raw,
            None => self.site.h1().await?,
        };
        raw.send(self.site.message(method, path, &[], body)).await?;
        let answer = raw.response().await?;
        let closes = answer.head.lists("connection", "close");
        Ok((answer, (!closes).then_some(raw)))
    }

    async fn multiplexed(&self) -> Result<Http2> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % CONNECTIONS;
        let mut place = self.multiplexed[turn].lock().await;
        if let Some(connection) = &*place
            && connection.usable().await
        {
            return Ok(connection.clone());
        }
        let connection = self.site.h2().await?;
        *place = Some(connection.clone());
        Ok(connection)
    }

    async fn rested(&self, rest: Duration, method: &str, path: &str, body: Vec<u8>) -> Result<Response> {
        let connection = match self.wake_one(rest) {
            // What its client has been told before it asks is no loss of a request.
            Some(Kept::Http2(connection)) if !connection.usable().await => Kept::Http2(self.site.h2().await?),
            Some(kept) => kept,
            None if self.kind == Kind::Http2 => Kept::Http2(self.site.h2().await?),
            None => Kept::Http1(self.site.h1().await?),
        };
        let (answer, connection) = match connection {
            Kept::Http1(mut raw) => {
                raw.send(self.site.message(method, path, &[], &body)).await?;
                let answer = raw.response().await?;
                let kept = (!answer.head.lists("connection", "close")).then_some(Kept::Http1(raw));
                (answer, kept)
            }
            Kept::Http2(connection) => {
                let request = connection.request(method, path).body(()).expect("a request");
                (connection.send(request, body.into()).await?, Some(Kept::Http2(connection)))
            }
        };
        if let Some(connection) = connection {
            self.resting.lock().expect("no visitor panics").push_back((Instant::now(), connection));
        }
        Ok(answer)
    }

    /// One that has rested for as long as it is this request's turn to want; `None`: a new one is wanted.
    fn wake_one(&self, rest: Duration) -> Option<Kept> {
        let grade = self.turn.fetch_add(1, Ordering::Relaxed) % GRADES;
        let wanted = rest * u32::try_from(grade).expect("a small number") / GRADES as u32;
        let mut resting = self.resting.lock().expect("no visitor panics");
        // Nobody uses these again: their clients close them.
        while resting.front().is_some_and(|(since, _)| since.elapsed() >= rest) {
            resting.pop_front();
        }
        let longest = resting.front()?.0.elapsed();
        if longest < wanted { None } else { resting.pop_front().map(|(_, connection)| connection) }
    }
}
