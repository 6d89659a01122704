//! Who is put to sleep and who is woken: by how long nobody has used a tenant, and by how many may be awake at once.
//!
//! What each tenant is doing is told with every look; all that is remembered in between is what was asked and who is
//! called. Nobody who is used is ever put to sleep, and a visitor never waits for long: `max` gives way before they do.

use std::time::Duration;

use super::Now;
use crate::model::GenerationId;

/// A visitor waits so long for somebody else's worker to make room; then the house is fuller than it is to be.
const PATIENCE: Duration = Duration::from_secs(2);
/// A question that is not answered by then was asked of a proxy that is gone.
const UNANSWERED: Duration = Duration::from_secs(15);
/// A worker that has something to do is not asked again before.
const VETO_LEAST: Duration = Duration::from_secs(10);

/// What a tenant is doing, and what its settings say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guest {
    /// It sleeps when nobody has used it for so long; `None`: never.
    pub after: Option<Duration>,
    /// It is asked before.
    pub asks: bool,
    /// Where it is.
    pub place: Place,
}

/// Where a tenant is between sleeping and waking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is not to run (stopped, suspended, removed), and nothing of it does.
    Away,
    /// It was put to sleep and takes no room.
    Asleep,
    /// It is to run no more, and something of it does still.
    Leaving,
    /// It is wanted and not settled: starting, in the middle of a deploy, waiting to be restarted.
    Coming,
    /// It serves, and nothing is under way.
    Serving {
        /// By this generation.
        generation: GenerationId,
        /// Nobody has used it since then; `None`: somebody does, or nobody knows.
        quiet: Option<Now>,
    },
}

impl Place {
    /// Whether it takes a place of `max`.
    fn takes_room(self) -> bool {
        !matches!(self, Place::Away | Place::Asleep)
    }
}

/// What is remembered of a tenant from look to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sleeper {
    question: Question,
    call: Option<Call>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Question {
    #[default]
    None,
    Asked {
        generation: GenerationId,
        at: Now,
    },
    Granted {
        generation: GenerationId,
    },
    Vetoed {
        until: Now,
    },
}

/// It is to wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    since: Now,
    /// Somebody waits for it.
    urgent: bool,
}

/// What is to be done about a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Put it to sleep.
    Sleep,
    /// Ask this generation's worker whether it may sleep; answer with [`Sleeper::answered`].
    Ask(GenerationId),
    /// Start it.
    Wake,
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
pub struct Outlook<K> {
    /// To be done now.
    pub decisions: Vec<(K, Decision)>,
    /// When to look again although nothing happens.
    pub again: Option<Now>,
}

impl Sleeper {
    /// It is to wake; `urgent`: somebody waits for it. Of no meaning for one that is awake.
    pub fn call(&mut self, urgent: bool, now: Now) {
        let call = self.call.get_or_insert(Call { since: now, urgent });
        if urgent && !call.urgent {
            *call = Call { since: now, urgent };
        }
    }

    /// Whether it is called and not woken yet.
    pub fn is_called(&self) -> bool {
        self.call.is_some()
    }

    /// Answer to [`Decision::Ask`]. After a veto it is asked again when a quarter of `after` is over.
    pub fn answered(&mut self, generation: GenerationId, veto: bool, after: Option<Duration>, now: Now) {
        if !matches!(self.question, Question::Asked { generation: asked, .. } if asked == generation) {
            return;
        }
        self.question = if veto {
            Question::Vetoed { until: now + (after.unwrap_or_default() / 4).max(VETO_LEAST) }
        } else {
            Question::Granted { generation }
        };
    }

    /// Forgets what the present does not bear out any more.
    fn refresh(&mut self, place: Place, now: Now) {
        if matches!(place, Place::Away | Place::Coming | Place::Serving { .. }) {
            self.call = None;
        }
        let of = match place {
            Place::Serving { generation, quiet: Some(_) } => Some(generation),
            _ => None,
        };
        match self.question {
            Question::Asked { generation, at } if of != Some(generation) || at + UNANSWERED <= now => {
                self.question = Question::None;
            }
            Question::Granted { generation } if of != Some(generation) => self.question = Question::None,
            Question::Vetoed { until } if until <= now => self.question = Question::None,
            _ => {}
        }
    }
}

/// Looks at everybody. At most `max` are to be awake; `None`: as many as like.
pub fn look<K: Copy>(house: &mut [(K, Guest, &mut Sleeper)], max: Option<usize>, now: Now) -> Outlook<K> {
    let mut look = Look { decisions: Vec::new(), again: None, leaving: 0, now };
    for (_, guest, sleeper) in house.iter_mut() {
        sleeper.refresh(guest.place, now);
    }
    look.put_to_sleep_who_is_due(house);
    look.make_room(house, max.unwrap_or(usize::MAX));
    for (_, guest, sleeper) in house.iter() {
        if let Some((quiet, after)) = sleepy(guest, sleeper).filter(|(quiet, after)| *quiet + *after > now) {
            look.again_at(quiet + after);
        }
        match sleeper.question {
            Question::Asked { at, .. } => look.again_at(at + UNANSWERED),
            Question::Vetoed { until } => look.again_at(until),
            Question::None | Question::Granted { .. } => {}
        }
    }
    Outlook { decisions: look.decisions, again: look.again }
}

