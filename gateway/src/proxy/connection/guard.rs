//! The strict reader in front of hyper: nothing reaches hyper before its framing is known to be unambiguous, and never
//! more than the message at hand.

use std::{
    io, mem,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    chunked::{Broken, Chunked},
    head::{self, Framing, Scan},
    shield::read_scratch,
    watch::{Phase, Verdict, Watch},
};
use crate::{
    model::HttpLimits,
    proxy::exchange::{BodyError, Refusal},
};

/// What hyper is shown in place of a head that was refused; its service answers with the refusal.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nHost: refused.invalid\r\nConnection: close\r\n\r\n";

/// What the guard and the service behind hyper tell each other about one connection.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    refused: OnceLock<(u64, Refusal)>,
    body: AtomicU8,
    upgrade: AtomicU8,
    /// The client has closed its side, or broken off.
    pub(super) gone: AtomicBool,
}

const ASKED: u8 = 1;
const GRANTED: u8 = 2;
const DENIED: u8 = 3;

impl Ledger {
    /// Why the `index`th request (from 1) is refused.
    pub(super) fn refusal(&self, index: u64) -> Option<Refusal> {
        self.refused.get().filter(|(at, _)| *at == index).map(|(_, refusal)| *refusal)
    }

    /// Why the body of the latest request broke off.
    pub(super) fn body_error(&self) -> BodyError {
        match self.body.load(Relaxed) {
            1 => BodyError::Framing,
            2 => BodyError::Slow,
            _ => BodyError::Gone,
        }
    }

    /// The answer to a request that asked for an upgrade: what comes next is a tunnel's, or another request.
    pub(super) fn answer_upgrade(&self, granted: bool) {
        if self.upgrade.load(Relaxed) == ASKED {
            self.upgrade.store(if granted { GRANTED } else { DENIED }, Relaxed);
        }
    }
}

/// The reading part, apart from all I/O: fed with bytes, says how many may pass.
#[derive(Debug)]
pub(super) struct Framer {
    state: State,
    heads: u64,
}

#[derive(Debug)]
enum State {
    Head(Scan),
    Length(u64),
    Chunked(Box<Chunked>),
    Refused,
    Broken,
}

/// What the framer makes of the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It takes more bytes to say.
    More,
    /// A head of so many bytes is good; `true`: it asks for an upgrade.
    Head(usize, bool),
    /// So many bytes of a body are good.
    Body(usize),
    /// The head is refused: nothing more is read.
    Refuse(Refusal),
    /// The body breaks its framing here: nothing more is read.
    Break,
}

impl Framer {
    pub(super) fn new() -> Self {
        Self { state: State::Head(Scan::default()), heads: 0 }
    }

    /// `bytes` begin with the first byte that has not passed yet.
    pub(super) fn step(&mut self, bytes: &[u8], limits: &HttpLimits) -> Step {
        match &mut self.state {
            State::Head(scan) => {
                let checked = match scan.find_end(bytes, limits) {
                    Ok(None) => return Step::More,
                    Ok(Some(length)) => head::check(&bytes[..length], limits).map(|head| (length, head)),
                    Err(refusal) => Err(refusal),
                };
                match checked {
                    Ok((length, head)) => {
                        self.heads += 1;
                        self.state = match head.framing {
                            Framing::None => State::Head(Scan::default()),
                            Framing::Length(length) => State::Length(length),
                            Framing::Chunked => State::Chunked(Box::new(Chunked::new())),
                        };
                        Step::Head(length, head.upgrade)
                    }
                    Err(refusal) => self.refuse(refusal),
                }
            }
            _ if bytes.is_empty() => Step::More,
            State::Length(left) => {
                let good = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= good as u64;
                if *left == 0 {
                    self.state = State::Head(Scan::default());
                }
                Step::Body(good)
            }
            State::Chunked(chunked) => match chunked.advance(bytes) {
                Ok(good) => {
                    if chunked.is_done() {
                        self.state = State::Head(Scan::default());
                    }
                    Step::Body(good)
                }
                Err(Broken) => {
                    self.state = State::Broken;
                    Step::Break
                }
            },
            State::Refused | State::Broken => Step::More,
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Step {
        self.state = State::Refused;
        Step::Refuse(refusal)
    }

    fn in_head(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    fn has_ended(&self) -> bool {
        matches!(self.state, State::Refused | State::Broken)
    }
}

/// A decrypted client connection that lets whole, checked messages pass, one after the other.
pub(super) struct Guard<S> {
    io: S,
    framer: Framer,
    limits: Arc<HttpLimits>,
    ledger: Arc<Ledger>,
    watch: Arc<Watch>,
    /// Read and not passed yet. Freed when empty: an idle connection holds nothing.
    held: Vec<u8>,
    /// How many of `held` have passed and wait for room.
    cleared: usize,
    stand_in: &'static [u8],
    eof: bool,
}

impl<S> Guard<S> {
    pub(super) fn new(io: S, limits: Arc<HttpLimits>, ledger: Arc<Ledger>, watch: Arc<Watch>) -> Self {
        let framer = Framer::new();
        Self { io, framer, limits, ledger, watch, held: Vec::new(), cleared: 0, stand_in: b"", eof: false }
    }

    fn refuse(&mut self, refusal: Refusal) {
        let _first = self.ledger.refused.set((self.framer.heads + 1, refusal));
        self.stand_in = STAND_IN;
        self.held = Vec::new();
        self.watch.set_phase(Phase::Busy);
        self.watch.set_linger();
    }

    fn break_body(&self, why: BodyError) -> io::Error {
        let code = match why {
            BodyError::Framing => 1,
            BodyError::Slow => 2,
            _ => 0,
        };
        self.ledger.body.store(code, Relaxed);
        self.watch.set_phase(Phase::Busy);
        self.watch.set_linger();
        io::Error::new(io::ErrorKind::InvalidData, why)
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.cleared.min(buf.remaining());
        buf.put_slice(&self.held[..count]);
        self.cleared -= count;
        if count == self.held.len() {
            self.held = Vec::new();
        } else {
            self.held.drain(..count);
        }
    }

    fn is_tunnel(&self) -> bool {
        self.ledger.upgrade.load(Relaxed) == GRANTED && self.framer.in_head()
    }

    /// What the sweep has said, with no byte there to prove it wrong. `Some`: the read's result.
    fn obey(&mut self) -> Option<io::Result<()>> {
        match self.watch.verdict() {
            Verdict::HeadSlow if self.framer.in_head() && !self.held.is_empty() => {
                self.watch.acquit();
                self.framer.state = State::Refused;
                self.refuse(head::refusal(StatusCode::REQUEST_TIMEOUT, "slow"));
                None
            }
            Verdict::BodySlow if !self.framer.in_head() => {
                self.watch.acquit();
                self.framer.state = State::Broken;
                Some(Err(self.break_body(BodyError::Slow)))
            }
            Verdict::Idle if self.framer.in_head() && self.held.is_empty() => {
                self.eof = true;
                Some(Ok(()))
            }
            _ => None,
        }
    }
}

impl<S: AsyncRead + Unpin> Guard<S> {
    /// Reads more into `held`; when a body of known length is all there is, straight into `buf`.
    fn fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let Self { io, held, framer, watch, .. } = self;
        let read = match &mut framer.state {
            State::Length(left) if held.is_empty() => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.remaining());
                let read = ready!(read_scratch(io, cx, most, |bytes| buf.put_slice(bytes)))?;
                *left -= read as u64;
                if *left == 0 {
                    framer.state = State::Head(Scan::default());
                }
                read
            }
            _ => ready!(read_scratch(io, cx, 16 * 1024, |bytes| held.extend_from_slice(bytes)))?,
        };
        watch.count_received(read);
        watch.moved();
        Poll::Ready(Ok(read))
    }

