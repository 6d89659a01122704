//! One core's keep-alive connections to workers, keyed by generation: no connection ever serves two tenants.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use super::{
    head::Asked,
    io::{GuardedIo, Watch},
};
use crate::{
    model::GenerationId,
    proxy::{forward::upload::UploadBody, routes::Backend},
};

/// An idle connection is closed after this time.
const IDLE: Duration = Duration::from_secs(30);
/// A request that must not be sent twice takes no connection that was idle for longer: a worker's keep-alive timeout
/// could close it at the moment of the write.
const FRESH: Duration = Duration::from_secs(1);
/// Idle connections kept per backend.
const KEPT: usize = 256;

/// One core's connections to one backend.
#[derive(Debug)]
pub(crate) struct CoreBackend {
    /// The backend itself, shared by all cores.
    pub(crate) backend: Arc<Backend>,
    /// Whose; a text of this core's own, so that its count is shared with no other core.
    pub(crate) tenant: Arc<str>,
    idle: RefCell<Vec<(Connection, Instant)>>,
}

/// One connection. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) sender: http1::SendRequest<UploadBody>,
    pub(crate) watch: Arc<Watch>,
    /// It has carried a request before.
    pub(crate) reused: bool,
    task: Option<AbortHandle>,
}

impl Connection {
    /// Opens one.
    pub(crate) async fn open(backend: &CoreBackend) -> io::Result<Self> {
        let io = GuardedIo::connect(&backend.backend.address).await?;
        let watch = io.watch();
        let (sender, connection) = http1::Builder::new()
            .max_headers(256)
            .max_buf_size(128 * 1024)
            .handshake(TokioIo::new(io))
            .await
            .map_err(io::Error::other)?;
        let task = tokio::task::spawn_local(async move {
            // How it ended is told to the request that it carried.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { sender, watch, reused: false, task: Some(task.abort_handle()) })
    }

    /// Makes ready for a request: the guard lets one answer through.
    pub(crate) fn arm(&self, asked: Asked) {
        self.watch.arm(asked);
    }

    /// Ends it from elsewhere.
    pub(crate) fn abort_handle(&self) -> Option<AbortHandle> {
        self.task.clone()
    }

    /// It is a tunnel now and lives by its own.
    pub(crate) fn release(mut self) {
        self.task = None;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl CoreBackend {
    /// A connection that lives and has nothing to say, if there is one.
    pub(crate) async fn checkout(&self, repeatable: bool) -> Option<Connection> {
        loop {
            let (mut connection, since) = self.idle.borrow_mut().pop()?;
            let stale = !repeatable && since.elapsed() > FRESH;
            if stale || connection.sender.is_closed() || connection.watch.fault().is_some() {
                continue;
            }
            // Its task may yet have to see the end of the last answer.
            if connection.sender.is_ready() || connection.sender.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    /// Takes a connection back whose answer has come whole and whose request was sent whole.
    pub(crate) fn check_in(&self, mut connection: Connection) {
        if !connection.watch.whole() || connection.sender.is_closed() {
            return;
        }
        connection.reused = true;
        let mut idle = self.idle.borrow_mut();
        if idle.len() < KEPT {
            idle.push((connection, Instant::now()));
        }
    }
}

/// One core's connections to all backends.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    backends: RefCell<HashMap<GenerationId, Rc<CoreBackend>>>,
}

impl Pool {
    /// This core's side of a backend.
    pub(crate) fn backend(&self, backend: &Arc<Backend>) -> Rc<CoreBackend> {
        let mut backends = self.backends.borrow_mut();
        match backends.get(&backend.generation) {
            Some(known) if Arc::ptr_eq(&known.backend, backend) => Rc::clone(known),
            _ => {
                let new = Rc::new(CoreBackend {
                    backend: Arc::clone(backend),
                    tenant: Arc::from(&*backend.tenant),
                    idle: RefCell::default(),
                });
                backends.insert(backend.generation, Rc::clone(&new));
                new
            }
        }
    }

    /// Closes what was idle for too long, and all of generations that are gone or whose closed gate is idle.
    pub(crate) fn sweep(&self, now: Instant, names: impl Fn(GenerationId) -> bool) {
        self.backends.borrow_mut().retain(|&generation, core| {
            if !names(generation) || core.backend.gate.is_idle() {
                return false;
            }
            core.idle
                .borrow_mut()
                .retain(|(connection, since)| now.duration_since(*since) < IDLE && !connection.sender.is_closed());
            true
        });
    }
}