/// A look under way.
struct Look<K> {
    decisions: Vec<(K, Decision)>,
    again: Option<Now>,
    /// How many are on their way out.
    leaving: usize,
    now: Now,
}

impl<K: Copy> Look<K> {
    fn again_at(&mut self, at: Now) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }

    fn put_to_sleep_who_is_due(&mut self, house: &mut [(K, Guest, &mut Sleeper)]) {
        for (key, guest, sleeper) in house.iter_mut() {
            let Some((quiet, after)) = sleepy(guest, sleeper) else { continue };
            if quiet + after <= self.now {
                self.put_to_sleep(*key, guest, sleeper);
            }
        }
    }

    /// Puts one to sleep that may, or asks it first.
    fn put_to_sleep(&mut self, key: K, guest: &mut Guest, sleeper: &mut Sleeper) {
        let Place::Serving { generation, .. } = guest.place else { return };
        match sleeper.question {
            Question::None if guest.asks => {
                sleeper.question = Question::Asked { generation, at: self.now };
                self.decisions.push((key, Decision::Ask(generation)));
            }
            Question::None | Question::Granted { .. } => {
                sleeper.question = Question::None;
                guest.place = Place::Leaving;
                self.decisions.push((key, Decision::Sleep));
            }
            Question::Asked { .. } | Question::Vetoed { .. } => {}
        }
    }

    /// Wakes who is called, as far as there is room; and has who is the longest quiet make room for the rest.
    fn make_room(&mut self, house: &mut [(K, Guest, &mut Sleeper)], max: usize) {
        let mut callers: Vec<usize> = Vec::new();
        for (at, (_, guest, sleeper)) in house.iter().enumerate() {
            if sleeper.call.is_some() && matches!(guest.place, Place::Asleep | Place::Leaving) {
                callers.push(at);
            }
        }
        // One that has not left yet has its room still.
        let (back, mut callers): (Vec<_>, Vec<_>) =
            callers.into_iter().partition(|at| house[*at].1.place == Place::Leaving);
        for at in back {
            self.wake(&mut house[at]);
        }
        callers.sort_by_key(|at| house[*at].2.call.map(|call| (!call.urgent, call.since)));
        let taken = house.iter().filter(|(_, guest, _)| guest.place.takes_room()).count();
        let free = max.saturating_sub(taken).min(callers.len());
        for at in callers.drain(..free) {
            self.wake(&mut house[at]);
        }
        self.leaving = house.iter().filter(|(_, guest, _)| guest.place == Place::Leaving).count();
        let needed = (taken.saturating_sub(max) + callers.len()).saturating_sub(self.leaving);
        let expected = self.leaving + self.evict(house, needed);
        for (nth, at) in callers.into_iter().enumerate() {
            let Some(call) = house[at].2.call.filter(|call| call.urgent) else { continue };
            // Nobody can be asked to make room for it, or nobody has in time: a visitor is worth more than a number.
            if nth >= expected || call.since + PATIENCE <= self.now {
                self.wake(&mut house[at]);
            } else {
                self.again_at(call.since + PATIENCE);
            }
        }
    }

    fn wake(&mut self, (key, guest, sleeper): &mut (K, Guest, &mut Sleeper)) {
        sleeper.call = None;
        guest.place = Place::Coming;
        self.decisions.push((*key, Decision::Wake));
    }

    /// Has `count` make room, the longest quiet first. How many will, as far as is known.
    fn evict(&mut self, house: &mut [(K, Guest, &mut Sleeper)], count: usize) -> usize {
        if count == 0 {
            return 0;
        }
        let mut quiet: Vec<(Now, usize)> = Vec::new();
        for (at, (_, guest, sleeper)) in house.iter().enumerate() {
            if let Some((since, _)) = sleepy(guest, sleeper) {
                quiet.push((since, at));
            }
        }
        quiet.sort_unstable();
        quiet.truncate(count);
        for (_, at) in &quiet {
            let (key, guest, sleeper) = &mut house[*at];
            self.put_to_sleep(*key, guest, sleeper);
        }
        quiet.len()
    }
}

/// Since when it may be put to sleep, as far as others are concerned, and after how long it is by itself.
fn sleepy(guest: &Guest, sleeper: &Sleeper) -> Option<(Now, Duration)> {
    match (guest.place, guest.after, sleeper.question) {
        (_, _, Question::Vetoed { .. }) => None,
        (Place::Serving { quiet: Some(quiet), .. }, Some(after), _) => Some((quiet, after)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
