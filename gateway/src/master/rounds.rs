//! The loop that the master lives in, round by round: hear what happened, carry it to the machines until nothing is left to
//! be done, write down, and tell.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{
    event::Event,
    house::{House, OpenError},
    roles::Post,
    watch::Look,
};
use crate::machine::{Now, tenant, worker};

impl House {
    /// Lives until it is told to stop and nobody is left.
    ///
    /// # Errors
    /// None once it lives.
    pub(super) async fn live(&mut self, events: &mut mpsc::UnboundedReceiver<Event>) -> Result<(), OpenError> {
        self.keep_settings();
        if self.vault.has_past() {
            let inheritance = self.inherit();
            self.resume();
            if let Some(inheritance) = inheritance {
                self.conclude(inheritance);
            }
        } else {
            self.open_shop();
        }
        self.look_at_loopback();
        loop {
            self.settle();
            self.report();
            if self.farewell.is_over() {
                return Ok(());
            }
            let deadline = self.deadline();
            tokio::select! {
                event = events.recv() => {
                    if let Some(event) = event {
                        self.on(event);
                    }
                    // What else is here already is taken in the same round, so that it is published once.
                    while let Ok(event) = events.try_recv() {
                        self.on(event);
                    }
                }
                look = self.watch.changed(), if !self.farewell.has_begun() => {
                    match look {
                        Look::Files => self.look(),
                        Look::Slow => self.look_slowly(),
                    }
                    self.keep_sleepers();
                }
                () = tokio::time::sleep(deadline) => {
                    // What has arrived is heard before anybody is called late: it may be we who did not get to run.
                    tokio::task::yield_now().await;
                    while let Ok(event) = events.try_recv() {
                        self.on(event);
                    }
                    self.on_time();
                }
            }
        }
    }

    /// What the files say first: a proxy that knew nobody yet would turn away who waits in the queues of a restart.
    fn open_shop(&mut self) {
        self.clear_up();
        self.role_fact(Post::Log, worker::Event::Start);
        self.look();
        self.tell_machines();
        self.suit_acme();
        self.want_certificates();
        self.role_fact(Post::Proxy(self.proxies.newest.number), worker::Event::Start);
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Terminate => self.say_farewell(),
            Event::Reload => {
                self.begin_reload();
                // What is wrong with the files is told by `status`; the proxy is another one all the same.
                let _ = self.reload(false);
                self.upgrade(None, None);
            }
            Event::Child => self.reap_strangers(),
            Event::Exited { who, attempt, exit, report } => self.on_exit(who, attempt, exit, report),
            Event::Proxy(number, attempt, fact) => self.on_proxy(number, attempt, fact),
            Event::Log(attempt, fact) => self.on_log(attempt, fact),
            Event::Acme(attempt, fact, fds) => self.on_acme(attempt, fact, fds),
            Event::Counted(number, counted) => self.on_counted(number, counted),
            Event::LinkLost(post, attempt) => self.on_link_lost(post, attempt),
            Event::Pressed(watch) => self.groups.pressed(watch, self.now()),
            // Who waits for them to leave looks at the end of each round.
            Event::ClientLeft => {}
            Event::Knocked { port, refused } => self.on_knock(port, refused),
            Event::Control(request, fds, replies) => self.on_control(request, fds, replies),
        }
    }

    /// Carries on until nothing is left to be done now, then tells the proxy and those who watch.
    fn settle(&mut self) {
        loop {
            self.look_at_sleepers();
            self.tell_machines();
            self.start_queued();
            // What has just been started is in the same table: a proxy that is told twice answers twice.
            if !self.inbox.is_empty() {
                continue;
            }
            if std::mem::take(&mut self.outdated) {
                self.replace_proxy(None);
            }
            self.want_certificates_of_now();
            self.publish();
            let stepped = self.proceed_with_farewell();
            let stirred = self.sleepers.stirred && !self.farewell.has_begun();
            if self.inbox.is_empty() && !stepped && !stirred {
                break;
            }
        }
        self.units.follow(&self.events);
        self.heed_full_disk();
        // Messages to the roles leave when this round is over: what they tell is written down before.
        if !self.farewell.is_over() {
            self.keep_house();
            self.proceed_with_becoming();
        }
        self.tell_watchers();
        self.announce_once();
    }

    fn on_time(&mut self) {
        let now = self.now();
        let due = |deadline: Option<Now>| deadline.is_some_and(|at| at <= now);
        let proxies = self.proxies.supervised().map(|proxy| Post::Proxy(proxy.number));
        for post in [Post::Log, Post::Acme].into_iter().chain(proxies).collect::<Vec<_>>() {
            if due(self.role_worker(post).and_then(|worker| worker.deadline())) {
                self.role_fact(post, worker::Event::Timer);
            }
        }
        self.end_overdue();
        self.end_overdue_edits();
        self.sleepers.stirred |= due(self.sleepers.again);
        self.on_issuing_time();
        let seats = &self.seats;
        self.groups.tell(now, |name| seats.get(name).map(|seat| &seat.spec.limits));
        self.on_storage_time();
        for (name, seat) in &self.seats {
            if due(seat.machine.deadline()) {
                self.inbox.push_back((name.clone(), tenant::Event::Timer));
            }
        }
    }

    /// Until something must be done although nothing happens.
    fn deadline(&self) -> Duration {
        let machines = self.seats.values().filter_map(|seat| seat.machine.deadline());
        let proxies = self.proxies.supervised().filter_map(|proxy| proxy.role.worker.deadline());
        let proxies = proxies.chain(self.proxies.overdue().map(|(at, _)| at));
        let house = [
            self.log.worker.deadline(),
            self.farewell.deadline(),
            self.service.deadline(),
            self.becoming_deadline(),
            self.edits.deadline(),
        ];
        let acme = self.issuing.as_ref().and_then(|issuing| issuing.role.worker.deadline());
        let asleep = self.sleepers.again.filter(|_| !self.farewell.has_begun());
        let house = house.into_iter().flatten().chain(self.groups.deadline()).chain(acme).chain(asleep);
        let house = house.chain(self.issuing_deadline()).chain(self.storage_deadline());
        // While others wait for their turn, a slow start frees a place by growing old.
        let now = self.now();
        let waited_for = self.seats.values().filter(|_| !self.queue.is_empty()).filter_map(|seat| seat.slow_at(now));
        let first = machines.chain(proxies).chain(house).chain(waited_for).min();
        first.map_or(Duration::from_secs(3600), |at| at.since(now))
    }
}
