//! All logs: which pipe goes where.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    file::{Bounds, LogFile},
    journal::Journal,
    reader::Reader,
    sink::Sink,
};
use crate::{model::TenantName, wire::FromLog};

/// Between two complaints about one full disk.
const COMPLAINT: Duration = Duration::from_secs(60);

/// What all readers share.
#[derive(Debug)]
pub(super) struct House {
    pub(super) facts: mpsc::UnboundedSender<FromLog>,
    origin: Instant,
    /// One buffer for all reads: there is one thread, and none is held over an await.
    pub(super) scratch: RefCell<Vec<u8>>,
    complained: RefCell<Option<Instant>>,
}

/// All open pipes with their files.
#[derive(Debug)]
pub(super) struct Shelf {
    bounds: Bounds,
    house: Rc<House>,
    journal: Option<Rc<Journal>>,
    tenants: HashMap<TenantName, Open>,
    access: Option<Open>,
}

#[derive(Debug)]
struct Open {
    reader: Rc<Reader>,
    task: JoinHandle<()>,
}

impl Shelf {
    /// Logs within `bounds`; tenants' lines go to `journal` too.
    pub(super) fn new(bounds: Bounds, journal: Option<Rc<Journal>>, facts: mpsc::UnboundedSender<FromLog>) -> Self {
        let house = House {
            facts,
            origin: Instant::now(),
            scratch: RefCell::new(vec![0; 64 * 1024]),
            complained: RefCell::new(None),
        };
        Self { bounds, house: Rc::new(house), journal, tenants: HashMap::new(), access: None }
    }

    /// Reads a tenant's pipe from now on; an earlier pipe of it is read to its end. One that is being read goes on: to begin
    /// anew would tear the line that is under way.
    pub(super) fn open_tenant(&mut self, tenant: &TenantName, pipe: OwnedFd) -> io::Result<()> {
        if self.tenants.get(tenant).is_some_and(|open| open.reads(&pipe)) {
            return Ok(());
        }
        self.close_tenant(tenant);
        let file = LogFile::new(self.bounds.clone(), format!("{tenant}.log"));
        let sink = Sink::tenant(tenant.clone(), file, self.journal.clone(), self.house.now());
        let open = Open::new(Reader::new(pipe, sink, self.house.clone())?);
        self.tenants.insert(tenant.clone(), open);
        Ok(())
    }

    /// Writes what is left in a tenant's pipe and closes it.
    pub(super) fn close_tenant(&mut self, tenant: &TenantName) {
        if let Some(open) = self.tenants.remove(tenant) {
            open.close();
        }
    }

    /// Reads the access log's pipe from now on; an earlier one is read to its end.
    pub(super) fn open_access(&mut self, pipe: OwnedFd) -> io::Result<()> {
        if self.access.as_ref().is_some_and(|open| open.reads(&pipe)) {
            return Ok(());
        }
        if let Some(open) = self.access.take() {
            open.close();
        }
        let file = LogFile::new(self.bounds.clone(), "access.log".to_owned());
        self.access = Some(Open::new(Reader::new(pipe, Sink::access(file), self.house.clone())?));
        Ok(())
    }

    /// Writes what is left everywhere.
    pub(super) fn finish(self) {
        for open in self.tenants.into_values().chain(self.access) {
            open.close();
        }
    }
}

impl House {
    /// Monotonic.
    pub(super) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Says that a log cannot be written, once a minute whatever the number of logs.
    pub(super) fn complain(&self, error: &io::Error) {
        let mut complained = self.complained.borrow_mut();
        if complained.is_none_or(|last| last.elapsed() >= COMPLAINT) {
            *complained = Some(Instant::now());
            tracing::error!(%error, "logs cannot be written: lines are dropped until they can");
        }
    }
}

impl Open {
    fn new(reader: Reader) -> Self {
        let reader = Rc::new(reader);
        let task = tokio::task::spawn_local(Reader::run(reader.clone()));
        Self { reader, task }
    }

    /// Whether it reads this very pipe, and has not come to its end: while the master was away, it had no writer left.
    fn reads(&self, pipe: &OwnedFd) -> bool {
        !self.task.is_finished() && self.reader.is_of(pipe)
    }

    fn close(self) {
        self.task.abort();
        self.reader.finish();
    }
}
