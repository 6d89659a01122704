//! One pipe and the log that it goes to.

use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

use tokio::io::unix::AsyncFd;

use super::{
    shelf::House,
    sink::{PAUSE, Sink},
};
use crate::sys::readiness::{Interest, set_nonblocking, watch};

/// Bytes that are read from one pipe when it is closed: what it can hold, and no more, if somebody goes on writing.
const LAST: usize = 1 << 20;

/// Reads one pipe.
#[derive(Debug)]
pub(super) struct Reader {
    pipe: AsyncFd<OwnedFd>,
    sink: RefCell<Sink>,
    house: Rc<House>,
}

impl Reader {
    /// Fails for what is no pipe.
    pub(super) fn new(pipe: OwnedFd, sink: Sink, house: Rc<House>) -> io::Result<Self> {
        set_nonblocking(&pipe)?;
        Ok(Self { pipe: watch(pipe, Interest::READABLE)?, sink: RefCell::new(sink), house })
    }

    /// Whether this is its pipe.
    pub(super) fn is_of(&self, pipe: &OwnedFd) -> bool {
        let id = |fd: BorrowedFd<'_>| nix::sys::stat::fstat(fd).map(|found| (found.st_dev, found.st_ino)).ok();
        id(pipe.as_fd()).is_some_and(|other| id(self.pipe.as_fd()) == Some(other))
    }

    /// Reads until nobody can write any more.
    pub(super) async fn run(self: Rc<Self>) {
        let mut pause = None;
        loop {
            let waits = self.sink.borrow().is_unfinished();
            let until = waits.then(|| *pause.get_or_insert_with(|| tokio::time::Instant::now() + PAUSE));
            if !waits {
                pause = None;
            }
            let ready = tokio::select! {
                ready = self.pipe.readable() => Some(ready),
                () = async { match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }} => None,
            };
            match ready {
                Some(Ok(mut ready)) => match ready.try_io(|_| self.read()) {
                    Ok(Ok(0)) => break,
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(Err(error)) => {
                        tracing::error!(%error, "a worker's pipe cannot be read");
                        break;
                    }
                    Err(_would_block) => {}
                },
                Some(Err(error)) => {
                    tracing::error!(%error, "a worker's pipe cannot be waited for");
                    break;
                }
                None => {}
            }
            // A flood is always readable: the pause must be looked at here too.
            if until.is_some_and(|until| until <= tokio::time::Instant::now()) {
                pause = None;
                self.pause(false);
            }
            tokio::task::yield_now().await;
        }
        self.pause(true);
    }

    /// Reads what is there, without waiting, and writes all that is unfinished.
    pub(super) fn finish(&self) {
        let mut read = 0;
        while read < LAST {
            match self.read() {
                Ok(0) | Err(_) => break,
                Ok(bytes) => read += bytes,
            }
        }
        self.pause(true);
    }

    fn read(&self) -> io::Result<usize> {
        let mut scratch = self.house.scratch.borrow_mut();
        let read = nix::unistd::read(self.pipe.as_fd(), &mut scratch)?;
        let written = self.sink.borrow_mut().take(&scratch[..read], self.house.now(), &stamp());
        if let Err(error) = written {
            self.house.complain(&error);
        }
        Ok(read)
    }

    fn pause(&self, last: bool) {
        let mut sink = self.sink.borrow_mut();
        if let Err(error) = sink.pause(self.house.now(), &stamp(), last) {
            self.house.complain(&error);
        }
        if let Some(fact) = sink.fact() {
            // The main loop has ended: so does all of this.
            let _ = self.house.facts.send(fact);
        }
    }
}

fn stamp() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}