    fn poll_messages(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.stand_in.is_empty() {
                let (now, later) = self.stand_in.split_at(self.stand_in.len().min(buf.remaining()));
                buf.put_slice(now);
                self.stand_in = later;
                return Poll::Ready(Ok(()));
            }
            if self.cleared > 0 {
                self.give(buf);
                return Poll::Ready(Ok(()));
            }
            if self.framer.in_head() {
                match self.ledger.upgrade.load(Relaxed) {
                    // The bytes after such a request are HTTP or not, as its answer says.
                    ASKED => {
                        self.watch.set_phase(Phase::Busy);
                        return Poll::Pending;
                    }
                    DENIED => self.ledger.upgrade.store(0, Relaxed),
                    _ => {}
                }
            }
            if !self.held.is_empty() {
                match self.framer.step(&self.held, &self.limits) {
                    Step::More => {}
                    Step::Head(length, upgrade) => {
                        self.cleared = length;
                        self.watch.acquit();
                        self.watch.next_serial();
                        self.watch.set_phase(Phase::Busy);
                        if upgrade {
                            self.ledger.upgrade.store(ASKED, Relaxed);
                        }
                        continue;
                    }
                    Step::Body(length) => {
                        self.cleared = length;
                        continue;
                    }
                    Step::Refuse(refusal) => {
                        self.refuse(refusal);
                        continue;
                    }
                    Step::Break => return Poll::Ready(Err(self.break_body(BodyError::Framing))),
                }
            }
            if self.eof || self.framer.has_ended() {
                return Poll::Ready(Ok(()));
            }
            let before = buf.filled().len();
            match self.fill(cx, buf) {
                Poll::Ready(Ok(0)) => {
                    self.eof = true;
                    self.ledger.gone.store(true, Relaxed);
                    self.watch.set_phase(Phase::Busy);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(_)) if buf.filled().len() > before => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    self.ledger.gone.store(true, Relaxed);
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => {
                    if let Some(result) = self.obey() {
                        return Poll::Ready(result);
                    }
                    if !self.stand_in.is_empty() {
                        continue;
                    }
                    self.watch.waits(match (self.framer.in_head(), self.held.is_empty()) {
                        (false, _) => Phase::Body,
                        (true, false) => Phase::Head,
                        (true, true) if self.framer.heads == 0 => Phase::Fresh,
                        (true, true) => Phase::Idle,
                    });
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.cleared > 0 || !this.is_tunnel() {
            return this.poll_messages(cx, buf);
        }
        this.watch.set_phase(Phase::Tunnel);
        if !this.held.is_empty() {
            let held = mem::take(&mut this.held);
            let count = held.len().min(buf.remaining());
            buf.put_slice(&held[..count]);
            this.held = held[count..].to_vec();
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A body half read: the client may still be sending it.
        if !self.eof && (!self.framer.in_head() || !self.held.is_empty()) {
            self.watch.set_linger();
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
