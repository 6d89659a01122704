//! What is in flight on one core: each request's place in its backend's gate, its deadline, and the sweep over all.
//!
//! No timer per request: one tick of the core looks at every flight.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::task::AbortHandle;

use crate::{
    model::GenerationId,
    proxy::upstream::pool::{Connection, CoreBackend},
};

/// Why a flight is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The worker's answer did not begin in time.
    Late,
    /// The deadline of its closed gate, or of its retired proxy, has come.
    Cut,
}

/// One request on its way, until its answer's body (or its tunnel) has ended. Dropping it leaves the gate.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) backend: Rc<CoreBackend>,
    pub(crate) alarm: Rc<Alarm>,
    flights: Rc<Flights>,
}

/// A flight's side that the sweep sees.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    slot: Cell<usize>,
    deadline: Cell<Option<Instant>>,
    upgraded: Cell<bool>,
    verdict: Cell<Option<Verdict>>,
    waker: RefCell<Option<Waker>>,
    /// The task of the connection that carries it.
    carrier: RefCell<Option<AbortHandle>>,
    left: Cell<bool>,
    /// When it began, if the proxy had been retired before.
    began: Cell<Option<Instant>>,
}

impl Alarm {
    /// A cut ends this connection even while nobody reads the answer.
    pub(crate) fn carried_by(&self, connection: &Connection) {
        *self.carrier.borrow_mut() = connection.abort_handle();
    }

    /// Its verdict, if there is one.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.verdict.get()
    }

    /// The answer must have begun by then; `None`: no deadline.
    pub(crate) fn set(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
    }

    /// Ready when the flight is to end.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Verdict> {
        if let Some(verdict) = self.verdict.get() {
            return Poll::Ready(verdict);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn strike(&self, verdict: Verdict) {
        if self.verdict.replace(Some(verdict)).is_some() {
            return;
        }
        if let Some(carrier) = self.carrier.borrow_mut().take() {
            carrier.abort();
        }
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Flight {
    /// It is a tunnel from now on, with a tunnel's deadline after its gate closes.
    pub(crate) fn upgraded(&self) {
        self.alarm.upgraded.set(true);
        self.alarm.set(None);
        self.alarm.carrier.borrow_mut().take();
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.remove(self.alarm.slot.get());
        self.flights.leave(&self.alarm, &self.backend);
    }
}

/// Where a flight's alarm is found; `None`: free.
type Slot = Option<(Rc<Alarm>, Rc<CoreBackend>)>;

/// All flights of one core.
#[derive(Debug)]
pub(crate) struct Flights {
    core: usize,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    /// Since when the proxy is retired.
    retired: Cell<Option<Instant>>,
}

impl Flights {
    pub(crate) fn new(core: usize) -> Rc<Self> {
        Rc::new(Self { core, slots: RefCell::default(), free: RefCell::default(), retired: Cell::default() })
    }

    /// Enters the backend's gate; `None`: it is closed.
    pub(crate) fn enter(self: &Rc<Self>, backend: &Rc<CoreBackend>) -> Option<Flight> {
        if !backend.backend.gate.enter(self.core) {
            return None;
        }
        let alarm = Rc::new(Alarm::default());
        if self.retired.get().is_some() {
            alarm.began.set(Some(Instant::now()));
        }
        let entry = Some((Rc::clone(&alarm), Rc::clone(backend)));
        let mut slots = self.slots.borrow_mut();
        match self.free.borrow_mut().pop() {
            Some(slot) => {
                alarm.slot.set(slot);
                slots[slot] = entry;
            }
            None => {
                alarm.slot.set(slots.len());
                slots.push(entry);
            }
        }
        Some(Flight { backend: Rc::clone(backend), alarm, flights: Rc::clone(self) })
    }

    fn remove(&self, slot: usize) {
        self.slots.borrow_mut()[slot] = None;
        self.free.borrow_mut().push(slot);
    }

    fn leave(&self, alarm: &Alarm, backend: &CoreBackend) {
        if !alarm.left.replace(true) {
            backend.backend.gate.leave(self.core);
        }
    }

    /// How many there are, tunnels included.
    pub(crate) fn count(&self) -> usize {
        self.slots.borrow().len() - self.free.borrow().len()
    }

    /// Ends what is late and what is to be cut.
    pub(crate) fn sweep(&self, now: Instant) {
        for (alarm, backend) in self.slots.borrow().iter().flatten() {
            if backend.backend.gate.cuts(alarm.upgraded.get()) {
                alarm.strike(Verdict::Cut);
                // A visitor who reads slowly must not keep the gate from being idle: the worker is rid of it.
                self.leave(alarm, backend);
            } else if alarm.deadline.get().is_some_and(|deadline| deadline <= now) {
                alarm.strike(Verdict::Late);
            }
        }
    }

    /// The proxy is retired: each flight has its tenant's time from here, or from its beginning, and is then cut.
    pub(crate) fn retire(&self, since: Instant) {
        self.retired.set(Some(since));
    }

    /// Ends what is in flight for longer than its tenant allows on a retired proxy: `timeout` says how long that is for
    /// requests, and for tunnels (`true`), of a generation.
    pub(crate) fn sweep_retired(&self, now: Instant, timeout: impl Fn(GenerationId, bool) -> Option<Duration>) {
        let Some(retired) = self.retired.get() else { return };
        for (alarm, backend) in self.slots.borrow().iter().flatten() {
            let since = alarm.began.get().unwrap_or(retired);
            let timeout = timeout(backend.backend.generation, alarm.upgraded.get());
            if timeout.is_some_and(|timeout| now.saturating_duration_since(since) >= timeout) {
                alarm.strike(Verdict::Cut);
                self.leave(alarm, backend);
            }
        }
    }

    /// Cuts everything: the proxy's own end.
    pub(crate) fn cut_all(&self) {
        for (alarm, _) in self.slots.borrow().iter().flatten() {
            alarm.strike(Verdict::Cut);
        }
    }
}
