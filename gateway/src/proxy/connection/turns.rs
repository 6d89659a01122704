//! Handshakes of one core take turns.
//!
//! What is dear of a handshake, the key exchange and the signature, is done in one piece. Between two such pieces this core
//! looks at everything else that is ready, and companies take turns: a flood of handshakes for one waits behind itself, and
//! neither its neighbours' requests nor their handshakes wait behind the flood.

use std::{cell::RefCell, future::poll_fn, pin::pin, rc::Rc, sync::Arc, task::Poll};

use tokio::{sync::oneshot, task};

use crate::proxy::line::Line;

/// One core's turns.
#[derive(Debug, Default)]
pub(super) struct Turns(RefCell<State>);

#[derive(Debug, Default)]
struct State {
    taken: bool,
    line: Line<Whose, oneshot::Sender<Turn>>,
}

/// The tenant for whom a handshake is. Names that are nobody's, of which a client can invent as many as it likes, take turns as
/// one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Whose(pub(super) Option<Arc<str>>);

/// The turn of one handshake. Dropped, it is the next one's at once.
#[derive(Debug)]
struct Turn(Rc<Turns>);

/// A place in the line; dropping it leaves it.
struct Place<'a> {
    turns: &'a Turns,
    whose: Whose,
    number: u64,
}

impl Turns {
    /// Drives a handshake to its end, and has a turn for each of its steps: where the client is asked for another hello
    /// (RFC 8446 §4.1.4), and before TLS 1.3, the dear part is not in the first. Cancel safe. Nobody is refused: the census
    /// bounds how many wait, and the deadline of a handshake for how long. `whose` it is is asked only of one that waits.
    pub(super) async fn drive<T>(self: &Rc<Self>, whose: impl Fn() -> Whose, handshake: impl Future<Output = T>) -> T {
        let mut handshake = pin!(handshake);
        loop {
            let turn = self.take(&whose).await;
            let step = poll_fn(|context| Poll::Ready(handshake.as_mut().poll(context))).await;
            turn.pass_on();
            if let Poll::Ready(done) = step {
                return done;
            }
            woken().await;
        }
    }

    async fn take(self: &Rc<Self>, whose: impl Fn() -> Whose) -> Turn {
        loop {
            if !std::mem::replace(&mut self.0.borrow_mut().taken, true) {
                return Turn(Rc::clone(self));
            }
            let (sender, turn) = oneshot::channel();
            let whose = whose();
            let number = self.0.borrow_mut().line.push(&whose, sender);
            let _place = Place { turns: self, whose, number };
            if let Ok(turn) = turn.await {
                return turn;
            }
        }
    }
}

/// Ends when this task is woken again, by whatever it has been left with.
async fn woken() {
    let mut asleep = true;
    poll_fn(|_| if std::mem::take(&mut asleep) { Poll::Pending } else { Poll::Ready(()) }).await;
}

