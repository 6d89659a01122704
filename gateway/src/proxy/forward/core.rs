//! The way of one request on one core: route, then hold or enter the gate, then the worker, then its answer.

use std::{rc::Rc, sync::Arc};

use http::{HeaderValue, Response, StatusCode, header, uri::PathAndQuery};
use tokio::sync::mpsc;

use super::{
    answer::{Download, Open},
    attempt::{Answered, Failure, attempt, is_idempotent},
    flight::{Flight, Flights},
    forwarder::{Counts, Report, Settings, origin},
    headers,
    journey::{Journey, RequestIds},
    seats::{Seat, Seats},
    stayed::Stayed,
    terms::{Refused, Terms},
    upgrade,
    waiting::{Expired, Patience, Reason, Waiting, Why},
};
use crate::{
    model::Host,
    proxy::{
        access::Access,
        exchange::{Admitted, BodyError, Connection, Protocol, ResponseBody},
        pages::{self, Asker, Page},
        routes::{Reader, Serving, Table},
        upstream::pool::{CoreBackend, Pool},
    },
};

/// How often a request of which nothing was sent is begun anew.
const REPEATS: u32 = 3;

/// What the forwarding side of one core has.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) reader: Reader,
    pub(crate) pool: Pool,
    pub(crate) flights: Rc<Flights>,
    pub(crate) access: Rc<Access>,
    pub(crate) ids: RequestIds,
    pub(crate) reports: mpsc::UnboundedSender<Report>,
    pub(crate) counts: Arc<Counts>,
}

/// What the newest table says of a request.
enum Route {
    Unknown,
    Moved(Host),
    Serve { backend: Rc<CoreBackend>, flight: Flight },
    Wait(Patience, Reason),
    Line(Patience, Arc<Seats>),
    Closed { tenant: Arc<str>, company: Arc<str>, serving: Serving },
}

impl Core {
    /// The answer to one request, from its head to the head of the answer.
    pub(crate) async fn answer(&self, admitted: Admitted) -> Response<ResponseBody> {
        let Admitted { connection, host, request, at } = admitted;
        let id = self.ids.next();
        let target = (request.method().clone(), request.uri().path_and_query().cloned());
        let mut journey = Journey::new(&self.access, &connection, at, id.clone(), Some(host.clone()), Some(target));
        let terms = self.reader.with(|table| table.tenant(&host).map(Terms::of)).unwrap_or_default();
        let stayed = Stayed::new(connection, host, request, id, terms.body, &self.settings);
        journey.upload(&stayed.upload);
        match terms.refuses(&stayed) {
            Some(refused) => self.refused(&stayed, journey, &refused),
            None => self.stay(stayed, journey).await,
        }
    }

    /// Routes, waits and sends until there is an answer.
    async fn stay(&self, mut stayed: Stayed, mut journey: Journey) -> Response<ResponseBody> {
        let (mut waiting, mut seat) = (Waiting::default(), None);
        let (mut repeats, mut fresh, mut died, mut refused) = (0, false, false, false);
        loop {
            let (backend, flight) = match self.route(&stayed.host, &mut seat) {
                Route::Serve { backend, flight } => (backend, flight),
                Route::Wait(patience, reason) => {
                    match waiting.wait(&patience, reason, &self.reader, &self.reports).await {
                        Ok(()) => continue,
                        Err(expired) => return self.expired(&stayed, journey, &waiting, &expired),
                    }
                }
                Route::Line(patience, seats) => match waiting.line(&patience, &seats, stayed.connection()).await {
                    Ok(got) => {
                        seat = Some(got);
                        continue;
                    }
                    Err(expired) => return self.expired(&stayed, journey, &waiting, &expired),
                },
                Route::Unknown => {
                    journey.refused("host");
                    return self.page(&stayed, journey, Page::Status(StatusCode::NOT_FOUND));
                }
                Route::Moved(canonical) => return self.moved(&stayed, journey, &canonical),
                Route::Closed { tenant, company, serving } => {
                    journey.note(|record| record.tenant = Some(tenant));
                    return self.page(&stayed, journey, closed(&serving, &company));
                }
            };
            if !refused {
                waiting.leave_place();
            }
            journey.note(|record| {
                record.tenant = Some(Arc::clone(&backend.tenant));
                record.generation = Some(backend.backend.generation);
                record.held = waiting.so_far();
            });
            let failure = match attempt(stayed.sending(&backend, &self.settings, fresh), flight).await {
                Ok(answered) => return self.pass_on(&mut stayed, journey, answered, seat),
                Err(failure) => failure,
            };
            let idempotent = is_idempotent(&stayed.parts.method);
            match failure {
                Failure::Refused => {
                    // Its worker is being restarted, or about to be reported: this is a hold that nobody told yet.
                    refused = true;
                    let Some(patience) = self.patience(&stayed.host) else { continue };
                    if let Err(expired) = waiting.wait(&patience, Reason::Refused, &self.reader, &self.reports).await {
                        return self.expired(&stayed, journey, &waiting, &expired);
                    }
                }
                Failure::Unsent if repeats < REPEATS => (repeats, fresh) = (repeats + 1, true),
                Failure::Died { reused: true } if idempotent && stayed.upload.unread() => fresh = true,
                Failure::Died { reused: false } if idempotent && stayed.upload.is_empty() && !died => {
                    (died, fresh) = (true, true);
                }
                failure => return self.failed(&stayed, journey, failure),
            }
        }
    }

