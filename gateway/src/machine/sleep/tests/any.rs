//! Any house: workers that start and stop slowly, visitors who come whenever they like, vetoes, answers that are lost.

use std::collections::BTreeMap;

use super::*;
use crate::machine::backoff::SplitMix64;

/// What a worker is really doing; times are in ms.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Real {
    Asleep,
    Stopping(u64),
    Starting(u64),
    /// In use until then.
    Up(u64),
}

/// One tenant.
struct One {
    guest: Guest,
    sleeper: Sleeper,
    real: Real,
    /// It has said that it may sleep, and was not used since.
    granted: bool,
    vetoed_until: u64,
}

struct World {
    random: SplitMix64,
    now: u64,
    all: Vec<One>,
    max: Option<usize>,
    /// Visitors who wait, since when.
    held: BTreeMap<usize, u64>,
    answers: Vec<(u64, usize, bool)>,
    slept: u32,
}

fn millis(millis: u64) -> Now {
    Now(Duration::from_millis(millis))
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let count = 1 + random.below(8);
        let all = (0..count).map(|_| {
            let after = (random.below(5) > 0).then(|| Duration::from_millis(1000 + random.below(20_000)));
            let guest = Guest { after, asks: random.below(3) == 0, place: Place::Away };
            let real = Real::Starting(random.below(3000));
            One { guest, sleeper: Sleeper::default(), real, granted: false, vetoed_until: 0 }
        });
        let all = all.collect();
        let max = (random.below(2) == 0).then(|| 1 + random.below(count) as usize);
        Self { random, now: 0, all, max, held: BTreeMap::new(), answers: Vec::new(), slept: 0 }
    }

    /// Time passes for workers and visitors.
    fn pass(&mut self) {
        self.now += self.random.below(400);
        let now = self.now;
        for (who, one) in self.all.iter_mut().enumerate() {
            match one.real {
                Real::Stopping(until) if until <= now => one.real = Real::Asleep,
                Real::Starting(until) if until <= now => {
                    self.held.remove(&who);
                    one.real = Real::Up(now);
                }
                Real::Up(_) if self.random.below(30) == 0 => one.real = Real::Up(now + self.random.below(5000)),
                Real::Asleep | Real::Stopping(_) if self.random.below(40) == 0 => {
                    self.held.entry(who).or_insert(now);
                    one.sleeper.call(true, millis(now));
                }
                _ => {}
            }
        }
        for (_, who, veto) in self.answers.extract_if(.., |(at, ..)| *at <= now) {
            let one = &mut self.all[who];
            let before = one.sleeper;
            one.sleeper.answered(GenerationId(who as u64), veto, one.guest.after, millis(now));
            if one.sleeper != before {
                one.granted = !veto;
                one.vetoed_until = if veto { now + 10_000 } else { 0 };
            }
        }
    }

    fn look(&mut self) {
        let now = self.now;
        for (who, one) in self.all.iter_mut().enumerate() {
            one.guest.place = match one.real {
                Real::Asleep => Place::Asleep,
                Real::Stopping(_) => Place::Leaving,
                Real::Starting(_) => Place::Coming,
                Real::Up(used) => {
                    let quiet = (used + 1000 <= now).then(|| millis(used));
                    one.granted &= quiet.is_some();
                    Place::Serving { generation: GenerationId(who as u64), quiet }
                }
            };
        }
        let awake = self.all.iter().filter(|one| one.guest.place.takes_room()).count();
        let willing = self.all.iter().any(|One { guest, .. }| {
            matches!(guest.place, Place::Serving { quiet: Some(_), .. }) && guest.after.is_some() && !guest.asks
        });
        let mut house: Vec<_> =
            self.all.iter_mut().enumerate().map(|(who, one)| (who, one.guest, &mut one.sleeper)).collect();
        let outlook = look(&mut house, self.max, millis(now));
        let goes = |guest: &Guest, sleeper: &Sleeper| {
            guest.place == Place::Leaving || matches!(sleeper.question, Question::Asked { .. })
        };
        let leaving = house.iter().any(|(_, guest, sleeper)| goes(guest, sleeper));
        let crowded = self.max.is_some_and(|max| awake > max) && willing;
        assert!(!crowded || leaving, "{awake} are awake, more than {:?}, and nobody goes", self.max);
        assert!(outlook.again.is_none_or(|again| again > millis(now)), "{:?}", outlook.again);
        for (who, decision) in outlook.decisions {
            self.carry_out(who, decision);
        }
        for (who, since) in &self.held {
            let waits = matches!(self.all[*who].real, Real::Asleep | Real::Stopping(_));
            assert!(!waits || since + 2000 > now, "a visitor of {who} waits since {since}, at {now}");
        }
    }

    fn carry_out(&mut self, who: usize, decision: Decision) {
        let (now, one) = (self.now, &mut self.all[who]);
        match decision {
            Wake => {
                assert!(matches!(one.real, Real::Asleep | Real::Stopping(_)), "woken twice");
                one.real = Real::Starting(now + self.random.below(3000));
            }
            Sleep => {
                let Real::Up(used) = one.real else { panic!("{:?} was put to sleep", one.real) };
                let after = one.guest.after.expect("it never sleeps");
                assert!(used + 1000 <= now, "in use");
                assert!(self.max.is_some() || millis(used) + after <= millis(now), "too early");
                assert!(!one.guest.asks || one.granted, "it was not asked");
                (self.slept, one.granted) = (self.slept + 1, false);
                one.real = Real::Stopping(now + self.random.below(4000));
            }
            Ask(generation) => {
                assert_eq!(generation, GenerationId(who as u64));
                assert!(one.guest.asks && one.guest.after.is_some());
                assert!(one.vetoed_until <= now, "asked again too early");
                // Some answers are lost with a proxy.
                if self.random.below(5) > 0 {
                    self.answers.push((now + self.random.below(2000), who, self.random.below(3) == 0));
                }
            }
        }
    }
}

#[test]
fn nobody_in_use_is_put_to_sleep_and_no_visitor_waits_for_long() {
    let mut slept = 0;
    for seed in 0..300 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.pass();
            world.look();
        }
        slept += world.slept;
    }
    assert!(slept > 1000, "a world in which hardly anybody ever sleeps: {slept}");
}
