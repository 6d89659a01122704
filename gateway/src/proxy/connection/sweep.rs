//! One look at every connection of a core, a few times a second: all deadlines are kept here, and no request has a
//! timer of its own.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::{Rc, Weak},
    sync::{Arc, Weak as Remote},
    time::{Duration, Instant},
};

use super::{
    events,
    stream::StreamWatch,
    watch::{Phase, Verdict, Watch, milliseconds},
};
use crate::model::HttpLimits;

/// How long a closed connection's last bytes are waited for.
const LINGER: Duration = Duration::from_secs(2);
/// Between two looks, where no limit asks for more.
const TICK: Duration = Duration::from_millis(250);

/// The connections and streams of one core.
pub(super) struct Sweep {
    limits: HttpLimits,
    tick: Duration,
    connections: RefCell<Vec<Watching>>,
    streams: RefCell<Vec<Weak<StreamWatch>>>,
    last: Cell<Instant>,
}

/// A connection and what was seen of it at the last look.
struct Watching {
    watch: Remote<Watch>,
    serial: u32,
    since: Instant,
    received: u64,
    sent: u64,
    body: Pace,
    stalled: Duration,
}

/// How a body comes along, while it is waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    quiet: Duration,
    window: Duration,
    bytes: u64,
}

impl Pace {
    /// One look later, all of it spent waiting for the client: is it too slow?
    pub(super) fn is_slow(&mut self, bytes: u64, waited: Duration, limits: &HttpLimits) -> bool {
        self.quiet = if bytes == 0 { self.quiet + waited } else { Duration::ZERO };
        self.window += waited;
        self.bytes += bytes;
        if self.quiet >= limits.body_timeout {
            return true;
        }
        if self.window >= limits.body_timeout {
            let least = u64::from(limits.body_rate) * limits.body_timeout.as_millis() as u64 / 1000;
            let slow = self.bytes < least;
            *self = Self { quiet: self.quiet, ..Self::default() };
            return slow;
        }
        false
    }
}

impl Sweep {
    pub(super) fn new(limits: HttpLimits) -> Rc<Self> {
        let shortest = [limits.handshake_timeout, limits.header_timeout, limits.body_timeout, limits.write_timeout]
            .into_iter()
            .chain([limits.idle_timeout])
            .fold(Duration::MAX, Duration::min);
        let tick = TICK.min(shortest / 8).max(Duration::from_millis(5));
        Rc::new(Self {
            limits,
            tick,
            connections: RefCell::default(),
            streams: RefCell::default(),
            last: Cell::new(Instant::now()),
        })
    }

    /// Looks until the core ends.
    pub(super) async fn run(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(self.tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look(Instant::now());
        }
    }

    /// A connection that was just accepted.
    pub(super) fn add(&self, watch: &Arc<Watch>) {
        self.connections.borrow_mut().push(Watching {
            watch: Arc::downgrade(watch),
            serial: watch.serial(),
            since: Instant::now(),
            received: 0,
            sent: 0,
            body: Pace::default(),
            stalled: Duration::ZERO,
        });
    }

    /// A stream that was just opened.
    pub(super) fn add_stream(&self, stream: &Rc<StreamWatch>) {
        self.streams.borrow_mut().push(Rc::downgrade(stream));
    }

    /// Tells every connection the same.
    pub(super) fn judge_all(&self, verdict: Verdict) {
        self.each(|watch| watch.judge(verdict));
    }

    /// Has every connection look at what it shares with its core.
    pub(super) fn wake_all(&self) {
        self.each(Watch::wake);
    }

    fn each(&self, act: impl Fn(&Watch)) {
        // A waker may run anything; nothing is borrowed meanwhile.
        let all: Vec<_> = self.connections.borrow().iter().filter_map(|c| c.watch.upgrade()).collect();
        for watch in all {
            act(&watch);
        }
    }

