//! `landlord upgrade`: what is asked for, and one proxy following another.

use std::os::fd::{AsFd, OwnedFd};

use super::{control::Replies, house::House, roles::Post};
use crate::{
    machine::{
        succession::{Action, Event},
        worker,
    },
    sys,
};

impl House {
    /// An operator offers a program to become; none: the one that runs. The same one again replaces the proxy only.
    pub(super) fn upgrade(&mut self, program: Option<OwnedFd>, replies: Replies) {
        let same = program.as_ref().map_or(Ok(true), |program| sys::spawn::is_this_binary(program.as_fd()));
        match same {
            Ok(true) => self.replace_proxy(Some(replies)),
            Ok(false) => replies.done(
                false,
                "that is another program than the one that runs, and this landlord cannot become another one while it runs: \
                 nothing has changed; restart landlord to run the new one",
            ),
            Err(error) => replies.done(false, format!("the offered program cannot be looked at: {error}")),
        }
    }

    /// Another proxy of this program, and by the settings of now, takes over; whoever asked is told.
    pub(super) fn replace_proxy(&mut self, asker: Option<Replies>) {
        self.on_succession(Event::Ask(asker));
    }

    pub(super) fn on_succession(&mut self, event: Event<Option<Replies>>) {
        for action in self.succession.on(event) {
            match action {
                Action::Wait => {
                    let draining = self.proxies.older.len();
                    tracing::info!(draining, "a new proxy waits until one of those that drain has ended");
                    self.tell_what_is_waited_for();
                    self.end_reload();
                }
                Action::Start => {
                    self.tell_askers("starting a new proxy");
                    let number = self.proxies.prepare_next();
                    self.role_fact(Post::Proxy(number), worker::Event::Start);
                }
                Action::Promote => {
                    self.proxies.promote();
                    let pid = self.proxies.newest.role.child.as_ref().map(|child| child.pid);
                    tracing::info!(pid, draining = self.proxies.older.len(), "a new proxy has taken over");
                    self.notices.remove("proxy");
                    self.untold = true;
                    self.count_draining();
                }
                Action::Kill => {
                    if let Some(next) = &self.proxies.next {
                        next.kill();
                    }
                }
                Action::Answer { askers, result } => {
                    let outcome = result.map(|()| self.succeeded());
                    if let Err(reason) = &outcome {
                        tracing::error!(reason, "the proxy was not replaced");
                    }
                    if askers.iter().any(Option::is_none) {
                        self.end_reload();
                    }
                    for asker in askers.into_iter().flatten() {
                        match &outcome {
                            Ok(message) => asker.done(true, message.clone()),
                            Err(reason) => asker.done(false, format!("nothing has changed: {reason}")),
                        }
                    }
                }
            }
        }
    }

    fn succeeded(&self) -> String {
        let pid = self.proxies.newest.role.child.as_ref().map_or(0, |child| child.pid);
        match self.proxies.older.len() {
            0 => format!("a new proxy serves, pid {pid}"),
            1 => format!("a new proxy serves, pid {pid}; the one before it ends its last connections"),
            older => format!("a new proxy serves, pid {pid}; {older} older ones end their last connections"),
        }
    }

    /// How many drain may have changed.
    pub(super) fn count_draining(&mut self) {
        self.on_succession(Event::Draining(self.proxies.older.len()));
    }

    /// A line for those who wait for a place to be free, also when the count in it has changed.
    pub(super) fn tell_what_is_waited_for(&self) {
        if !self.succession.is_waiting() {
            return;
        }
        let counts: Option<Vec<u64>> = self.proxies.older.iter().map(|proxy| proxy.facts.connections).collect();
        let older = self.proxies.older.len();
        self.tell_askers(&match counts.map(|counts| counts.iter().sum::<u64>()) {
            Some(1) => format!("{older} older proxies end their last connection: waiting until one of them is done"),
            Some(sum) => {
                format!("{older} older proxies end their last {sum} connections: waiting until one of them is done")
            }
            None => format!("{older} older proxies end their last connections: waiting until one of them is done"),
        });
    }

    fn tell_askers(&self, line: &str) {
        for asker in self.succession.askers().iter().flatten() {
            asker.progress(line);
        }
    }
}