    /// Looks at the newest table, and enters the gate that it names; where seats are counted, with one of them.
    fn route(&self, host: &Host, seat: &mut Option<Seat>) -> Route {
        loop {
            let (epoch, route) = self.reader.with(|table| (table.epoch, self.look(table, host, seat)));
            // Closed since the look: gates close behind the table that says so, so the newer one is there.
            let closed = matches!(route, Route::Wait(_, Reason::Refused));
            if !(closed && self.reader.with(|table| table.epoch != epoch)) {
                return route;
            }
        }
    }

    fn look(&self, table: &Table, host: &Host, seat: &mut Option<Seat>) -> Route {
        let Some(tenant) = table.tenant(host) else { return Route::Unknown };
        if let Some(canonical) = &tenant.canonical
            && canonical != host
        {
            return Route::Moved(canonical.clone());
        }
        match &tenant.serving {
            Serving::Serve(backend) => {
                if let (Some(seats), None) = (&tenant.seats, &*seat) {
                    // Before the gate: who waits for a seat must not keep a worker from being drained.
                    *seat = seats.take();
                    if seat.is_none() {
                        return Route::Line(Patience::of(table, tenant), Arc::clone(seats));
                    }
                }
                let backend = self.pool.backend(backend);
                match self.flights.enter(&backend) {
                    Some(flight) => Route::Serve { backend, flight },
                    None => Route::Wait(Patience::of(table, tenant), Reason::Refused),
                }
            }
            Serving::Hold => Route::Wait(Patience::of(table, tenant), Reason::Hold),
            closed => Route::Closed {
                tenant: Arc::clone(&tenant.name),
                company: Arc::clone(&tenant.company),
                serving: closed.clone(),
            },
        }
    }

    fn patience(&self, host: &Host) -> Option<Patience> {
        self.reader.with(|table| table.tenant(host).map(|tenant| Patience::of(table, tenant)))
    }

    /// The worker's answer, on its way to the visitor.
    fn pass_on(
        &self,
        stayed: &mut Stayed,
        mut journey: Journey,
        answered: Answered,
        seat: Option<Seat>,
    ) -> Response<ResponseBody> {
        let Answered { mut response, connection, flight, took } = answered;
        let status = response.status();
        journey.note(|record| (record.status, record.worker) = (status, Some(took)));
        let tunnel = status == StatusCode::SWITCHING_PROTOCOLS;
        let mut headers = headers::response(response.headers(), &stayed.id, tunnel);
        if status == StatusCode::NO_CONTENT {
            // RFC 9110 §8.6
            headers.remove(header::CONTENT_LENGTH);
        }
        let body = match stayed.upgrade.take().filter(|_| tunnel) {
            Some(client) => {
                // A tunnel may last for days: it is counted as a connection, not as a request.
                drop(seat);
                upgrade::tunnel(client, hyper::upgrade::on(&mut response), flight, journey);
                connection.release();
                ResponseBody::Full(None)
            }
            None => {
                let open = Open { journey, connection, upload: Rc::clone(&stayed.upload), flight, _seat: seat };
                Download::body(response.into_body(), open)
            }
        };
        let mut out = Response::new(body);
        *out.status_mut() = status;
        *out.headers_mut() = headers;
        out
    }

