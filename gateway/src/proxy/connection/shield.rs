//! The socket of one client: counts what leaves it, and closes it so that the last answer arrives.

use std::{
    cell::RefCell,
    io,
    os::fd::{AsRawFd, RawFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    Open,
    census::Place,
    crowd::Presence,
    watch::{Phase, Verdict, Watch},
};

/// Bytes read and forgotten after our close.
const LINGER_BYTES: usize = 256 * 1024;

thread_local! {
    /// Where reads land before anyone knows whose they are; one per core, so that an idle connection has none.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 * 1024].into_boxed_slice());
}

/// Reads at most `most` bytes and shows them to `take`. Zero bytes are the end.
pub(super) fn read_scratch<S: AsyncRead + Unpin>(
    io: &mut S,
    cx: &mut Context<'_>,
    most: usize,
    take: impl FnOnce(&[u8]),
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let most = most.min(scratch.len());
        let mut buffer = ReadBuf::new(&mut scratch[..most]);
        match ready!(Pin::new(io).poll_read(cx, &mut buffer)) {
            Ok(()) => {
                take(buffer.filled());
                Poll::Ready(Ok(buffer.filled().len()))
            }
            // TLS without a close_notify. Every message says where it ends, so that nothing is taken for whole.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
            Err(error) => Poll::Ready(Err(error)),
        }
    })
}

/// A client's socket, with its place in the census, and in its tenant's crowd where that is counted.
pub(super) struct Shield {
    socket: TcpStream,
    watch: Arc<Watch>,
    closed: bool,
    lingered: usize,
    _place: Place,
    presence: Option<Presence>,
    _open: Open,
}

impl Shield {
    pub(super) fn new(socket: TcpStream, watch: Arc<Watch>, place: Place, open: Open) -> Self {
        Self { socket, watch, closed: false, lingered: 0, _place: place, presence: None, _open: open }
    }

    /// It is one of its tenant's until it is closed.
    pub(super) fn belongs(&mut self, presence: Presence) {
        self.presence = Some(presence);
    }

    fn wrote(&self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Ready(Ok(bytes)) => {
                self.watch.count_sent(*bytes);
                self.watch.set_write_blocked(false);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                self.watch.set_write_blocked(true);
                self.watch_tunnel(cx);
            }
        }
        result
    }

    /// An upgraded connection has left the task that the watch knew.
    fn watch_tunnel(&self, cx: &Context<'_>) {
        if self.watch.phase() == Phase::Tunnel {
            self.watch.set_waker(cx.waker());
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.watch.verdict() == Verdict::Cut { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl AsRawFd for Shield {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsyncRead for Shield {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        let result = Pin::new(&mut self.socket).poll_read(cx, buf);
        if result.is_pending() {
            self.watch_tunnel(cx);
        }
        result
    }
}

impl AsyncWrite for Shield {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        let result = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.wrote(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.closed {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
            this.closed = true;
            if this.watch.lingers() {
                this.watch.set_phase(Phase::Linger);
            }
        }
        // Closing with bytes unread makes TCP send a reset, which overtakes the answer that was just written.
        while this.watch.lingers() && this.lingered < LINGER_BYTES {
            match ready!(read_scratch(&mut this.socket, cx, usize::MAX, |_| ())) {
                Ok(0) | Err(_) => break,
                Ok(bytes) => this.lingered += bytes,
            }
        }
        Poll::Ready(Ok(()))
    }
}
