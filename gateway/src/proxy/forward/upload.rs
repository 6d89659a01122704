//! The client's body on its way to the worker: counted, bounded, its trailers cleaned, and known to be unread or not.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{flight::Alarm, headers};
use crate::proxy::exchange::{BodyError, RequestBody};

/// One request's body, kept by the request's side: it can be sent (again) as long as nothing of it was read.
#[derive(Debug)]
pub(crate) struct Upload {
    body: RefCell<Option<RequestBody>>,
    /// Something of it was asked for: it cannot be sent a second time.
    touched: Cell<bool>,
    finished: Cell<bool>,
    empty: bool,
    error: Cell<Option<BodyError>>,
    bytes: Cell<u64>,
    limit: u64,
    patience: Duration,
    alarm: RefCell<Option<Rc<Alarm>>>,
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RequestBody")
    }
}

impl Upload {
    /// `limit`: more bytes are too large; `patience`: how long the worker may take from the last byte sent to its answer.
    pub(crate) fn new(body: RequestBody, limit: Option<u64>, patience: Duration) -> Self {
        let empty = body.is_end_stream();
        Self {
            body: RefCell::new(Some(body)),
            touched: Cell::new(false),
            finished: Cell::new(empty),
            empty,
            error: Cell::new(None),
            bytes: Cell::new(0),
            limit: limit.unwrap_or(u64::MAX),
            patience,
            alarm: RefCell::default(),
        }
    }

    /// Nothing of it was read: it can be sent again.
    pub(crate) fn unread(&self) -> bool {
        self.empty || !self.touched.get()
    }

    /// There was none at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.empty
    }

    /// It was read to its end.
    pub(crate) fn finished(&self) -> bool {
        self.finished.get()
    }

    /// What broke it, on the client's side.
    pub(crate) fn error(&self) -> Option<BodyError> {
        self.error.get()
    }

    /// Bytes of data read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Its exact size, if that is known beforehand.
    pub(crate) fn exact(&self) -> Option<u64> {
        self.body.borrow().as_ref().and_then(|body| body.size_hint().exact())
    }

    /// The body for one attempt, whose flight is told of progress.
    pub(crate) fn attempt(self: &Rc<Self>, alarm: &Rc<Alarm>) -> UploadBody {
        alarm.set(Some(Instant::now() + self.patience));
        *self.alarm.borrow_mut() = Some(Rc::clone(alarm));
        UploadBody(Rc::clone(self))
    }

    fn expect_answer(&self, within: Option<Duration>) {
        if let Some(alarm) = self.alarm.borrow().as_ref() {
            alarm.set(within.map(|within| Instant::now() + within));
        }
    }

    /// The answer has begun: no deadline any more.
    pub(crate) fn answered(&self) {
        self.expect_answer(None);
        *self.alarm.borrow_mut() = None;
    }

    fn fail(&self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.error.set(Some(error));
        Poll::Ready(Some(Err(error)))
    }

    fn end(&self) {
        self.finished.set(true);
        // The client's side sees at once that nobody reads any more.
        self.body.borrow_mut().take();
        if self.alarm.borrow().is_some() {
            self.expect_answer(Some(self.patience));
        }
    }
}

/// One attempt's body: what hyper sends.
#[derive(Debug)]
pub(crate) struct UploadBody(Rc<Upload>);

impl Body for UploadBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let upload = &*self.0;
        upload.touched.set(true);
        let polled = match upload.body.borrow_mut().as_mut() {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        };
        if polled.is_pending() && upload.alarm.borrow().is_some() {
            // Waiting for the client, whose slowness is the connection side's to judge.
            upload.expect_answer(None);
        }
        match ready!(polled) {
            None => {
                upload.end();
                Poll::Ready(None)
            }
            Some(Err(error)) => upload.fail(error),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    upload.bytes.set(upload.bytes.get() + data.len() as u64);
                    if upload.bytes.get() > upload.limit {
                        return upload.fail(BodyError::TooLarge);
                    }
                    let last = upload.body.borrow().as_ref().is_none_or(Body::is_end_stream);
                    if last {
                        upload.end();
                    } else if upload.alarm.borrow().is_some() {
                        upload.expect_answer(Some(upload.patience));
                    }
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Err(frame) => {
                    upload.end();
                    match frame.into_trailers() {
                        Ok(trailers) => Poll::Ready(Some(Ok(Frame::trailers(headers::trailers(trailers))))),
                        Err(_) => Poll::Ready(None),
                    }
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.finished.get()
    }

    fn size_hint(&self) -> SizeHint {
        if self.0.finished.get() {
            return SizeHint::with_exact(0);
        }
        self.0.body.borrow().as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