    /// Closes the connection of this core that has been idle for longest. `false`: none is idle.
    pub(super) fn close_oldest_idle(&self) -> bool {
        self.close_first(None, |watch| watch.phase().is_idle().then_some(0))
    }

    /// Closes the connection of this core, and of this client if one is named, that has waited on its client for longest:
    /// an idle one, else one that has not got as far as a request. `false`: there is none.
    pub(super) fn close_oldest(&self, of: Option<IpAddr>) -> bool {
        self.close_first(of, |watch| match watch.phase() {
            phase if phase.is_idle() => Some(0),
            Phase::Handshake | Phase::Head => Some(1),
            _ => None,
        })
    }

    fn close_first(&self, of: Option<IpAddr>, rank: impl Fn(&Watch) -> Option<u8>) -> bool {
        let connections = self.connections.borrow();
        let oldest = connections
            .iter()
            .filter_map(|c| c.watch.upgrade())
            .filter(|w| w.verdict() == Verdict::Fine && w.streams() == 0 && of.is_none_or(|of| w.client() == of))
            // Not by the last look: what was busy a moment ago is not the oldest.
            .filter_map(|w| Some((rank(&w)?, w.last_moment(), w)))
            .min_by_key(|(rank, moment, _)| (*rank, *moment));
        drop(connections);
        oldest.map(|(_, _, watch)| watch.judge(Verdict::Cut)).is_some()
    }

    fn look(&self, now: Instant) {
        let spent = now.saturating_duration_since(self.last.replace(now));
        self.connections.borrow_mut().retain_mut(|connection| match connection.watch.upgrade() {
            Some(watch) => {
                connection.look(&watch, now, spent, &self.limits, self.tick);
                true
            }
            None => false,
        });
        self.streams.borrow_mut().retain(|stream| match stream.upgrade() {
            Some(stream) => {
                stream.look(spent, &self.limits);
                true
            }
            None => false,
        });
    }
}

impl Watching {
    fn look(&mut self, watch: &Watch, now: Instant, spent: Duration, limits: &HttpLimits, tick: Duration) {
        let before = now - spent;
        let (received, sent) = (watch.received(), watch.sent());
        if watch.serial() != self.serial {
            // It began after the last look: count from there, so that nobody ever has longer than the limit.
            self.serial = watch.serial();
            self.since = self.since.max(before);
            self.body = Pace::default();
        }
        let phase = watch.phase();
        if watch.streams() > 0 && matches!(phase, Phase::Busy | Phase::Idle) {
            self.since = now;
        }
        watch.set_since(milliseconds(self.since));
        let lasted = now.saturating_duration_since(self.since) + tick;
        match phase {
            Phase::Handshake if lasted >= limits.handshake_timeout => {
                events::slow("handshake", lasted);
                watch.judge(Verdict::Cut);
            }
            // A first request that never begins is no error of anybody's: browsers open connections in advance.
            Phase::Fresh if lasted >= limits.header_timeout => watch.judge(Verdict::Idle),
            Phase::Head if lasted >= limits.header_timeout => {
                events::slow("head", lasted);
                watch.judge(Verdict::HeadSlow);
            }
            Phase::Idle if watch.streams() == 0 && lasted >= limits.idle_timeout => watch.judge(Verdict::Idle),
            Phase::Body
                if watch.is_waiting() && self.body.is_slow(received.wrapping_sub(self.received), spent, limits) =>
            {
                events::slow("body", limits.body_timeout);
                watch.judge(Verdict::BodySlow);
            }
            Phase::Linger if lasted >= LINGER => watch.judge(Verdict::Cut),
            _ => {}
        }
        self.stalled =
            if watch.is_write_blocked() && sent == self.sent { self.stalled + spent } else { Duration::ZERO };
        if self.stalled >= limits.write_timeout {
            events::slow("write", self.stalled);
            watch.judge(Verdict::Cut);
        }
        (self.received, self.sent) = (received, sent);
    }
}
