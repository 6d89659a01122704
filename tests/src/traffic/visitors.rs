//! The connections of a crowd.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Mutex as AsyncMutex;

use super::Kind;
use crate::client::{Http2, Raw, Response, Result, Site};

/// HTTP/2 connections of one crowd.
const CONNECTIONS: usize = 4;

/// Sends each request as its crowd's kind has it. Nothing is ever tried again: a request lost is a request counted.
pub(super) struct Visitors {
    site: Site,
    kind: Kind,
    /// Kept HTTP/1.1 connections that are free.
    idle: Mutex<Vec<Raw>>,
    multiplexed: [AsyncMutex<Option<Http2>>; CONNECTIONS],
    turn: AtomicUsize,
}

impl Visitors {
    pub(super) fn new(site: Site, kind: Kind) -> Self {
        Self {
            site,
            kind,
            idle: Mutex::new(Vec::new()),
            multiplexed: [const { AsyncMutex::const_new(None) }; CONNECTIONS],
            turn: AtomicUsize::new(0),
        }
    }

    /// A GET; with a body, a POST.
    pub(super) async fn ask(&self, path: &str, body: Vec<u8>) -> Result<Response> {
        let method = if body.is_empty() { "GET" } else { "POST" };
        match self.kind {
            Kind::NewConnection => self.site.request(method, path, &[("Connection", "close")], &body).await,
            Kind::KeepAlive => self.keep_alive(method, path, &body).await,
            Kind::Http2 => {
                let connection = self.multiplexed().await?;
                let request = connection.request(method, path).body(()).expect("a request");
                connection.send(request, body.into()).await
            }
        }
    }

    async fn keep_alive(&self, method: &str, path: &str, body: &[u8]) -> Result<Response> {
        let kept = self.idle.lock().expect("no visitor panics").pop();
        let mut raw = match kept {
            Some(raw) => raw,
            None => self.site.h1().await?,
        };
        raw.send(self.site.message(method, path, &[], body)).await?;
        let answer = raw.response().await?;
        if !answer.head.lists("connection", "close") {
            self.idle.lock().expect("no visitor panics").push(raw);
        }
        Ok(answer)
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
}
