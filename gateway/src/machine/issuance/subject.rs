//! One subject: its certificate, what DNS says of it, and what is under way for it.

use jiff::{SignedDuration, Timestamp};

use super::{
    Facts, Memory,
    span::{HOUR, MINUTE, SECOND, later},
};
use crate::{
    machine::backoff::SplitMix64,
    model::{Finding, Subject},
};

/// What was seen is believed this long.
const FRESH: SignedDuration = SignedDuration::from_mins(10);
/// A look that cannot see forbids nothing after this long: the authority may see more.
const BLIND: SignedDuration = SignedDuration::from_mins(10);
/// A look that was not answered by now is not going to be.
const LOST: SignedDuration = SignedDuration::from_mins(2);

/// One subject.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) subject: Subject,
    /// Its registered domain, where a limit goes by that.
    pub(super) registered: Option<String>,
    pub(super) wanted: bool,
    /// First come, first served: when it was wanted, or failed last.
    pub(super) since: Timestamp,
    pub(super) facts: Option<Facts>,
    pub(super) memory: Memory,
    pub(super) dns: Dns,
    /// An order is under way; `Some(true)`: and given up.
    pub(super) order: Option<bool>,
    /// The certificate whose renewal was asked about.
    pub(super) asked: Option<String>,
    /// The authority was not there for this one.
    pub(super) unreachable_at: Option<Timestamp>,
    /// Where it is listed.
    pub(super) place: Place,
    /// What the log was told of last.
    pub(super) said: Said,
}

/// What DNS says.
#[derive(Clone, Debug, Default)]
pub(super) struct Dns {
    /// What was seen, and when.
    pub(super) found: Option<(Timestamp, Finding)>,
    /// A look is under way.
    pub(super) looking: Option<Timestamp>,
    /// When to look again.
    pub(super) next: Option<Timestamp>,
    /// It is not as it must be since.
    pub(super) missing: Option<Timestamp>,
    /// It cannot be looked up since.
    pub(super) blind: Option<Timestamp>,
}

/// What the log was told of last.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// What is missing.
    pub(super) missing: Option<String>,
    /// Until when a limit is in the way.
    pub(super) limited: Option<Timestamp>,
    /// That it expires.
    pub(super) expiring: bool,
}

/// Where a subject is listed: in one list at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing is to be done.
    Nowhere,
    /// To be looked at again at this moment.
    Agenda(Timestamp),
    /// Waits for its turn to ask or to look.
    Chore(Timestamp),
    /// Waits for its turn to be ordered.
    Queue(Rank),
}

/// Its turn: the kind of order first, then the most urgent one.
pub(super) type Rank = (Class, Timestamp);

/// Kinds of orders, the first to go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Placed already.
    Going,
    /// A renewal that the authority does not count.
    Exempt,
    /// A renewal.
    Renewal,
    /// The zone's first one.
    Zone,
    /// A custom domain's first one.
    First,
}

/// Whether DNS lets an order go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    Go,
    Look,
    Wait(Timestamp),
}

impl Entry {
    pub(super) fn new(subject: Subject, now: Timestamp) -> Self {
        let registered = psl::domain_str(subject.host().as_str()).map(str::to_owned);
        Self {
            subject,
            registered,
            wanted: false,
            since: now,
            facts: None,
            memory: Memory::default(),
            dns: Dns::default(),
            order: None,
            asked: None,
            unreachable_at: None,
            place: Place::Nowhere,
            said: Said::default(),
        }
    }

    /// From when on it is to be ordered.
    pub(super) fn due(&self) -> Timestamp {
        match &self.facts {
            Some(facts) if !self.memory.placed && !self.memory.renew => self.renewal(facts),
            _ => Timestamp::MIN,
        }
    }

    /// When it is to be renewed.
    pub(super) fn renewal(&self, facts: &Facts) -> Timestamp {
        facts.renewal(&self.subject, self.memory.window.as_ref())
    }

    /// The certificate to name as replaced: of an authority that has renewal information, and answered for this one.
    pub(super) fn replaces(&self) -> Option<String> {
        let id = self.facts.as_ref()?.renewal_id.as_ref()?;
        let known = self.memory.window.as_ref().is_some_and(|window| window.certificate == *id);
        (known && self.memory.replaced.as_ref() != Some(id)).then(|| id.clone())
    }

