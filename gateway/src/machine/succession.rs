//! How one proxy follows another: the next one is started beside the newest, takes its place once it accepts, and the one
//! before it drains. A next one that fails changes nothing.
//!
//! Whoever asks while the next one is being started may have changed something that it was not told: it is followed by another
//! one, in one go for all who asked meanwhile. Whoever asks while there is no room yet is answered with the others.

/// So many proxies may drain beside the newest. A further one waits for the first of them to end: nobody is cut.
pub const MOST_DRAINING: usize = 4;

/// The machine. `A` is whoever asked and is to be answered.
#[derive(Clone, Debug)]
pub struct Succession<A> {
    stage: Stage,
    draining: usize,
    /// Answered by what is under way.
    askers: Vec<A>,
    /// Came too late for it.
    later: Vec<A>,
    /// Why nobody is followed any more.
    closed: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The newest serves, and that is that.
    Resting,
    /// A next one is wanted and too many drain.
    Waiting,
    /// The next one is on its way.
    Starting,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<A> {
    /// Another proxy is to take over.
    Ask(A),
    /// So many drain now.
    Draining(usize),
    /// The next one accepts.
    Ready,
    /// Nothing is left of the next one, which never accepted.
    Ended {
        /// Why, for a person.
        reason: String,
    },
    /// The house closes.
    Close {
        /// Said to all who ask from now on.
        reason: String,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<A> {
    /// Tell the askers what is waited for.
    Wait,
    /// Start the next one; answer with `Ready` or `Ended`.
    Start,
    /// The next one becomes the newest, and the one before it drains; answer with `Draining`.
    Promote,
    /// End the next one.
    Kill,
    /// Tell these how it ended.
    Answer {
        /// Whom.
        askers: Vec<A>,
        /// Whether the newest is another one than before; why not, for a person.
        result: Result<(), String>,
    },
}

impl<A> Default for Succession<A> {
    fn default() -> Self {
        Self { stage: Stage::Resting, draining: 0, askers: Vec::new(), later: Vec::new(), closed: None }
    }
}

impl<A> Succession<A> {
    /// Those who wait for what is under way.
    pub fn askers(&self) -> &[A] {
        &self.askers
    }

    /// Whether no next one is wanted.
    pub fn is_resting(&self) -> bool {
        self.stage == Stage::Resting
    }

    /// Whether it is waited for a draining one to end.
    pub fn is_waiting(&self) -> bool {
        self.stage == Stage::Waiting
    }

    /// The state table.
    pub fn on(&mut self, event: Event<A>) -> Vec<Action<A>> {
        let mut out = Vec::new();
        match event {
            Event::Ask(asker) => match (&self.closed, self.stage) {
                (Some(reason), _) => {
                    out.push(Action::Answer { askers: vec![asker], result: Err(reason.clone()) });
                }
                (None, Stage::Starting) => self.later.push(asker),
                (None, Stage::Resting | Stage::Waiting) => {
                    self.askers.push(asker);
                    self.begin(&mut out);
                }
            },
            Event::Draining(count) => {
                self.draining = count;
                if self.stage == Stage::Waiting && count < MOST_DRAINING {
                    self.begin(&mut out);
                }
            }
            Event::Ready if self.stage == Stage::Starting => {
                // Counted here already: those who came later must not begin with one too many.
                self.draining += 1;
                out.push(Action::Promote);
                self.conclude(Ok(()), &mut out);
            }
            Event::Ended { reason } if self.stage == Stage::Starting => self.conclude(Err(reason), &mut out),
            Event::Close { reason } => {
                if self.stage == Stage::Starting {
                    out.push(Action::Kill);
                }
                self.stage = Stage::Resting;
                self.askers.append(&mut self.later);
                self.answer(Err(reason.clone()), &mut out);
                self.closed = Some(reason);
            }
            Event::Ready | Event::Ended { .. } => {}
        }
        out
    }

    fn begin(&mut self, out: &mut Vec<Action<A>>) {
        if self.draining < MOST_DRAINING {
            self.stage = Stage::Starting;
            out.push(Action::Start);
        } else {
            self.stage = Stage::Waiting;
            out.push(Action::Wait);
        }
    }

    fn conclude(&mut self, result: Result<(), String>, out: &mut Vec<Action<A>>) {
        self.stage = Stage::Resting;
        self.answer(result, out);
        self.askers = std::mem::take(&mut self.later);
        if !self.askers.is_empty() {
            self.begin(out);
        }
    }

    fn answer(&mut self, result: Result<(), String>, out: &mut Vec<Action<A>>) {
        let askers = std::mem::take(&mut self.askers);
        if !askers.is_empty() {
            out.push(Action::Answer { askers, result });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        Action::{Kill, Promote, Start, Wait},
        Event::{Ask, Close, Draining, Ended, Ready},
        *,
    };

    fn done(askers: &[u32]) -> Action<u32> {
        Action::Answer { askers: askers.to_vec(), result: Ok(()) }
    }

    fn failed(askers: &[u32], reason: &str) -> Action<u32> {
        Action::Answer { askers: askers.to_vec(), result: Err(reason.into()) }
    }

    fn ended(reason: &str) -> Event<u32> {
        Ended { reason: reason.into() }
    }

    fn close() -> Event<u32> {
        Close { reason: "closing".into() }
    }

    /// Each row: what happens, and what is to be done then.
    fn run(rows: Vec<(Event<u32>, Vec<Action<u32>>)>) -> Succession<u32> {
        let mut machine = Succession::default();
        for (row, (event, expected)) in rows.into_iter().enumerate() {
            let told = format!("row {row}: {event:?}");
            assert_eq!(machine.on(event), expected, "{told}");
        }
        machine
    }

    #[test]
    fn the_next_takes_over_when_it_accepts() {
        run(vec![
            (Ask(1), vec![Start]),
            (Ready, vec![Promote, done(&[1])]),
            (Draining(1), vec![]),
            (Draining(0), vec![]),
            (Ready, vec![]),
        ]);
    }

    #[test]
    fn a_next_one_that_fails_changes_nothing() {
        run(vec![
            (Ask(1), vec![Start]),
            (ended("exit status 1"), vec![failed(&[1], "exit status 1")]),
            (ended("again"), vec![]),
            (Ask(2), vec![Start]),
            (Ready, vec![Promote, done(&[2])]),
        ]);
    }

    #[test]
    fn who_asks_meanwhile_gets_another_one_together() {
        run(vec![
            (Ask(1), vec![Start]),
            (Ask(2), vec![]),
            (Ask(3), vec![]),
            (Ready, vec![Promote, done(&[1]), Start]),
            (Draining(1), vec![]),
            (Ask(4), vec![]),
            (ended("why"), vec![failed(&[2, 3], "why"), Start]),
            (Ready, vec![Promote, done(&[4])]),
        ]);
    }

    #[test]
    fn a_fifth_waits_for_one_of_four_to_end() {
        let machine = run(vec![
            (Draining(4), vec![]),
            (Ask(1), vec![Wait]),
            (Ask(2), vec![Wait]),
            (Draining(4), vec![]),
            (Draining(3), vec![Start]),
            (Draining(2), vec![]),
            (Draining(3), vec![]),
            (Ask(3), vec![]),
            (Ready, vec![Promote, done(&[1, 2]), Wait]),
            // The one before had crashed: nobody came to drain.
            (Draining(3), vec![Start]),
        ]);
        assert_eq!(machine.askers(), [3]);
        assert!(!machine.is_waiting());
    }

    /// An owner that does what it is told; chance decides what happens to it.
    #[derive(Default)]
    struct Owner {
        machine: Succession<u32>,
        next: bool,
        draining: usize,
        asked: u32,
        answered: Vec<u32>,
        closed: bool,
    }

    impl Owner {
        fn feed(&mut self, event: Event<u32>) {
            for action in self.machine.on(event) {
                match action {
                    Wait => assert!(self.draining >= MOST_DRAINING, "there was room"),
                    Start => {
                        assert!(!self.next && !self.closed && self.draining < MOST_DRAINING);
                        self.next = true;
                    }
                    Promote => {
                        assert!(std::mem::take(&mut self.next), "nobody to promote");
                        self.draining += 1;
                    }
                    Kill => assert!(self.next),
                    Action::Answer { askers, .. } => self.answered.extend(askers),
                }
            }
            assert!(self.draining <= MOST_DRAINING);
        }

        fn happen(&mut self, chance: u8) {
            match chance % 8 {
                0..=2 => {
                    self.asked += 1;
                    self.feed(Ask(self.asked));
                }
                3 | 4 if self.next => {
                    self.feed(Ready);
                    self.feed(Draining(self.draining));
                }
                5 if self.next => {
                    self.next = false;
                    self.feed(ended("why"));
                }
                6 if self.draining > 0 => {
                    self.draining -= 1;
                    self.feed(Draining(self.draining));
                }
                7 if chance == 255 => {
                    self.feed(close());
                    self.closed = true;
                }
                _ => {}
            }
        }
    }

    proptest! {
        #[test]
        fn everybody_is_answered_once_and_no_more_than_four_drain(chances in prop::collection::vec(any::<u8>(), 1..200)) {
            let mut owner = Owner::default();
            chances.into_iter().for_each(|chance| owner.happen(chance));
            // Then all goes well.
            for _ in 0..1000 {
                owner.happen(3);
                owner.happen(6);
            }
            let mut answered = owner.answered.clone();
            answered.sort_unstable();
            prop_assert_eq!(answered, (1..=owner.asked).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_house_that_closes_starts_nobody() {
        run(vec![
            (Ask(1), vec![Start]),
            (Ask(2), vec![]),
            (close(), vec![Kill, failed(&[1, 2], "closing")]),
            (ended("killed by SIGKILL"), vec![]),
            (Ask(3), vec![failed(&[3], "closing")]),
            (Draining(0), vec![]),
        ]);
        run(vec![
            (Draining(4), vec![]),
            (Ask(1), vec![Wait]),
            (close(), vec![failed(&[1], "closing")]),
            (Draining(0), vec![]),
        ]);
    }
}
