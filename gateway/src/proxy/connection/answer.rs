//! Writes one answer to an HTTP/2 stream, as fast as the client takes it and no faster.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use h2::{Reason, SendStream, server::SendResponse};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Body;

use super::{frames::Traffic, stream::StreamWatch};
use crate::proxy::exchange::ResponseBody;

/// Bytes of answers that one connection may have us keep.
const MOST: usize = 1024 * 1024 - 2 * RESERVE;
/// Asked of the client's windows at once.
const RESERVE: usize = 64 * 1024;

/// How much of answers one connection's client has us keep: read from workers, and not yet in its socket.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Waits for the client's windows.
    in_hand: Cell<usize>,
    /// Given to h2 since its last flush.
    handed: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
}

impl Budget {
    fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        if self.in_hand.get() + self.handed.get() < MOST {
            return Poll::Ready(());
        }
        self.waiting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }

    /// h2 has written all it had.
    pub(super) fn flushed(&self) {
        if self.handed.replace(0) > 0 {
            self.wake();
        }
    }

    fn wake(&self) {
        // Taken first: a waker may come back here.
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Bytes in hand, given back to the budget whatever becomes of them.
struct Hand<'a> {
    budget: &'a Budget,
    bytes: Bytes,
}

impl<'a> Hand<'a> {
    fn new(budget: &'a Budget, bytes: Bytes) -> Self {
        budget.in_hand.set(budget.in_hand.get() + bytes.len());
        Self { budget, bytes }
    }

    fn take(&mut self, most: usize) -> Bytes {
        let part = self.bytes.split_to(most.min(self.bytes.len()));
        self.budget.in_hand.set(self.budget.in_hand.get() - part.len());
        self.budget.handed.set(self.budget.handed.get() + part.len());
        part
    }
}

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.budget.in_hand.set(self.budget.in_hand.get() - self.bytes.len());
            self.budget.wake();
        }
    }
}

/// What an answer needs of its connection.
pub(super) struct Outlet {
    pub(super) budget: Rc<Budget>,
    pub(super) traffic: Rc<Traffic>,
    pub(super) watch: Rc<StreamWatch>,
    /// The request was HEAD: its answer has no body.
    pub(super) head: bool,
}

/// The answer was not sent to its end.
pub(super) struct Unfinished;

impl Outlet {
    /// Sends all of it. `Ok`: the last byte is on its way.
    pub(super) async fn send(
        &self,
        response: Response<ResponseBody>,
        respond: &mut SendResponse<Bytes>,
    ) -> Result<(), Unfinished> {
        let (mut head, body) = response.into_parts();
        // RFC 9113 §8.2.2: these have no meaning here, and h2 refuses to send them.
        for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
            head.headers.remove(name);
        }
        head.headers.remove("keep-alive");
        head.headers.remove("proxy-connection");
        let bodiless = self.head
            || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::RESET_CONTENT);
        if !bodiless
            && !head.headers.contains_key(header::CONTENT_LENGTH)
            && let Some(length) = body.size_hint().exact()
        {
            head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let ends = bodiless || body.is_end_stream();
        let mut stream = respond.send_response(Response::from_parts(head, ()), ends).map_err(|_| Unfinished)?;
        if ends { Ok(()) } else { self.send_body(body, &mut stream).await }
    }

    async fn send_body(&self, body: ResponseBody, stream: &mut SendStream<Bytes>) -> Result<(), Unfinished> {
        let mut body = pin!(body);
        loop {
            // A window first: what the client does not take is not read from the worker either.
            self.capacity(stream, 1).await?;
            let frame = poll_fn(|cx| {
                if stream.poll_reset(cx).is_ready() {
                    return Poll::Ready(Err(Unfinished));
                }
                match self.budget.poll_open(cx) {
                    Poll::Ready(()) => body.as_mut().poll_frame(cx).map(Ok),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await?;
            match frame {
                None => {
                    stream.send_data(Bytes::new(), true).map_err(|_| Unfinished)?;
                    return Ok(());
                }
                Some(Err(_)) => {
                    // Half an answer must never look whole (RFC 9113 §8.1).
                    stream.send_reset(Reason::INTERNAL_ERROR);
                    return Err(Unfinished);
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let last = body.is_end_stream();
                        self.send_data(data, last, stream).await?;
                        if last {
                            return Ok(());
                        }
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            stream.send_trailers(trailers).map_err(|_| Unfinished)?;
                            return Ok(());
                        }
                    }
                },
            }
        }
    }

    async fn send_data(&self, data: Bytes, last: bool, stream: &mut SendStream<Bytes>) -> Result<(), Unfinished> {
        if data.is_empty() && last {
            return stream.send_data(data, true).map_err(|_| Unfinished);
        }
        let mut hand = Hand::new(&self.budget, data);
        while !hand.bytes.is_empty() {
            let room = self.capacity(stream, hand.bytes.len().min(RESERVE)).await?;
            let part = hand.take(room);
            self.traffic.sent(part.len());
            stream.send_data(part, last && hand.bytes.is_empty()).map_err(|_| Unfinished)?;
        }
        Ok(())
    }

    /// Waits until the client's windows allow for something, at best `wanted`.
    async fn capacity(&self, stream: &mut SendStream<Bytes>, wanted: usize) -> Result<usize, Unfinished> {
        if stream.capacity() >= wanted {
            return Ok(stream.capacity());
        }
        stream.reserve_capacity(wanted);
        poll_fn(|cx| {
            if self.watch.is_stuck() {
                stream.send_reset(Reason::CANCEL);
                return Poll::Ready(Err(Unfinished));
            }
            if stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Unfinished));
            }
            loop {
                let room = stream.capacity();
                if room > 0 {
                    self.watch.unblock();
                    return Poll::Ready(Ok(room));
                }
                match stream.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(Unfinished)),
                    Poll::Pending => {
                        self.watch.block(cx);
                        return Poll::Pending;
                    }
                }
            }
        })
        .await
    }
}
