//! Handshakes of one core take turns.
//!
//! What is dear of a handshake, the key exchange and the signature, is done in one piece. Between two such pieces this core
//! looks at everything else that is ready, and the names that clients want take turns: a flood of handshakes for one company
//! waits behind itself, and neither its neighbours' requests nor their handshakes wait behind the flood.

use std::{cell::RefCell, rc::Rc};

use tokio::{sync::oneshot, task};

use crate::{model::Host, proxy::line::Line};

/// One core's turns.
#[derive(Debug, Default)]
pub(super) struct Turns(RefCell<State>);

#[derive(Debug, Default)]
struct State {
    taken: bool,
    line: Line<Host, oneshot::Sender<Turn>>,
}

/// The turn of one handshake. Dropped, it is the next one's at once.
#[derive(Debug)]
pub(super) struct Turn(Rc<Turns>);

/// A place in the line; dropping it leaves it.
struct Place<'a> {
    turns: &'a Turns,
    name: &'a Host,
    number: u64,
}

impl Turns {
    /// A turn for a handshake that is for this name. Cancel safe. Nobody is refused: the census bounds how many wait, and
    /// the deadline of a handshake for how long.
    pub(super) async fn take(self: &Rc<Self>, name: &Host) -> Turn {
        loop {
            let (sender, turn) = oneshot::channel();
            let number = {
                let mut state = self.0.borrow_mut();
                if !state.taken {
                    state.taken = true;
                    return Turn(Rc::clone(self));
                }
                state.line.push(name, sender)
            };
            let _place = Place { turns: self, name, number };
            if let Ok(turn) = turn.await {
                return turn;
            }
        }
    }
}

impl Turn {
    /// Passes it on as soon as this core has looked at all that is ready now.
    pub(super) fn pass_on(self) {
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
        let left = self.turns.0.borrow_mut().line.remove(self.name, self.number);
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

    /// A handshake that says when it had its turn.
    fn handshake(turns: &Rc<Turns>, name: &str, word: &'static str, said: &Said) -> task::JoinHandle<()> {
        let (turns, name, said) = (Rc::clone(turns), name.parse::<Host>().unwrap(), Rc::clone(said));
        task::spawn_local(async move {
            let turn = turns.take(&name).await;
            said.borrow_mut().push(word);
            turn.pass_on();
        })
    }

    #[test]
    fn names_take_turns() {
        run(async {
            let (turns, said) = (Rc::new(Turns::default()), Said::default());
            let flood = ["a1", "a2", "a3", "a4"].map(|word| handshake(&turns, "a.test", word, &said));
            let others = [("b.test", "b1"), ("c.test", "c1")].map(|(name, word)| handshake(&turns, name, word, &said));
            for task in flood.into_iter().chain(others) {
                task.await.unwrap();
            }
            assert_eq!(*said.borrow(), ["a1", "a2", "b1", "c1", "a3", "a4"]);
            // The last one passes it on to nobody.
            turns.take(&"a.test".parse().unwrap()).await.pass_on();
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
            let handshakes = ["a1", "a2", "a3"].map(|word| handshake(&turns, "a.test", word, &said));
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
            let held = turns.take(&"a.test".parse().unwrap()).await;
            let [gone, stays] = ["gone", "stays"].map(|word| handshake(&turns, "a.test", word, &said));
            task::yield_now().await;
            gone.abort();
            assert!(gone.await.unwrap_err().is_cancelled());
            drop(held);
            stays.await.unwrap();
            assert_eq!(*said.borrow(), ["stays"]);

            // One that leaves when its turn is on its way gives it to the next.
            let held = turns.take(&"a.test".parse().unwrap()).await;
            let [gone, stays] = ["gone", "stays"].map(|word| handshake(&turns, "a.test", word, &said));
            task::yield_now().await;
            drop(held);
            gone.abort();
            stays.await.unwrap();
            assert_eq!(*said.borrow(), ["stays", "stays"]);
        });
    }
}
