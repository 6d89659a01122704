//! Requests of one tenant in flight at once, over all cores: so many seats, and a bounded, fair line for them.
//!
//! A lock is held for a few steps and never over an await. A seat on its way to somebody who waits lives in their
//! channel: if they have gone, it comes back by itself.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::proxy::line::Line;

/// The seats of one tenant. They outlive tables.
#[derive(Debug, Default)]
pub struct Seats(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    limit: u32,
    /// How many may wait.
    most: usize,
    taken: u32,
    line: Line<IpAddr, oneshot::Sender<Seat>>,
}

/// One request's seat; dropping it gives it to the next in line.
#[derive(Debug)]
pub struct Seat(Arc<Seats>);

/// A place in the line; dropping it leaves it.
#[derive(Debug)]
pub struct Ticket {
    seats: Arc<Seats>,
    address: IpAddr,
    number: u64,
    seat: oneshot::Receiver<Seat>,
}

/// All seats are taken, and so is all room to wait, or more of it by this address than by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded;

impl Seats {
    /// So many (`None`: as many as are wanted), and room for so many to wait. Who can have a seat now gets it; one that is
    /// too many now is not taken from anybody.
    pub fn set(self: &Arc<Self>, limit: Option<u32>, most: u32) {
        let mut state = self.lock();
        state.limit = limit.unwrap_or(u32::MAX);
        state.most = most as usize;
        let next: Vec<_> = std::iter::from_fn(|| state.next()).collect();
        drop(state);
        next.into_iter().for_each(|next| self.give(next));
    }

    /// A seat that is free, unless somebody waits.
    pub fn take(self: &Arc<Self>) -> Option<Seat> {
        let mut state = self.lock();
        if state.taken >= state.limit || !state.line.is_empty() {
            return None;
        }
        state.taken += 1;
        Some(Seat(Arc::clone(self)))
    }

    /// Gets into line. `counted` elsewhere, among held requests, it needs no room here.
    ///
    /// # Errors
    /// When there is no room.
    pub fn join(self: &Arc<Self>, address: IpAddr, counted: bool) -> Result<Ticket, Crowded> {
        let (sender, seat) = oneshot::channel();
        let mut state = self.lock();
        let mut evicted = None;
        if !counted && state.line.len() >= state.most && state.taken >= state.limit {
            evicted = state.line.make_room(&address);
            if evicted.is_none() {
                return Err(Crowded);
            }
        }
        let number = state.line.push(&address, sender);
        let next = state.next();
        drop(state);
        // Outside the lock, because both wake, and a waker may run anything.
        drop(evicted);
        if let Some(next) = next {
            self.give(next);
        }
        Ok(Ticket { seats: Arc::clone(self), address, number, seat })
    }

    /// How many are taken, and how many wait.
    pub fn count(&self) -> (u32, usize) {
        let state = self.lock();
        (state.taken, state.line.len())
    }

    /// Hands over a seat that has been counted. If the receiver has left meanwhile, it comes back and goes to the next.
    fn give(self: &Arc<Self>, to: oneshot::Sender<Seat>) {
        drop(to.send(Seat(Arc::clone(self))));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whoever can have a seat now; the seat is counted.
    fn next(&mut self) -> Option<oneshot::Sender<Seat>> {
        if self.taken >= self.limit {
            return None;
        }
        let next = self.line.pop()?;
        self.taken += 1;
        Some(next)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.lock();
            state.taken -= 1;
            state.next()
        };
        if let Some(next) = next {
            self.0.give(next);
        }
    }
}

impl Ticket {
    /// The seat, when it is this one's turn. Cancel safe.
    ///
    /// # Errors
    /// When its place went to somebody of an address that has fewer in line.
    pub async fn seat(&mut self) -> Result<Seat, Crowded> {
        (&mut self.seat).await.map_err(|_| Crowded)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let left = self.seats.lock().line.remove(&self.address, self.number);
        drop(left);
    }
}

#[cfg(test)]
mod tests;