    pub(super) fn rank(&self) -> Rank {
        let (class, since) = match &self.facts {
            _ if self.memory.placed => (Class::Going, self.since),
            Some(facts) if self.replaces().is_some() => (Class::Exempt, facts.not_after),
            Some(facts) => (Class::Renewal, facts.not_after),
            None if matches!(self.subject, Subject::Zone(_)) => (Class::Zone, self.since),
            None => (Class::First, self.since),
        };
        // Somebody waits for it.
        (class, if self.memory.renew { Timestamp::MIN } else { since })
    }

    /// When the authority is to be asked about its renewal. Not after its end (RFC 9773 section 4.3.1).
    pub(super) fn ask_at(&self, now: Timestamp) -> Option<Timestamp> {
        let facts = self.facts.as_ref()?;
        facts.renewal_id.as_ref()?;
        (facts.left(now).is_positive() && self.order.is_none()).then(|| self.memory.ask_at.unwrap_or(Timestamp::MIN))
    }

    /// The moments at which the certificate's age alone changes what is done.
    pub(super) fn ages(&self) -> impl Iterator<Item = Timestamp> {
        let ages = |facts: &Facts| [facts.alarm_at(), facts.with_left(6), facts.with_left(12), facts.not_after];
        self.facts.as_ref().map(ages).into_iter().flatten()
    }

    /// Whether DNS lets it go.
    pub(super) fn sight(&self, now: Timestamp) -> Sight {
        if matches!(self.subject, Subject::Zone(_)) || self.memory.placed {
            return Sight::Go;
        }
        if let Some(since) = self.dns.looking {
            return Sight::Wait(later(since, LOST));
        }
        let urgent = |facts: &Facts| facts.left(now) < facts.life() / 6 && !facts.is_given_up(now);
        let goes = match &self.dns.found {
            Some((at, _)) if now.duration_since(*at) >= FRESH => false,
            Some((_, Finding::Ready(_))) => true,
            Some((_, Finding::Missing(_))) => self.facts.as_ref().is_some_and(urgent),
            Some((_, Finding::Unknown(_))) => {
                self.dns.blind.is_some_and(|since| now.duration_since(since) >= BLIND)
                    || self.facts.as_ref().is_some_and(urgent)
            }
            None => false,
        };
        match self.dns.next.filter(|next| *next > now) {
            _ if goes => Sight::Go,
            Some(next) => Sight::Wait(next),
            None => Sight::Look,
        }
    }

    /// A look that the role has lost.
    pub(super) fn is_look_lost(&self, now: Timestamp) -> bool {
        self.dns.looking.is_some_and(|since| now.duration_since(since) >= LOST)
    }

    /// As [`Memory::shift`].
    pub(super) fn shift(&mut self, by: SignedDuration) {
        self.memory.shift(by);
        let dns = &mut self.dns;
        let looks = [&mut dns.looking, &mut dns.next, &mut dns.missing, &mut dns.blind];
        let more = [&mut self.unreachable_at, &mut self.said.limited];
        let moments = looks.into_iter().chain(more).flatten().chain(dns.found.iter_mut().map(|(at, _)| at));
        for moment in moments.chain([&mut self.since]) {
            *moment = later(*moment, by);
        }
    }
}

impl Dns {
    /// Takes note of what was seen.
    pub(super) fn saw(&mut self, finding: Finding, random: &mut SplitMix64, now: Timestamp) {
        self.looking = None;
        match &finding {
            Finding::Ready(_) => (self.missing, self.blind, self.next) = (None, None, None),
            Finding::Missing(_) => {
                self.blind = None;
                let since = *self.missing.get_or_insert(now);
                self.next = Some(later(now, look_again(now.duration_since(since), random)));
            }
            Finding::Unknown(_) => {
                self.blind.get_or_insert(now);
                self.next = Some(later(now, MINUTE));
            }
        }
        self.found = Some((now, finding));
    }
}

/// Somebody waits at first; later, nobody does.
fn look_again(missing: SignedDuration, random: &mut SplitMix64) -> SignedDuration {
    if missing < MINUTE * 10 {
        SECOND * 10
    } else if missing < HOUR {
        MINUTE
    } else {
        jittered(MINUTE * 5, random)
    }
}

/// Between 80 % and 120 %, so that what fell together does not rise together.
pub(super) fn jittered(plain: SignedDuration, random: &mut SplitMix64) -> SignedDuration {
    let thousandths = 800 + i32::try_from(random.below(401)).unwrap_or(200);
    plain / 1000 * thousandths
}
