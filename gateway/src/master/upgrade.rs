//! One proxy following another.

use super::{control::Replies, house::House, roles::Post};
use crate::machine::{
    succession::{Action, Event},
    worker,
};

impl House {
    /// Another proxy of this program, and by the settings of now, takes over; whoever asked is told.
    pub(super) fn replace_proxy(&mut self, asker: Option<Replies>) {
        self.outdated = false;
        self.on_succession(Event::Ask(asker));
    }

    pub(super) fn on_succession(&mut self, event: Event<Option<Replies>>) {
        for action in self.succession.on(event) {
            match action {
                Action::Wait => {
                    let draining = self.proxies.older.len();
                    tracing::info!(draining, "a new proxy waits until one of those that drain has ended");
                    self.tell_what_is_waited_for();
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
        let became = match self.became {
            true => format!("landlord {} runs; ", env!("CARGO_PKG_VERSION")),
            false => String::new(),
        };
        let older = match self.proxies.older.len() {
            0 => String::new(),
            1 => "; the one before it ends its last connections".into(),
            older => format!("; {older} older ones end their last connections"),
        };
        format!("{became}a new proxy serves, pid {pid}{older}")
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
