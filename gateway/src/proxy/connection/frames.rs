//! Reads the frame headers of HTTP/2 (RFC 9113 §4.1) on their way in: floods are cut off before h2 works on them, and the
//! sweep learns what is half there.

use std::{
    cell::Cell,
    io,
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    events,
    goodbye::{Goodbye, UNKNOWN},
    shield::read_scratch,
    watch::{Phase, Watch},
};

const PREFACE: usize = 24;
/// From the type in a frame's header to its end.
const TYPE_TO_PAYLOAD: usize = 6;

/// Streams that a client may give up before their answers ended, beyond those that completed.
pub(super) const RESETS: u32 = 80;
/// CONTINUATION frames of one header block: 32 KiB need two.
const CONTINUATIONS: u32 = 8;
/// Frames of one kind in a period, where nothing that we sent accounts for them.
const PINGS: u32 = 200;
const SETTINGS: u32 = 50;
const EMPTY_DATA: u32 = 200;
const PRIORITIES: u32 = 1000;
const WINDOW_UPDATES: u32 = 1000;
const OTHERS: u32 = 1000;

/// What the scanner and the streams of one connection tell each other.
#[derive(Debug)]
pub(super) struct Traffic {
    /// Resets that the client has left.
    resets: Cell<u32>,
    /// DATA frames that we sent in this period: each may be answered by two window updates.
    sent: Cell<u32>,
    flood: Cell<bool>,
    pub(super) goodbye: Goodbye,
}

impl Traffic {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            resets: Cell::new(RESETS),
            sent: Cell::new(0),
            flood: Cell::new(false),
            goodbye: Goodbye::default(),
        })
    }

    /// A stream has ended as it should.
    pub(super) fn completed(&self) {
        self.resets.set((self.resets.get() + 1).min(RESETS));
    }

    /// So many bytes of DATA are on their way out.
    pub(super) fn sent(&self, bytes: usize) {
        let frames = u32::try_from(bytes / 16_384).unwrap_or(u32::MAX).saturating_add(1);
        self.sent.set(self.sent.get().saturating_add(frames));
    }

    /// The client has sent too much of something: tell it to calm down.
    pub(super) fn is_flood(&self) -> bool {
        self.flood.get()
    }
}

/// Frames counted in one period.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    pings: u32,
    settings: u32,
    empty_data: u32,
    priorities: u32,
    window_updates: u32,
    others: u32,
}

/// Where in the frames we are, fed with every byte once.
#[derive(Debug)]
pub(super) struct Scanner {
    preface: usize,
    header: [u8; 9],
    header_len: usize,
    payload: usize,
    kind: u8,
    /// A header block is open: HEADERS without END_HEADERS, and so many CONTINUATIONs since.
    block: Option<u32>,
    /// Something other than DATA began since the sweep was told what we wait for.
    renewed: bool,
    /// Where in the bytes at hand the types of frames are that nobody is to understand.
    hidden: Vec<usize>,
    counts: Counts,
    traffic: Rc<Traffic>,
}

/// Too much of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flood {
    kind: &'static str,
    frames: u32,
}

impl Scanner {
    pub(super) fn new(traffic: Rc<Traffic>) -> Self {
        Self {
            preface: PREFACE,
            header: [0; 9],
            header_len: 0,
            payload: 0,
            kind: 0,
            block: None,
            renewed: false,
            hidden: Vec::new(),
            counts: Counts::default(),
            traffic,
        }
    }

    /// Another period begins.
    fn renew(&mut self) {
        self.counts = Counts::default();
        self.traffic.sent.set(0);
    }

