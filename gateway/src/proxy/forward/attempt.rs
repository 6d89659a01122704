//! One attempt to have a request answered by a worker, and what its failure allows.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use http::{HeaderMap, Method, Request, Response, Uri, Version};
use hyper::body::Incoming;

use super::{
    flight::{Alarm, Flight, Verdict},
    upload::Upload,
};
use crate::proxy::{
    exchange::BodyError,
    upstream::{head::Asked, pool::Connection},
};

/// What is sent.
#[derive(Debug)]
pub(crate) struct Sending<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) upload: &'a Rc<Upload>,
    pub(crate) websocket: bool,
    /// No kept connection: one of them just failed.
    pub(crate) fresh: bool,
    /// For the connect.
    pub(crate) patience: Duration,
}

/// A worker's answer whose head is here.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) response: Response<Incoming>,
    pub(crate) connection: Connection,
    pub(crate) flight: Flight,
    /// From the request's sending to the answer's head.
    pub(crate) took: Duration,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody listens: nothing was sent.
    Refused,
    /// The connection ended before anything was sent.
    Unsent,
    /// The connection died behind the request and before any byte of the answer.
    Died {
        /// It had been kept: its end may have crossed the request.
        reused: bool,
    },
    /// The answer was malformed or broke off in its head.
    Bad(&'static str),
    /// The client broke its own body.
    Client(BodyError),
    /// No answer in time.
    Late,
    /// The gate's deadline.
    Cut,
}

impl From<Verdict> for Failure {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Late => Self::Late,
            Verdict::Cut => Self::Cut,
        }
    }
}

/// Methods that may be repeated (RFC 9110 §9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::TRACE].contains(method)
}

/// Sends it on a kept connection, else on a new one, and waits for the head of the answer.
pub(crate) async fn attempt(sending: Sending<'_>, flight: Flight) -> Result<Answered, Failure> {
    let alarm = Rc::clone(&flight.alarm);
    alarm.set(Some(Instant::now() + sending.patience));
    let mut connection = or_alarm(&alarm, connection(&sending, &flight)).await??;
    alarm.carried_by(&connection);
    connection.arm(Asked { head: *sending.method == Method::HEAD, upgrade: sending.websocket });

    let mut request = Request::new(sending.upload.attempt(&alarm));
    *request.method_mut() = sending.method.clone();
    *request.uri_mut() = sending.uri.clone();
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = sending.headers;
    let sent = Instant::now();
    match or_alarm(&alarm, connection.sender.try_send_request(request)).await? {
        Ok(response) => {
            sending.upload.answered();
            Ok(Answered { response, connection, flight, took: sent.elapsed() })
        }
        Err(mut error) => Err(match (error.take_message(), connection.watch.fault(), sending.upload.error()) {
            (Some(_), ..) => Failure::Unsent,
            (None, Some(fault), _) => Failure::Bad(fault),
            (None, None, Some(broken)) => Failure::Client(broken),
            (None, None, None) if !connection.watch.written() => Failure::Unsent,
            (None, None, None) if connection.watch.answered() => Failure::Bad("the answer's head broke off"),
            (None, None, None) => Failure::Died { reused: connection.reused },
        }),
    }
}

async fn connection(sending: &Sending<'_>, flight: &Flight) -> Result<Connection, Failure> {
    let repeatable = is_idempotent(sending.method) && sending.upload.unread();
    if !sending.fresh
        && let Some(kept) = flight.backend.checkout(repeatable).await
    {
        return Ok(kept);
    }
    Connection::open(&flight.backend).await.map_err(|error| match error.kind() {
        // A unix socket that is not there is nobody listening, too; so is a full backlog of one.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound | io::ErrorKind::WouldBlock => Failure::Refused,
        io::ErrorKind::ConnectionReset => Failure::Unsent,
        _ => Failure::Bad("cannot connect to the worker"),
    })
}

/// The future's output, unless the alarm goes off first.
pub(crate) async fn or_alarm<F: Future>(alarm: &Alarm, future: F) -> Result<F::Output, Verdict> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        // First, because the alarm also ends the connection, which would look like the worker's doing.
        if let Some(verdict) = alarm.verdict() {
            return Poll::Ready(Err(verdict));
        }
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => alarm.poll(cx).map(Err),
        }
    })
    .await
}