    fn failed(&self, stayed: &Stayed, mut journey: Journey, failure: Failure) -> Response<ResponseBody> {
        let (status, why) = match failure {
            Failure::Late => (StatusCode::GATEWAY_TIMEOUT, "the worker did not answer in time"),
            Failure::Cut => (StatusCode::SERVICE_UNAVAILABLE, "cut at the drain deadline"),
            Failure::Bad(why) => (StatusCode::BAD_GATEWAY, why),
            Failure::Client(BodyError::Framing) => (StatusCode::BAD_REQUEST, "framing"),
            Failure::Client(BodyError::Slow) => (StatusCode::REQUEST_TIMEOUT, "slow"),
            Failure::Client(BodyError::TooLarge) => (StatusCode::PAYLOAD_TOO_LARGE, "oversize"),
            Failure::Client(BodyError::Gone | BodyError::Upstream) => (StatusCode::BAD_REQUEST, "the client went away"),
            Failure::Refused | Failure::Unsent | Failure::Died { .. } => {
                (StatusCode::BAD_GATEWAY, "the worker broke off")
            }
        };
        journey.error(why);
        self.page(stayed, journey, Page::Status(status))
    }

    fn expired(
        &self,
        stayed: &Stayed,
        mut journey: Journey,
        waiting: &Waiting,
        expired: &Expired,
    ) -> Response<ResponseBody> {
        journey.note(|record| {
            record.held = waiting.so_far();
            record.tenant = Some(Arc::clone(&expired.tenant));
        });
        let company = &*expired.company;
        let page = match expired.why {
            Why::Held(why) => {
                journey.error(why);
                Page::Starting { company }
            }
            Why::Busy => {
                journey.error("waited for its turn for too long");
                Page::Busy { company }
            }
            Why::Crowded => {
                journey.refused("concurrent");
                Page::TooMany { company, retry_after: 1 }
            }
            Why::Gone => {
                // Aborted, as the log has it; should somebody read on all the same, they see a page.
                drop(journey);
                return pages::answer(Page::Busy { company }, &asker(stayed));
            }
        };
        self.page(stayed, journey, page)
    }

    /// What its tenant's terms do not let in, before anything waits and before anything of a body is read.
    fn refused(&self, stayed: &Stayed, mut journey: Journey, refused: &Refused) -> Response<ResponseBody> {
        journey.refused(refused.reason());
        journey.note(|record| record.tenant = refused.tenant());
        let mut response = self.page(stayed, journey, refused.page());
        refused.explain(response.headers_mut());
        response
    }

    fn moved(&self, stayed: &Stayed, mut journey: Journey, canonical: &Host) -> Response<ResponseBody> {
        let path = stayed.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let path = if path.starts_with('/') { path } else { "/" };
        let response = pages::moved(&format!("{}{path}", origin(canonical, self.settings.https_port)), &stayed.id);
        journey.note(|record| record.status = response.status());
        journey.end();
        response
    }

    fn page(&self, stayed: &Stayed, journey: Journey, page: Page<'_>) -> Response<ResponseBody> {
        let response = pages::answer(page, &asker(stayed));
        journey.page(&response);
        response
    }

    /// What every answer gets: a draining proxy asks HTTP/1.1 clients to come again on a new connection; a tenant's `hsts`
    /// is said in its name, whatever the worker says of it.
    pub(crate) fn finish(&self, connection: &Connection, response: &mut Response<ResponseBody>) {
        if connection.draining.get()
            && connection.protocol == Protocol::H1
            && response.status() != StatusCode::SWITCHING_PROTOCOLS
        {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let hsts = self.reader.with(|table| table.hsts(&connection.sni));
        // What was asked of another host than the connection's is answered in nobody's name.
        if let Some(value) = hsts.filter(|_| response.status() != StatusCode::MISDIRECTED_REQUEST) {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, value);
        }
    }
}

fn asker(stayed: &Stayed) -> Asker<'_> {
    Asker { method: &stayed.parts.method, headers: &stayed.parts.headers, request_id: &stayed.id }
}

fn closed<'a>(serving: &Serving, company: &'a str) -> Page<'a> {
    match serving {
        Serving::Failed { retry_after } => Page::Failed { company, retry_after: *retry_after },
        Serving::Suspended => Page::Suspended { company },
        Serving::Stopped | Serving::Hold | Serving::Serve(_) => Page::Stopped { company },
    }
}
