//! What the sweep looks at: where a connection is, and whether its client is keeping it waiting.
//!
//! The connection's own code only sets flags and counts bytes; it reads no clock after its beginning. All time is the sweep's.

use std::{
    cell::Cell,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use super::census;

/// As [`Watch::since`] has it.
pub(super) fn milliseconds(at: Instant) -> u64 {
    at.saturating_duration_since(*START).as_millis() as u64
}

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// The end of the TLS handshake, from accept on.
    Handshake,
    /// The first byte of the first request, or the rest of the HTTP/2 preface.
    Fresh,
    /// The next request, on a connection that has had one.
    Idle,
    /// The rest of a request's head.
    Head,
    /// More of a request's body.
    Body,
    /// Nothing of the client: an answer is on its way.
    Busy,
    /// The other side's close, after ours.
    Linger,
    /// Bytes of an upgraded connection.
    Tunnel,
}

impl Phase {
    /// Nothing is asked or answered.
    pub(super) fn is_idle(self) -> bool {
        matches!(self, Self::Idle | Self::Fresh | Self::Linger)
    }
}

/// What the sweep found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Verdict {
    /// Nothing.
    Fine,
    /// The head took too long: 408.
    HeadSlow,
    /// The body came too slowly: 408.
    BodySlow,
    /// Idle for too long, or wanted for someone else: close in good order.
    Idle,
    /// End it, whatever it is at.
    Cut,
}

thread_local! {
    /// A core's moments: they order what its connections did between two looks of the sweep, without a clock.
    static MOMENT: Cell<u64> = const { Cell::new(0) };
}

/// The process' beginning, or nearly: what [`Watch::since`] counts from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn next_moment() -> u64 {
    MOMENT.replace(MOMENT.get() + 1)
}

