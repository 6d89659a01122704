//! One request's waiting for a newer table: in a place, within its tenant's patience.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    forwarder::Report,
    hold::{Held, Place},
};
use crate::proxy::routes::{Reader, Table, Tenant};

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
    pub(crate) why: &'static str,
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
        let expired = |why| {
            let (tenant, company) = (Arc::clone(&patience.tenant), Arc::clone(&patience.company));
            Err(Expired { tenant, company, why })
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        if self.place.is_none() {
            let Some(place) = patience.held.take() else { return expired("too many are held") };
            self.place = Some(place);
        }
        if reason == Reason::Hold && self.place.as_ref().is_some_and(Place::first) {
            // The control thread ends only with the process.
            let _ = reports.send(Report::Waiting(Arc::clone(&patience.tenant)));
        }
        let left = (since + patience.timeout).saturating_duration_since(Instant::now());
        if left.is_zero() {
            return expired("held for too long");
        }
        let most = if reason == Reason::Hold { left } else { left.min(ASK_AGAIN) };
        match tokio::time::timeout(most, reader.newer(patience.epoch)).await {
            Err(_) if reason == Reason::Hold => expired("held for too long"),
            _ => Ok(()),
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