impl Turn {
    /// Passes it on as soon as this core has looked at all that is ready now.
    fn pass_on(self) {
        task::spawn_local(async move {
            // What yields is woken once the runtime has asked the kernel for news.
            task::yield_now().await;
            drop(self);
        });
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.0.borrow_mut();
            let next = state.line.pop();
            state.taken = next.is_some();
            next
        };
        if let Some(next) = next {
            // If it has left meanwhile, the turn comes back by being dropped here.
            drop(next.send(Turn(Rc::clone(&self.0))));
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let left = self.turns.0.borrow_mut().line.remove(&self.whose, self.number);
        drop(left);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write;

    use tokio::{io::AsyncReadExt, net::UnixStream, runtime::Builder, task::LocalSet};

    use super::*;

    type Said = Rc<RefCell<Vec<&'static str>>>;

    fn run(test: impl Future<Output = ()>) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    fn whose(name: &str) -> Whose {
        Whose(Some(name.into()))
    }

    /// A handshake of so many steps that says when each had its turn.
    fn handshake(turns: &Rc<Turns>, name: &str, words: &'static [&'static str], said: &Said) -> task::JoinHandle<()> {
        let (turns, whose, said) = (Rc::clone(turns), whose(name), Rc::clone(said));
        let mut words = words.iter();
        task::spawn_local(async move {
            let steps = poll_fn(|context| {
                let last = words.len() == 1;
                said.borrow_mut().extend(words.next());
                if last {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            });
            turns.drive(|| whose.clone(), steps).await;
        })
    }

    #[test]
    fn companies_take_turns() {
        run(async {
            let (turns, said) = (Rc::new(Turns::default()), Said::default());
            let flood = [&["a1"], &["a2"], &["a3"], &["a4"]].map(|word| handshake(&turns, "a", word, &said));
            let others = [("b", &["b1"]), ("c", &["c1"])].map(|(name, word)| handshake(&turns, name, word, &said));
            for task in flood.into_iter().chain(others) {
                task.await.unwrap();
            }
            assert_eq!(*said.borrow(), ["a1", "a2", "b1", "c1", "a3", "a4"]);
            // The last one passes it on to nobody.
            turns.drive(|| whose("a"), async {}).await;
        });
    }

    #[test]
    fn each_step_has_its_turn() {
        run(async {
            let (turns, said) = (Rc::new(Turns::default()), Said::default());
            let steps: [&[&str]; 3] = [&["a1", "a1 again"], &["a2", "a2 again"], &["a3", "a3 again"]];
            let flood = steps.map(|words| handshake(&turns, "a", words, &said));
            let other = handshake(&turns, "b", &["b1", "b1 again"], &said);
            for task in flood.into_iter().chain([other]) {
                task.await.unwrap();
            }
            let said = said.borrow();
            let place = |word| said.iter().position(|it| *it == word).unwrap();
            assert_eq!(said.len(), 8);
            assert!(place("b1 again") <= 5, "{said:?}");
        });
    }

    #[test]
    fn between_two_turns_everything_else_is_looked_at() {
        run(async {
            let (turns, said) = (Rc::new(Turns::default()), Said::default());
            let (mut far, near) = std::os::unix::net::UnixStream::pair().unwrap();
            near.set_nonblocking(true).unwrap();
            let mut near = UnixStream::from_std(near).unwrap();
            let reader = {
                let said = Rc::clone(&said);
                task::spawn_local(async move {
                    near.read_u8().await.unwrap();
                    said.borrow_mut().push("read");
                })
            };
            task::yield_now().await;
            let handshakes = [&["a1"], &["a2"], &["a3"]].map(|word| handshake(&turns, "a", word, &said));
            far.write_all(b"x").unwrap();
            for task in handshakes {
                task.await.unwrap();
            }
            reader.await.unwrap();
            assert_eq!(*said.borrow(), ["a1", "read", "a2", "a3"]);
        });
    }

    #[test]
    fn who_leaves_the_line_keeps_nobody_waiting() {
        run(async {
            let (turns, said) = (Rc::new(Turns::default()), Said::default());
            let held = turns.take(|| whose("a")).await;
            let [gone, stays] = [&["gone"], &["stays"]].map(|word| handshake(&turns, "a", word, &said));
            task::yield_now().await;
            gone.abort();
            assert!(gone.await.unwrap_err().is_cancelled());
            drop(held);
            stays.await.unwrap();
            assert_eq!(*said.borrow(), ["stays"]);

            // One that leaves when its turn is on its way gives it to the next.
            let held = turns.take(|| whose("a")).await;
            let [gone, stays] = [&["gone"], &["stays"]].map(|word| handshake(&turns, "a", word, &said));
            task::yield_now().await;
            drop(held);
            gone.abort();
            stays.await.unwrap();
            assert_eq!(*said.borrow(), ["stays", "stays"]);
        });
    }
}