/// One connection, as the sweep sees it. Atomic because an upgraded connection's halves must be `Send`, and because another
/// core may look whether it is idle, and end it, to make room for another of the same address. All else is its own core's.
#[derive(Debug)]
pub(super) struct Watch {
    /// Whose share of connections it counts to.
    client: IpAddr,
    phase: AtomicU8,
    /// Grows with every head, so that the next one is not taken for the last one.
    serial: AtomicU32,
    /// When it last changed its phase or ended a stream, in [`MOMENT`]s.
    moment: AtomicU64,
    /// Grows with every poll of the connection's task.
    turn: AtomicU32,
    /// The turn in which the client's bytes were last wanted and not there.
    waited: AtomicU32,
    received: AtomicU64,
    sent: AtomicU64,
    write_blocked: AtomicBool,
    /// Open HTTP/2 streams.
    streams: AtomicU32,
    linger: AtomicBool,
    /// The last look of the sweep at which it was seen to have done something, in milliseconds of this process.
    since: AtomicU64,
    verdict: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Watch {
    /// Just accepted, from this client.
    pub(super) fn new(client: IpAddr) -> Arc<Self> {
        Arc::new(Self {
            client: census::who(client),
            phase: AtomicU8::new(Phase::Handshake as u8),
            serial: AtomicU32::new(0),
            moment: AtomicU64::new(next_moment()),
            turn: AtomicU32::new(0),
            waited: AtomicU32::new(u32::MAX),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            write_blocked: AtomicBool::new(false),
            streams: AtomicU32::new(0),
            linger: AtomicBool::new(false),
            since: AtomicU64::new(milliseconds(Instant::now())),
            verdict: AtomicU8::new(Verdict::Fine as u8),
            waker: Mutex::new(None),
        })
    }

    pub(super) fn client(&self) -> IpAddr {
        self.client
    }

    pub(super) fn phase(&self) -> Phase {
        const ALL: [Phase; 8] = [
            Phase::Handshake,
            Phase::Fresh,
            Phase::Idle,
            Phase::Head,
            Phase::Body,
            Phase::Busy,
            Phase::Linger,
            Phase::Tunnel,
        ];
        ALL[self.phase.load(Relaxed) as usize]
    }

    /// Enters a phase. A linger is left by nothing but the end.
    pub(super) fn set_phase(&self, phase: Phase) {
        let before = self.phase();
        if before != phase && before != Phase::Linger {
            self.phase.store(phase as u8, Relaxed);
            self.moment.store(next_moment(), Relaxed);
            self.serial.store(self.serial.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    /// Another head begins, though the phase may be the same.
    pub(super) fn next_serial(&self) {
        self.serial.store(self.serial.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub(super) fn serial(&self) -> u32 {
        self.serial.load(Relaxed)
    }

    /// The client's bytes are wanted and not there.
    pub(super) fn waits(&self, phase: Phase) {
        self.set_phase(phase);
        self.waited.store(self.turn.load(Relaxed), Relaxed);
    }

    /// Whether the last thing that the connection's task did was to wait for the client's bytes.
    pub(super) fn is_waiting(&self) -> bool {
        self.waited.load(Relaxed) == self.turn.load(Relaxed)
    }

    pub(super) fn count_received(&self, bytes: usize) {
        self.received.store(self.received.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    pub(super) fn count_sent(&self, bytes: usize) {
        self.sent.store(self.sent.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    pub(super) fn set_write_blocked(&self, blocked: bool) {
        self.write_blocked.store(blocked, Relaxed);
    }

    pub(super) fn is_write_blocked(&self) -> bool {
        self.write_blocked.load(Relaxed)
    }

    pub(super) fn add_stream(&self) {
        self.streams.store(self.streams.load(Relaxed) + 1, Relaxed);
    }

    pub(super) fn end_stream(&self) {
        self.streams.store(self.streams.load(Relaxed).saturating_sub(1), Relaxed);
        self.moment.store(next_moment(), Relaxed);
    }

    /// When it last did anything: of two connections of a core, the one with the lesser moment has been idle for longer.
    pub(super) fn last_moment(&self) -> u64 {
        self.moment.load(Relaxed)
    }

    pub(super) fn streams(&self) -> u32 {
        self.streams.load(Relaxed)
    }

    /// After our close, read and forget for a moment what the client is still sending, so that its TCP does not throw
    /// our answer away.
    pub(super) fn set_linger(&self) {
        self.linger.store(true, Relaxed);
    }

    pub(super) fn lingers(&self) -> bool {
        self.linger.load(Relaxed)
    }

    pub(super) fn verdict(&self) -> Verdict {
        const ALL: [Verdict; 5] = [Verdict::Fine, Verdict::HeadSlow, Verdict::BodySlow, Verdict::Idle, Verdict::Cut];
        ALL[self.verdict.load(Relaxed) as usize]
    }

    /// Since when nothing has happened on it, as exactly as the sweep looks: of two connections of any cores, the lesser has
    /// been idle for longer.
    pub(super) fn since(&self) -> u64 {
        self.since.load(Relaxed)
    }

    pub(super) fn set_since(&self, since: u64) {
        self.since.store(since, Relaxed);
    }

    /// Nobody asks anything on it, and nobody has told it to end.
    pub(super) fn is_idle(&self) -> bool {
        self.verdict() == Verdict::Fine && self.streams() == 0 && self.phase().is_idle()
    }

    /// Tells the connection, and wakes it. A cut stays a cut.
    pub(super) fn judge(&self, verdict: Verdict) {
        self.replace_verdict(verdict);
        self.wake();
    }

    /// Unless it is a cut, which another core may say at any time.
    fn replace_verdict(&self, new: Verdict) {
        let seen = self.verdict();
        if seen != Verdict::Cut && seen != new {
            let replaced = self.verdict.compare_exchange(seen as u8, new as u8, Relaxed, Relaxed);
            if replaced.is_err() && new == Verdict::Cut {
                self.verdict.store(Verdict::Cut as u8, Relaxed);
            }
        }
    }

    /// Bytes came: it is not idle. That it was slow stays true until what it was slow with is complete.
    pub(super) fn moved(&self) {
        if self.verdict() == Verdict::Idle {
            self.acquit();
        }
    }

    /// What was found has been dealt with, or has come in time after all.
    pub(super) fn acquit(&self) {
        self.replace_verdict(Verdict::Fine);
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Whom to wake.
    pub(super) fn set_waker(&self, new: &Waker) {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !waker.as_ref().is_some_and(|old| old.will_wake(new)) {
            *waker = Some(new.clone());
        }
    }
}

/// A connection's whole work, ended at once by [`Verdict::Cut`].
pub(super) struct Watched<F> {
    work: Pin<Box<F>>,
    watch: Arc<Watch>,
    known: bool,
}

impl<F: Future<Output = ()>> Watched<F> {
    pub(super) fn new(watch: Arc<Watch>, work: F) -> Self {
        Self { work: Box::pin(work), watch, known: false }
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if !this.known {
            this.watch.set_waker(cx.waker());
            this.known = true;
        }
        this.watch.turn.store(this.watch.turn.load(Relaxed).wrapping_add(1), Relaxed);
        if this.watch.verdict() == Verdict::Cut {
            return Poll::Ready(());
        }
        this.work.as_mut().poll(cx)
    }
}
