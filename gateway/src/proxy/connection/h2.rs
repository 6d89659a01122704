//! HTTP/2: the `h2` crate, told when to tell a client to calm down.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Instant,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{Builder, SendResponse},
};
use http::{Method, Request, Response, header};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Sleep,
};

use super::{
    Core, admission,
    answer::{Budget, Outlet},
    events,
    frames::{Frames, RESETS, Traffic},
    goodbye::CROSSING,
    stream::{StreamBody, StreamWatch},
    watch::{Phase, Verdict, Watch},
};
use crate::{
    model::HttpLimits,
    proxy::exchange::{Admitted, Connection, Forward, RequestBody, ResponseBody},
};

fn builder(limits: &HttpLimits) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes)
        .initial_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buffer_size(64 * 1024)
        .max_pending_accept_reset_streams(20)
        .max_concurrent_reset_streams(RESETS as usize)
        .max_local_error_reset_streams(Some(RESETS as usize));
    builder
}

/// Serves one client's streams until the connection ends.
pub(super) async fn serve<F, S>(core: Rc<Core<F>>, io: S, connection: Rc<Connection>, watch: Arc<Watch>)
where
    F: Forward,
    S: AsyncRead + AsyncWrite + Unpin,
{
    watch.set_phase(Phase::Fresh);
    // A client that is told to go away may have more on its way; it is to see why all the same.
    watch.set_linger();
    let client = connection.client_ip();
    let traffic = Traffic::new();
    let frames = Frames::new(io, Arc::clone(&watch), client, Rc::clone(&traffic));
    let mut handshake = pin!(builder(&core.limits).handshake::<_, Bytes>(frames));
    let opened = poll_fn(|cx| match handshake.as_mut().poll(cx) {
        Poll::Ready(opened) => Poll::Ready(opened.ok()),
        Poll::Pending if watch.verdict() == Verdict::Fine && !traffic.is_flood() => Poll::Pending,
        Poll::Pending => Poll::Ready(None),
    });
    let Some(mut h2) = opened.await else { return };
    let shared = Rc::new(Streams { core, connection, watch, traffic, budget: Rc::default() });
    let (mut leaving, mut thrown_out): (Option<Instant>, bool) = (None, false);
    let mut crossing: Option<Pin<Box<Sleep>>> = None;
    let (mut asked, patience) = (false, shared.core.limits.idle_timeout);
    let ended = poll_fn(|cx| {
        loop {
            match h2.poll_accept(cx) {
                Poll::Ready(Some(Ok((_, mut respond)))) if leaving.is_some_and(|since| since.elapsed() > patience) => {
                    // It answers no PING, so that the second GOAWAY never goes out: told so stream by stream.
                    respond.send_reset(Reason::REFUSED_STREAM);
                    if shared.watch.streams() == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Some(Ok((request, respond)))) if !thrown_out => {
                    asked = true;
                    shared.open(request, respond);
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    let verdict = shared.watch.verdict();
                    let too_slow = matches!(verdict, Verdict::HeadSlow | Verdict::BodySlow);
                    if (shared.traffic.is_flood() || too_slow) && !thrown_out {
                        thrown_out = true;
                        h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                        continue;
                    }
                    if verdict == Verdict::Idle {
                        if leaving.is_some() {
                            return Poll::Ready(Ok(()));
                        }
                        // The client has as long again to say that it has understood.
                        shared.watch.acquit();
                        shared.watch.next_serial();
                    }
                    // One that has not asked for anything yet is about to: its first request would cross the GOAWAY, and
                    // not every client asks again elsewhere.
                    let drains = shared.core.draining.get() && asked;
                    if (verdict == Verdict::Idle || drains) && leaving.is_none() {
                        leaving = Some(Instant::now());
                        shared.traffic.goodbye.ask();
                        h2.graceful_shutdown();
                        continue;
                    }
                    if shared.traffic.goodbye.is_answered() {
                        let crossing = crossing.get_or_insert_with(|| Box::pin(tokio::time::sleep(CROSSING)));
                        if crossing.as_mut().poll(cx).is_ready() {
                            shared.traffic.goodbye.release();
                            continue;
                        }
                    }
                    if !shared.watch.is_write_blocked() {
                        shared.budget.flushed();
                    }
                    return Poll::Pending;
                }
            }
        }
    })
    .await;
    if let Err(error) = ended
        && error.is_library()
        && error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
    {
        events::flood(client, "reset", RESETS.into());
    }
}

/// What the streams of one connection share.
struct Streams<F> {
    core: Rc<Core<F>>,
    connection: Rc<Connection>,
    watch: Arc<Watch>,
    traffic: Rc<Traffic>,
    budget: Rc<Budget>,
}

impl<F: Forward> Streams<F> {
    /// A task of its own: one stream's panic is not another's.
    fn open(self: &Rc<Self>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let this = Rc::clone(self);
        let counted = Counted::new(Arc::clone(&self.watch));
        tokio::task::spawn_local(async move {
            let _counted = counted;
            let watch = StreamWatch::new(Arc::clone(&this.watch));
            this.core.sweep.add_stream(&watch);
            let outlet = Outlet {
                budget: Rc::clone(&this.budget),
                traffic: Rc::clone(&this.traffic),
                head: request.method() == Method::HEAD,
                watch: Rc::clone(&watch),
            };
            if let Some(response) = this.answer(request, &mut respond, watch).await
                && outlet.send(response, &mut respond).await.is_ok()
            {
                this.traffic.completed();
            }
        });
    }

    /// `None`: the client has given the stream up.
    async fn answer(
        &self,
        request: Request<RecvStream>,
        respond: &mut SendResponse<Bytes>,
        watch: Rc<StreamWatch>,
    ) -> Option<Response<ResponseBody>> {
        self.connection.draining.set(self.core.draining.get());
        let (head, stream) = request.into_parts();
        let checked = admission::check_h2(&head, &self.core.limits).map_err(|refusal| (refusal, None));
        let host = match checked.and_then(|()| admission::admit(&head, &self.connection.sni)) {
            Ok(host) => host,
            Err((refusal, host)) => return Some(self.core.refuse(&self.connection, refusal, host.as_ref())),
        };
        let body = if stream.is_end_stream() {
            RequestBody::Empty
        } else {
            let length = head.headers.get(header::CONTENT_LENGTH).and_then(|l| l.to_str().ok()?.parse().ok());
            RequestBody::H2(Box::pin(StreamBody::new(stream, watch, length)))
        };
        let admitted = Admitted {
            connection: Rc::clone(&self.connection),
            host,
            request: Request::from_parts(head, body),
            at: Instant::now(),
        };
        let mut forwarded = pin!(self.core.forward.forward(admitted));
        poll_fn(|cx| {
            if respond.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            forwarded.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

/// One open stream in its connection's count.
struct Counted(Arc<Watch>);

impl Counted {
    fn new(watch: Arc<Watch>) -> Self {
        watch.add_stream();
        Self(watch)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.end_stream();
    }
}
