//! The socket to a worker, with a guard that follows each answer from its first byte to its last.
//!
//! hyper sees a head only after it was judged, sees nothing behind the end of an answer, and nothing at all that comes
//! before a request was written: one answer per request.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use super::{
    chunk::Chunked,
    head::{self, Asked, Framing},
};
use crate::model::BackendAddress;

/// Interim answers (1xx) swallowed for one request.
const MAX_INTERIM: u8 = 32;

const ARMED: u8 = 1;
const ASKED_HEAD: u8 = 2;
const ASKED_UPGRADE: u8 = 4;

/// What the guard and the request side tell each other. Both live on one thread; atomics only because a connection that
/// may become a tunnel must be `Send`.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    armed: AtomicU8,
    answered: AtomicBool,
    whole: AtomicBool,
    fault: OnceLock<&'static str>,
}

impl Watch {
    /// The next write begins a request.
    pub(crate) fn arm(&self, asked: Asked) {
        self.answered.store(false, Ordering::Relaxed);
        self.whole.store(false, Ordering::Relaxed);
        let bits = ARMED | if asked.head { ASKED_HEAD } else { 0 } | if asked.upgrade { ASKED_UPGRADE } else { 0 };
        self.armed.store(bits, Ordering::Relaxed);
    }

    /// A byte of the answer has come.
    pub(crate) fn answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// The request was begun to be written.
    pub(crate) fn written(&self) -> bool {
        self.armed.load(Ordering::Relaxed) & ARMED == 0
    }

    /// The answer has come whole, and nothing came behind it.
    pub(crate) fn whole(&self) -> bool {
        self.whole.load(Ordering::Relaxed) && self.fault.get().is_none()
    }

    /// What was wrong with the worker's bytes.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        self.fault.get().copied()
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

#[derive(Debug)]
enum State {
    /// No request is out: the worker has nothing to say.
    Idle,
    /// In a head; what came of it so far is in `GuardedIo::held`.
    Head(Asked),
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Tunnel,
    Broken,
}

/// A connection to a worker.
#[derive(Debug)]
pub(crate) struct GuardedIo {
    socket: Socket,
    state: State,
    /// A head that has not come whole; then what of it hyper had no room for.
    held: Vec<u8>,
    /// How much of `held` was judged and may go to hyper.
    cleared: usize,
    interim: u8,
    watch: Arc<Watch>,
}

impl GuardedIo {
    /// Connects. Loopback only: no name lookup, no timeout of its own.
    pub(crate) async fn connect(address: &BackendAddress) -> io::Result<Self> {
        let socket = match address {
            BackendAddress::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Socket::Tcp(stream)
            }
            BackendAddress::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
        };
        let watch = Arc::default();
        Ok(Self { socket, state: State::Idle, held: Vec::new(), cleared: 0, interim: 0, watch })
    }

    /// The request side's view.
    pub(crate) fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    fn fail<T>(&mut self, why: &'static str) -> Result<T, io::Error> {
        self.state = State::Broken;
        // The first fault is the cause.
        let _ = self.watch.fault.set(why);
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }

    /// The answer has ended. `more`: bytes came behind it.
    fn finish(&mut self, more: bool) {
        self.watch.whole.store(true, Ordering::Relaxed);
        self.state = State::Idle;
        if more {
            let _ = self.watch.fault.set("bytes behind the answer");
            self.state = State::Broken;
        }
    }

