//! One request's waiting for a newer table: in a place, within its tenant's patience.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    forwarder::Report,
    hold::{Held, Place},
    seats::{Seat, Seats},
};
use crate::{
    proxy::{
        connection::who,
        exchange::Connection,
        routes::{Reader, Table, Tenant},
    },
    sys::{
        fd,
        readiness::{self, Interest},
    },
};

/// How often a request whose worker refused the connection asks again, if no table comes before.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What a wait needs to know of the tenant, as one table told it.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    epoch: u64,
    timeout: Duration,
    tenant: Arc<str>,
    company: Arc<str>,
    held: Arc<Held>,
}

impl Patience {
    pub(crate) fn of(table: &Table, tenant: &Tenant) -> Self {
        Self {
            epoch: table.epoch,
            timeout: tenant.hold_timeout,
            tenant: Arc::clone(&tenant.name),
            company: Arc::clone(&tenant.company),
            held: Arc::clone(&tenant.held),
        }
    }

    fn left(&self, since: Instant) -> Duration {
        (since + self.timeout).saturating_duration_since(Instant::now())
    }

    fn expired(&self, why: Why) -> Expired {
        Expired { tenant: Arc::clone(&self.tenant), company: Arc::clone(&self.company), why }
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The tenant is held: only a newer table helps.
    Hold,
    /// The worker refused the connection, or its gate is closed: a newer table is near, or the worker is.
    Refused,
}

/// Waiting has ended without success: the company whose page is to be shown, and why.
#[derive(Debug)]
pub(crate) struct Expired {
    pub(crate) tenant: Arc<str>,
    pub(crate) company: Arc<str>,
    pub(crate) why: Why,
}

/// What was waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The tenant's next table, or a place to wait for it.
    Held(&'static str),
    /// A seat, for as long as its tenant lets anybody wait.
    Busy,
    /// There was no room to wait for a seat.
    Crowded,
    /// Nothing: the client has closed its side while it was in line.
    Gone,
}

/// Ends when the client has closed its side. hyper does not look while a request is being answered, and a request in line
/// reads nothing: so a second descriptor of the socket is watched, for this alone.
async fn departure(client: &Connection) {
    let twin = client.socket.and_then(|socket| fd::duplicate(socket).ok());
    // Without one, for want of descriptors, it is as if the client had stayed.
    let watched = twin.and_then(|twin| readiness::watch(twin, Interest::READABLE).ok());
    let Some(watched) = watched else { return std::future::pending().await };
    while let Ok(mut ready) = watched.readable().await {
        if ready.ready().is_read_closed() {
            return;
        }
        // More bytes: the news of an end will come anew.
        ready.clear_ready();
    }
    std::future::pending().await
}

/// One request's waiting, over all its stays.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    since: Option<Instant>,
    place: Option<Place>,
}

impl Waiting {
    /// Waits for a newer table; where the worker only refused, for a moment at most.
    pub(crate) async fn wait(
        &mut self,
        patience: &Patience,
        reason: Reason,
        reader: &Reader,
        reports: &mpsc::UnboundedSender<Report>,
    ) -> Result<(), Expired> {
        let expired = |why| Err(patience.expired(Why::Held(why)));
        let since = *self.since.get_or_insert_with(Instant::now);
        if self.place.is_none() {
            let Some(place) = patience.held.take() else { return expired("too many are held") };
            self.place = Some(place);
        }
        if reason == Reason::Hold && self.place.as_ref().is_some_and(Place::first) {
            // The control thread ends only with the process.
            let _ = reports.send(Report::Waiting(Arc::clone(&patience.tenant)));
        }
        let left = patience.left(since);
        if left.is_zero() {
            return expired("held for too long");
        }
        let most = if reason == Reason::Hold { left } else { left.min(ASK_AGAIN) };
        match tokio::time::timeout(most, reader.newer(patience.epoch)).await {
            Err(_) if reason == Reason::Hold => expired("held for too long"),
            _ => Ok(()),
        }
    }

    /// Waits for a seat, as one of those from this client's address. Held before, it keeps its place there and needs none in
    /// line. A client that closes its side meanwhile has left: nothing was begun for it yet.
    pub(crate) async fn line(
        &mut self,
        patience: &Patience,
        seats: &Arc<Seats>,
        client: &Connection,
    ) -> Result<Seat, Expired> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let in_line = async { seats.join(who(client.client_ip()), self.place.is_some())?.seat().await };
        tokio::select! {
            biased;
            waited = tokio::time::timeout(patience.left(since), in_line) => match waited {
                Ok(Ok(seat)) => Ok(seat),
                Ok(Err(_)) => Err(patience.expired(Why::Crowded)),
                Err(_) => Err(patience.expired(Why::Busy)),
            },
            () = departure(client) => Err(patience.expired(Why::Gone)),
        }
    }

    /// It goes on to a worker: its place is free for another.
    pub(crate) fn leave_place(&mut self) {
        self.place = None;
    }

    /// Since it first had to wait.
    pub(crate) fn so_far(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}
