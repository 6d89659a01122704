//! A backend's gate: one atomic per core, a CLOSED bit and the count of what is in flight.
//!
//! A core touches its own cell only, so entering and leaving share no cache line with another core. Beside its count each
//! cell has how many ever entered, by which the control thread sees that somebody came and went between two looks.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use tokio::sync::Notify;

const CLOSED: u64 = 1 << 63;
const CUT_REQUESTS: u8 = 1;
const CUT_UPGRADES: u8 = 2;

/// A cell with a cache line pair of its own (the prefetcher takes two).
#[derive(Debug)]
#[repr(align(128))]
struct Cell {
    state: AtomicU64,
    /// Written by its own core alone.
    entered: AtomicU64,
}

/// What a look at an open gate sees, to be compared with what the next one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// In flight now.
    pub inside: u64,
    /// Ever entered.
    pub entered: u64,
}

/// The gate of one backend.
#[derive(Debug)]
pub struct Gate {
    cells: Box<[Cell]>,
    cut: AtomicU8,
    idle: Arc<Notify>,
}

impl Gate {
    /// `idle` is told each time that a closed gate's cell becomes empty.
    pub fn new(cores: usize, open: bool, idle: Arc<Notify>) -> Self {
        let start = if open { 0 } else { CLOSED };
        let cell = |_| Cell { state: AtomicU64::new(start), entered: AtomicU64::new(0) };
        Self { cells: (0..cores).map(cell).collect(), cut: AtomicU8::new(0), idle }
    }

    /// Counts one request in, unless the gate is closed. Each `true` is owed one [`Gate::leave`] on the same core.
    pub fn enter(&self, core: usize) -> bool {
        let Cell { state: cell, entered } = &self.cells[core];
        let mut seen = cell.load(Ordering::Relaxed);
        // Not fetch_add: a count that goes up and down again on a closed gate could hide that it is idle.
        while seen & CLOSED == 0 {
            match cell.compare_exchange_weak(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    entered.fetch_add(1, Ordering::Relaxed);
                    return true;
                }
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Counts one request out.
    pub fn leave(&self, core: usize) {
        if self.cells[core].state.fetch_sub(1, Ordering::AcqRel) == CLOSED | 1 {
            self.idle.notify_one();
        }
    }

    /// Lets requests in (again).
    pub fn open(&self) {
        self.cut.store(0, Ordering::Release);
        for cell in &self.cells {
            cell.state.fetch_and(!CLOSED, Ordering::AcqRel);
        }
    }

    /// Keeps new requests out.
    pub fn close(&self) {
        for cell in &self.cells {
            cell.state.fetch_or(CLOSED, Ordering::AcqRel);
        }
    }

    /// Closed, and nothing is in flight on any core. Once true it stays so until the gate is opened.
    pub fn is_idle(&self) -> bool {
        self.cells.iter().all(|cell| cell.state.load(Ordering::Acquire) == CLOSED)
    }

    /// What is in flight, and what ever was. Not one instant over all cores: who comes while this looks is seen by the next.
    pub fn used(&self) -> Use {
        let sum = |read: fn(&Cell) -> u64| self.cells.iter().map(read).fold(0, u64::wrapping_add);
        Use {
            inside: sum(|cell| cell.state.load(Ordering::Acquire) & !CLOSED),
            entered: sum(|cell| cell.entered.load(Ordering::Relaxed)),
        }
    }

    /// Asks the cores to cut plain requests, or upgraded connections, at their next sweep.
    pub fn cut(&self, upgraded: bool) {
        self.cut.fetch_or(if upgraded { CUT_UPGRADES } else { CUT_REQUESTS }, Ordering::Release);
    }

    /// Asks the cores to cut everything.
    pub fn cut_all(&self) {
        self.cut.store(CUT_REQUESTS | CUT_UPGRADES, Ordering::Release);
    }

    /// Whether plain requests, or upgraded connections, are to be cut.
    pub fn cuts(&self, upgraded: bool) -> bool {
        self.cut.load(Ordering::Relaxed) & (if upgraded { CUT_UPGRADES } else { CUT_REQUESTS }) != 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use super::*;

    fn gate(cores: usize, open: bool) -> Gate {
        Gate::new(cores, open, Arc::new(Notify::new()))
    }

    #[test]
    fn a_closed_gate_lets_nobody_in_and_is_idle_when_the_last_has_left() {
        let gate = gate(2, true);
        assert!(!gate.is_idle(), "an open gate is never idle");
        assert!(gate.enter(0) && gate.enter(1));
        gate.close();
        assert!(!gate.enter(0));
        gate.leave(0);
        assert!(!gate.is_idle());
        gate.leave(1);
        assert!(gate.is_idle());
        gate.open();
        assert!(gate.enter(0) && !gate.is_idle());
    }

    #[test]
    fn whoever_came_and_went_between_two_looks_is_seen() {
        let gate = gate(2, true);
        assert_eq!(gate.used(), Use { inside: 0, entered: 0 });
        assert!(gate.enter(1) && gate.enter(0));
        gate.leave(1);
        assert_eq!(gate.used(), Use { inside: 1, entered: 2 });
        gate.leave(0);
        gate.close();
        assert!(!gate.enter(0));
        assert_eq!(gate.used(), Use { inside: 0, entered: 2 }, "who was not let in has not used it");
    }

    #[test]
    fn a_gate_that_is_born_closed_is_idle() {
        let gate = gate(3, false);
        assert!(gate.is_idle() && !gate.enter(2));
    }

    /// Threads enter and leave while the gate is closed: after it is idle, nobody is ever inside.
    #[test]
    fn idle_is_the_truth_under_contention() {
        for _ in 0..50 {
            let gate = Arc::new(gate(4, true));
            let inside = Arc::new(AtomicUsize::new(0));
            let (stop, started) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
            let threads: Vec<_> = (0..4)
                .map(|core| {
                    let (gate, inside) = (Arc::clone(&gate), Arc::clone(&inside));
                    let (stop, started) = (Arc::clone(&stop), Arc::clone(&started));
                    std::thread::spawn(move || {
                        let mut entered = 0_u32;
                        while !stop.load(Ordering::SeqCst) {
                            if gate.enter(core) {
                                inside.fetch_add(1, Ordering::SeqCst);
                                if entered == 0 {
                                    started.fetch_add(1, Ordering::SeqCst);
                                }
                                entered += 1;
                                inside.fetch_sub(1, Ordering::SeqCst);
                                gate.leave(core);
                            }
                        }
                        entered
                    })
                })
                .collect();
            while started.load(Ordering::SeqCst) < 4 {
                std::thread::yield_now();
            }
            gate.close();
            while !gate.is_idle() {
                std::thread::yield_now();
            }
            for _ in 0..1000 {
                assert_eq!(inside.load(Ordering::SeqCst), 0);
            }
            stop.store(true, Ordering::SeqCst);
            for thread in threads {
                assert!(thread.join().is_ok_and(|entered| entered > 0));
            }
        }
    }
}