    /// How many of `bytes` may pass before a flood, if there is one.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Result<(), (usize, Flood)> {
        let mut at = 0;
        while at < bytes.len() {
            let left = bytes.len() - at;
            if self.preface > 0 {
                let run = self.preface.min(left);
                self.preface -= run;
                at += run;
            } else if self.payload > 0 {
                let run = self.payload.min(left);
                self.payload -= run;
                self.traffic.goodbye.payload(&bytes[at..at + run]);
                at += run;
            } else {
                let run = (9 - self.header_len).min(left);
                self.header[self.header_len..self.header_len + run].copy_from_slice(&bytes[at..at + run]);
                self.header_len += run;
                at += run;
                if self.header_len == 9 {
                    self.header_len = 0;
                    self.frame().map_err(|flood| (at, flood))?;
                    // One whose type has passed already is not kept: it is no worse than what every other server does.
                    let ping_answer = self.kind == 6 && self.header[4] & 1 != 0 && self.payload == 8;
                    if ping_answer && at >= TYPE_TO_PAYLOAD && self.traffic.goodbye.answer() {
                        self.hidden.push(at - TYPE_TO_PAYLOAD);
                    }
                }
            }
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<(), Flood> {
        let [a, b, c, kind, flags, ..] = self.header;
        self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.kind = kind;
        self.renewed |= kind != 0 && self.block.is_none();
        let counts = &mut self.counts;
        match kind {
            0 if self.payload == 0 && flags & 1 == 0 => count(&mut counts.empty_data, EMPTY_DATA, "empty_data"),
            0 => Ok(()),
            1 => {
                self.block = (flags & 4 == 0).then_some(0);
                Ok(())
            }
            2 => count(&mut counts.priorities, PRIORITIES, "priority"),
            3 => match self.traffic.resets.get().checked_sub(1) {
                Some(left) => {
                    self.traffic.resets.set(left);
                    Ok(())
                }
                None => Err(Flood { kind: "reset", frames: RESETS }),
            },
            4 => count(&mut counts.settings, SETTINGS, "settings"),
            6 => count(&mut counts.pings, PINGS, "ping"),
            8 => {
                let most = WINDOW_UPDATES.saturating_add(self.traffic.sent.get().saturating_mul(4));
                count(&mut counts.window_updates, most, "window_update")
            }
            9 => {
                let mut frames = self.block.unwrap_or(0);
                let counted = count(&mut frames, CONTINUATIONS, "continuation");
                self.block = (flags & 4 == 0).then_some(frames);
                counted
            }
            _ => count(&mut counts.others, OTHERS, "other"),
        }
    }

    /// No frame is half there.
    fn is_between_frames(&self) -> bool {
        self.phase() == Phase::Idle
    }

    /// What the client owes us, if it has begun something.
    fn phase(&self) -> Phase {
        if self.preface > 0 {
            Phase::Fresh
        } else if self.block.is_some() {
            Phase::Head
        } else if self.payload > 0 {
            if self.kind == 0 { Phase::Body } else { Phase::Head }
        } else if self.header_len > 0 {
            Phase::Head
        } else {
            Phase::Idle
        }
    }
}

fn count(counter: &mut u32, most: u32, kind: &'static str) -> Result<(), Flood> {
    *counter += 1;
    if *counter > most { Err(Flood { kind, frames: *counter }) } else { Ok(()) }
}

/// A decrypted HTTP/2 connection whose floods end here.
pub(super) struct Frames<S> {
    io: S,
    scanner: Scanner,
    watch: Arc<Watch>,
    client: IpAddr,
    period: std::time::Instant,
    /// To be shown next, between two frames of the client.
    put_in: Vec<u8>,
}

/// Over which the frames of one kind are counted.
const PERIOD: std::time::Duration = std::time::Duration::from_secs(10);

impl<S> Frames<S> {
    pub(super) fn new(io: S, watch: Arc<Watch>, client: IpAddr, traffic: Rc<Traffic>) -> Self {
        Self {
            io,
            scanner: Scanner::new(traffic),
            watch,
            client,
            period: std::time::Instant::now(),
            put_in: Vec::new(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { io, scanner, watch, client, period, put_in } = self.get_mut();
        // After a flood nothing more is read: the connection is told so, and closed by our side.
        if scanner.traffic.is_flood() {
            return Poll::Pending;
        }
        if scanner.is_between_frames()
            && let Some(frame) = scanner.traffic.goodbye.take()
        {
            *put_in = frame.to_vec();
        }
        if !put_in.is_empty() {
            let count = put_in.len().min(buf.remaining());
            buf.put_slice(&put_in[..count]);
            put_in.drain(..count);
            return Poll::Ready(Ok(()));
        }
        let mut flood = None;
        let start = buf.filled().len();
        let read = read_scratch(io, cx, buf.remaining(), |bytes| {
            if period.elapsed() >= PERIOD {
                *period = std::time::Instant::now();
                scanner.renew();
            }
            match scanner.scan(bytes) {
                Ok(()) => buf.put_slice(bytes),
                Err((good, cause)) => {
                    // The frame's header that broke the limit is not shown either.
                    buf.put_slice(&bytes[..good.saturating_sub(9)]);
                    flood = Some(cause);
                }
            }
        });
        for at in scanner.hidden.drain(..) {
            if let Some(kind) = buf.filled_mut().get_mut(start + at) {
                *kind = UNKNOWN;
            }
        }
        if let Some(flood) = flood {
            events::flood(*client, flood.kind, flood.frames.into());
            scanner.traffic.flood.set(true);
            watch.set_linger();
            if buf.filled().is_empty() {
                return Poll::Pending;
            }
        }
        if read.is_pending() {
            let phase = scanner.phase();
            if std::mem::take(&mut scanner.renewed) && phase == Phase::Head {
                watch.next_serial();
            }
            watch.waits(phase);
        } else {
            watch.moved();
        }
        let bytes = ready!(read)?;
        watch.count_received(bytes);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
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
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