    /// How many of these bytes of the body are to be seen.
    fn body(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Length(left) => {
                let taken = (*left).min(bytes.len() as u64);
                *left -= taken;
                if *left == 0 {
                    self.finish(taken < bytes.len() as u64);
                }
                Ok(taken as usize)
            }
            State::Chunked(chunked) => match chunked.advance(bytes) {
                Ok(taken) => {
                    if *chunked == Chunked::End {
                        self.finish(taken < bytes.len());
                    }
                    Ok(taken)
                }
                Err(why) => self.fail(why),
            },
            _ => Ok(bytes.len()),
        }
    }

    /// Judges `held`. `true`: a final head is there and `cleared` is set.
    fn head(&mut self, asked: Asked, mut searched: usize) -> io::Result<bool> {
        loop {
            let Some(end) = head::end(&self.held, searched) else {
                return if self.held.len() > head::MAX_HEAD { self.fail("head too long") } else { Ok(false) };
            };
            if end > head::MAX_HEAD {
                return self.fail("head too long");
            }
            let judged = match head::check(&self.held[..end], asked) {
                Ok(judged) => judged,
                Err(why) => return self.fail(why),
            };
            if (100..200).contains(&judged.status) && judged.status != 101 {
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return self.fail("too many interim answers");
                }
                self.held.drain(..end);
                searched = 0;
                continue;
            }
            self.enter(judged.framing);
            let rest = self.held.split_off(end);
            let taken = self.body(&rest)?;
            self.held.extend_from_slice(&rest[..taken]);
            self.cleared = self.held.len();
            return Ok(true);
        }
    }

    fn enter(&mut self, framing: Framing) {
        match framing {
            Framing::Length(length) => self.state = State::Length(length),
            Framing::Chunked => self.state = State::Chunked(Chunked::START),
            Framing::UntilClose => self.state = State::UntilClose,
            Framing::Tunnel => self.state = State::Tunnel,
        }
    }

    /// What came is in `buf` from `before` on: leaves there what hyper may see. `false`: nothing yet, read on.
    fn admit(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<bool> {
        match self.state {
            State::Tunnel | State::UntilClose => Ok(true),
            State::Length(_) | State::Chunked(_) => {
                let taken = self.body(&buf.filled()[before..])?;
                buf.set_filled(before + taken);
                Ok(true)
            }
            State::Idle => self.fail("bytes that nobody asked for"),
            State::Broken => self.fail("broken"),
            State::Head(asked) => {
                self.watch.answered.store(true, Ordering::Relaxed);
                let searched = self.held.len();
                // The usual case is one read with a whole final head: judged in place, nothing copied.
                if searched == 0
                    && let Some(end) = head::end(&buf.filled()[before..], 0)
                    && end <= head::MAX_HEAD
                    && let Ok(judged) = head::check(&buf.filled()[before..before + end], asked)
                    && (judged.status >= 200 || judged.status == 101)
                {
                    self.enter(judged.framing);
                    let taken = self.body(&buf.filled()[before + end..])?;
                    buf.set_filled(before + end + taken);
                    return Ok(true);
                }
                self.held.extend_from_slice(&buf.filled()[before..]);
                buf.set_filled(before);
                self.head(asked, searched)?;
                Ok(false)
            }
        }
    }
}

impl AsyncRead for GuardedIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 {
                let some = this.cleared.min(buf.remaining());
                buf.put_slice(&this.held[..some]);
                this.held.drain(..some);
                this.cleared -= some;
                if this.held.is_empty() {
                    this.held = Vec::new();
                }
                return Poll::Ready(Ok(()));
            }
            if matches!(this.state, State::Broken) {
                return Poll::Ready(this.fail("broken"));
            }
            let before = buf.filled().len();
            ready!(match &mut this.socket {
                Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
                Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            })?;
            if buf.filled().len() == before || this.admit(buf, before)? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl GuardedIo {
    /// The first write after arming begins a request: from here on the worker may answer.
    fn begin(&mut self) {
        if matches!(self.state, State::Idle) {
            let bits = self.watch.armed.swap(0, Ordering::Relaxed);
            if bits & ARMED != 0 {
                self.interim = 0;
                self.state = State::Head(Asked { head: bits & ASKED_HEAD != 0, upgrade: bits & ASKED_UPGRADE != 0 });
            }
        }
    }
}

impl AsyncWrite for GuardedIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.begin();
        match &mut this.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.begin();
        match &mut this.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
