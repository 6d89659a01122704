//! A worker's body on its way to the visitor. The place in the gate, the connection and the log line live in it: all
//! three end when it ends, and a body that breaks off is never ended cleanly.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{flight::Flight, headers, journey::Journey, seats::Seat, upload::Upload};
use crate::proxy::{
    exchange::{BodyError, ResponseBody},
    upstream::pool::Connection,
};

/// A body that streams from a worker.
#[derive(Debug)]
pub(crate) struct Download {
    incoming: Incoming,
    bytes: u64,
    open: Option<Open>,
}

/// What is held until the body's end.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) journey: Journey,
    pub(crate) connection: Connection,
    pub(crate) upload: Rc<Upload>,
    pub(crate) flight: Flight,
    /// Where its tenant counts what is in flight.
    pub(crate) _seat: Option<Seat>,
}

impl Open {
    /// The whole answer has come.
    fn end(mut self, bytes: u64) {
        self.journey.note(|record| record.bytes_out = bytes);
        // A request that was not sent whole leaves a connection in the middle of it.
        if self.upload.finished() {
            self.flight.backend.check_in(self.connection);
        }
        self.journey.end();
    }

    fn fail(mut self, bytes: u64) {
        let why = if self.flight.alarm.verdict().is_some() {
            "cut at the drain deadline"
        } else {
            self.connection.watch.fault().unwrap_or("the worker broke off")
        };
        self.journey.note(|record| record.bytes_out = bytes);
        self.journey.error(why);
    }
}

impl Download {
    /// The body for the visitor; `open` ends with it.
    pub(crate) fn body(incoming: Incoming, open: Open) -> ResponseBody {
        if incoming.is_end_stream() {
            open.end(0);
            return ResponseBody::Full(None);
        }
        ResponseBody::Worker(Box::pin(Self { incoming, bytes: 0, open: Some(open) }))
    }

    fn end(&mut self) {
        if let Some(open) = self.open.take() {
            open.end(self.bytes);
        }
    }

    fn fail(&mut self) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(open) = self.open.take() {
            open.fail(self.bytes);
        }
        Poll::Ready(Some(Err(BodyError::Upstream)))
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(open) = &this.open else { return Poll::Ready(None) };
        if open.flight.alarm.verdict().is_some() {
            return this.fail();
        }
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Pending => match open.flight.alarm.poll(cx) {
                Poll::Ready(_) => this.fail(),
                Poll::Pending => Poll::Pending,
            },
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => this.fail(),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    this.bytes += data.len() as u64;
                    if this.incoming.is_end_stream() {
                        this.end();
                    }
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Err(frame) => {
                    this.end();
                    Poll::Ready(frame.into_trailers().ok().map(|fields| Ok(Frame::trailers(headers::trailers(fields)))))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.open.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if let Some(mut open) = self.open.take() {
            open.journey.note(|record| record.bytes_out = self.bytes);
        }
    }
}
