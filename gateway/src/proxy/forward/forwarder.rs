//! One core's answers, as the connection side asks for them.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, Method, Response};
use tokio::sync::mpsc;

use super::{
    core::Core,
    flight::Flights,
    journey::{Journey, RequestIds},
};
use crate::{
    model::Host,
    proxy::{
        access::Access,
        exchange::{Admitted, Connection, Forward, Refusal, ResponseBody},
        pages::{self, Asker, Page},
        routes::Routes,
        upstream::pool::Pool,
    },
};

/// What every core is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where `https` listens.
    pub https_port: u16,
    /// From the request's last byte sent to the answer's head; then 504.
    pub response_timeout: Duration,
}

/// What a core tells the control thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A request is held for this tenant.
    Waiting(Arc<str>),
}

/// Counts of one core, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counts {
    /// Requests answered.
    pub requests: AtomicU64,
}

/// One core's forwarding side.
#[derive(Clone, Debug)]
pub struct Forwarder(Rc<Core>);

impl Forwarder {
    /// Core number `core` of those that `routes` was made for.
    pub(crate) fn new(
        core: usize,
        settings: Settings,
        routes: &Routes,
        access: Access,
        reports: mpsc::UnboundedSender<Report>,
        counts: Arc<Counts>,
    ) -> Self {
        Self(Rc::new(Core {
            settings,
            reader: routes.reader(),
            pool: Pool::default(),
            flights: Flights::new(core),
            access: Rc::new(access),
            ids: RequestIds::new(),
            reports,
            counts,
        }))
    }

    /// The core's tick: ends what is late or cut, closes what was idle for too long, hands over log records.
    pub fn sweep(&self, now: Instant) {
        let core = &self.0;
        core.flights.sweep(now);
        core.reader.with(|table| core.flights.sweep_retired(now, |of, upgraded| table.timeout(of, upgraded)));
        core.reader.with(|table| core.pool.sweep(now, |generation| table.names(generation)));
        core.access.flush();
    }

    /// Log records lost since the last call.
    pub(crate) fn lost_records(&self) -> u64 {
        self.0.access.lost()
    }

    /// Requests and tunnels in flight.
    pub fn in_flight(&self) -> usize {
        self.0.flights.count()
    }

    /// What is in flight gets the time from here that its tenant allows.
    pub(crate) fn retire(&self, since: Instant) {
        self.0.flights.retire(since);
    }

    /// Ends every request and tunnel: the proxy's own end.
    pub fn cut_all(&self) {
        self.0.flights.cut_all();
    }
}

impl Forward for Forwarder {
    async fn forward(&self, admitted: Admitted) -> Response<ResponseBody> {
        let core = &self.0;
        core.counts.requests.fetch_add(1, Ordering::Relaxed);
        let connection = Rc::clone(&admitted.connection);
        let mut response = core.answer(admitted).await;
        core.finish(&connection, &mut response);
        response
    }

    fn refuse(&self, connection: &Connection, refusal: Refusal, host: Option<&Host>) -> Response<ResponseBody> {
        let core = &self.0;
        let id = core.ids.next();
        let mut journey = Journey::new(&core.access, connection, Instant::now(), id.clone(), host.cloned(), None);
        journey.refused(refusal.reason);
        let asker = Asker { method: &Method::GET, headers: &HeaderMap::new(), request_id: &id };
        let mut response = pages::answer(Page::Status(refusal.status), &asker);
        journey.page(&response);
        core.finish(connection, &mut response);
        response
    }

    fn redirect(&self, host: &Host) -> Option<String> {
        let port = self.0.settings.https_port;
        self.0
            .reader
            .with(|table| table.tenant(host).map(|tenant| origin(tenant.canonical.as_ref().unwrap_or(host), port)))
    }

    fn connections(&self, host: &Host) -> Option<(Arc<str>, u32)> {
        self.0.reader.with(|table| {
            let tenant = table.tenant(host)?;
            // First: a name that all cores share is counted only where there is a limit.
            let most = tenant.connections?;
            Some((Arc::clone(&tenant.name), most))
        })
    }

    fn owner(&self, host: &Host) -> Option<Arc<str>> {
        self.0.reader.with(|table| table.tenant(host).map(|tenant| Arc::clone(&tenant.name)))
    }
}

/// `https://host`, with the port where it is not 443.
pub(crate) fn origin(host: &Host, port: u16) -> String {
    if port == 443 { format!("https://{host}") } else { format!("https://{host}:{port}") }
}
