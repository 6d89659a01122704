//! A thread that owns a database connection and does one job after the other, so that the site's thread never waits for a disk.

use std::{
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::{Builder, JoinHandle},
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::StoreError;

/// Jobs that may wait. A board that has more than this to do is told so at once.
const QUEUE: usize = 256;
/// Bytes; SQLite's own needs are far below this.
const STACK: usize = 512 * 1024;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A connection's thread. Dropping it finishes what waits and closes the connection.
#[derive(Debug)]
pub(super) struct Lane {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    /// Gives `connection` a thread.
    pub(super) fn start(name: &str, connection: Connection) -> Result<Self, StoreError> {
        let (jobs, queue) = sync_channel(QUEUE);
        let thread = Builder::new()
            .name(name.to_owned())
            .stack_size(STACK)
            .spawn(move || work(connection, &queue))
            .map_err(StoreError::Thread)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Does `job` on the thread. It is done even if nobody waits for its answer any more.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // A visitor who left does not need the answer.
            let _ = tell.send(job(connection));
        });
        let jobs = self.jobs.as_ref().ok_or(StoreError::Gone)?;
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Gone,
        })?;
        Ok(answer.await.map_err(|_| StoreError::Gone)??)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has told so itself.
            let _ = thread.join();
        }
    }
}

fn work(mut connection: Connection, queue: &Receiver<Job>) {
    for job in queue {
        job(&mut connection);
    }
}
