//! What is in flight on one core: each request's place in its backend's gate, its deadline, and the sweep over all.
//!
//! No timer per request: one tick of the core looks at every flight.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use tokio::task::AbortHandle;

use crate::proxy::upstream::pool::{Connection, CoreBackend};

/// Why a flight is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The worker's answer did not begin in time.
    Late,
    /// Its closed gate's deadline has come.
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
}

impl Flights {
    pub(crate) fn new(core: usize) -> Rc<Self> {
        Rc::new(Self { core, slots: RefCell::default(), free: RefCell::default() })
    }

    /// Enters the backend's gate; `None`: it is closed.
    pub(crate) fn enter(self: &Rc<Self>, backend: &Rc<CoreBackend>) -> Option<Flight> {
        if !backend.backend.gate.enter(self.core) {
            return None;
        }
        let alarm = Rc::new(Alarm::default());
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

    /// Cuts everything: the proxy's own end.
    pub(crate) fn cut_all(&self) {
        for (alarm, _) in self.slots.borrow().iter().flatten() {
            alarm.strike(Verdict::Cut);
        }
    }
}
