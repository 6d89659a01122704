//! One HTTP/2 stream, as the sweep sees it, and its request body.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{FlowControl, RecvStream};
use http_body::{Body, Frame, SizeHint};

use super::{
    events,
    sweep::Pace,
    watch::{Phase, Watch},
};
use crate::{model::HttpLimits, proxy::exchange::BodyError};

/// Whether the client keeps this stream waiting, in either direction.
pub(super) struct StreamWatch {
    connection: Arc<Watch>,
    /// There is data to send and the client's windows are closed.
    blocked: Cell<bool>,
    stalled: Cell<Duration>,
    stuck: Cell<bool>,
    sender: RefCell<Option<Waker>>,
    /// The request's body is wanted and not there.
    waiting: Cell<bool>,
    flow: RefCell<Option<FlowControl>>,
    received: Cell<u64>,
    /// What the connection had received at the last look.
    seen: Cell<u64>,
    pace: Cell<Pace>,
    slow: Cell<bool>,
    reader: RefCell<Option<Waker>>,
}

impl StreamWatch {
    pub(super) fn new(connection: Arc<Watch>) -> Rc<Self> {
        Rc::new(Self {
            connection,
            blocked: Cell::default(),
            stalled: Cell::default(),
            stuck: Cell::default(),
            sender: RefCell::default(),
            waiting: Cell::default(),
            flow: RefCell::default(),
            received: Cell::default(),
            seen: Cell::default(),
            pace: Cell::default(),
            slow: Cell::default(),
            reader: RefCell::default(),
        })
    }

    /// The answer waits for the client's windows.
    pub(super) fn block(&self, cx: &Context<'_>) {
        self.blocked.set(true);
        *self.sender.borrow_mut() = Some(cx.waker().clone());
    }

    /// The answer goes on.
    pub(super) fn unblock(&self) {
        self.blocked.set(false);
        self.stalled.set(Duration::ZERO);
    }

    /// The client has not taken any of the answer for too long.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.get()
    }

    /// One look of the sweep, `spent` after the last one.
    pub(super) fn look(&self, spent: Duration, limits: &HttpLimits) {
        if self.blocked.get() && !self.stuck.get() {
            self.stalled.set(self.stalled.get() + spent);
            if self.stalled.get() >= limits.write_timeout {
                events::slow("write", self.stalled.get());
                self.stuck.set(true);
                wake(&self.sender);
            }
        }
        // Of half a DATA frame h2 says nothing: while one is on its way, all that comes counts for whoever waits for it.
        let total = self.connection.received();
        let news = total.wrapping_sub(self.seen.replace(total));
        let halfway = if self.connection.phase() == Phase::Body { news } else { 0 };
        // What has arrived and was not taken is the worker's delay.
        let arrived = self.flow.borrow().as_ref().is_some_and(|flow| flow.used_capacity() > 0);
        if self.waiting.get() && !arrived && !self.slow.get() {
            let mut pace = self.pace.get();
            if pace.is_slow(self.received.take() + halfway, spent, limits) {
                events::slow("body", limits.body_timeout);
                self.slow.set(true);
                wake(&self.reader);
            }
            self.pace.set(pace);
        }
    }
}

fn wake(waker: &RefCell<Option<Waker>>) {
    // Taken first: waking may come back here.
    let waker = waker.borrow_mut().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A request's body. The client may send as much as has been consumed, no more.
pub(super) struct StreamBody {
    stream: RecvStream,
    watch: Rc<StreamWatch>,
    lent: usize,
    data_ended: bool,
    length: Option<u64>,
}

impl StreamBody {
    pub(super) fn new(mut stream: RecvStream, watch: Rc<StreamWatch>, length: Option<u64>) -> Self {
        *watch.flow.borrow_mut() = Some(stream.flow_control().clone());
        Self { stream, watch, lent: 0, data_ended: false, length }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.lent > 0 {
            // An error means that the stream is gone, which the read below tells.
            let _gone = self.stream.flow_control().release_capacity(self.lent);
            self.lent = 0;
        }
        if !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    self.lent = data.len();
                    self.watch.received.set(self.watch.received.get() + data.len() as u64);
                    self.length = self.length.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(reason(&error)))),
                None => self.data_ended = true,
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(reason(&error)))),
        }
    }
}

fn reason(error: &h2::Error) -> BodyError {
    // What h2 itself objects to is the client's framing; all else is the client going away.
    if error.is_library() { BodyError::Framing } else { BodyError::Gone }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = this.poll_stream(cx);
        this.watch.waiting.set(polled.is_pending());
        if polled.is_pending() {
            if this.watch.slow.get() {
                return Poll::Ready(Some(Err(BodyError::Slow)));
            }
            *this.watch.reader.borrow_mut() = Some(cx.waker().clone());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        if self.lent > 0 {
            let _gone = self.stream.flow_control().release_capacity(self.lent);
        }
        self.watch.waiting.set(false);
        *self.watch.flow.borrow_mut() = None;
    }
}
