//! The end of the house: visitors are answered to the end, workers are stopped, nothing is left behind.

use std::time::Duration;

use super::{house::House, roles::Post};
use crate::{
    machine::{Now, succession, tenant, worker},
    model::GenerationId,
    wire::ToProxy,
};

/// What is in flight may go on for this long; then workers are stopped all the same.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
/// A migration or a copy that is under way may go on for this long: one that hangs does not keep the house.
const LAST_TASKS: Duration = Duration::from_secs(30);
/// The log role may write for this long after the last worker.
const LAST_LINES: Duration = Duration::from_secs(2);

/// How far the end has come.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    step: Step,
    deadline: Option<Now>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// Open.
    #[default]
    No,
    /// The proxies finish what is in flight.
    Visitors,
    /// Workers are stopped.
    Workers,
    /// The log role writes the last lines.
    Log,
    /// Nothing is left.
    Over,
}

impl Farewell {
    pub(super) fn has_begun(&self) -> bool {
        self.step != Step::No
    }

    pub(super) fn is_over(&self) -> bool {
        self.step == Step::Over
    }

    pub(super) fn deadline(&self) -> Option<Now> {
        self.deadline
    }

    /// All of it together takes no longer, when the slowest worker takes `stop` to end.
    pub(super) fn longest(&self, stop: Duration) -> Duration {
        LAST_ANSWERS + LAST_TASKS + stop + LAST_LINES
    }
}

impl House {
    /// Begins the end; said again, it goes on without waiting for anybody.
    pub(super) fn say_farewell(&mut self) {
        if self.farewell.has_begun() {
            tracing::warn!("told to stop again: workers are killed");
            return self.kill_all();
        }
        tracing::info!("stopping");
        self.keep_sleepers();
        self.announce = None;
        self.units.close();
        self.storage.close();
        self.stay("landlord is stopping");
        self.report_farewell();
        for (_, replies) in self.watchers.drain(..) {
            replies.done(false, "landlord is stopping");
        }
        self.dismiss_certificate_askers("landlord is stopping");
        // What it is at goes on from the papers in the next life.
        self.role_fact(Post::Acme, worker::Event::Stop);
        self.leave_acme();
        self.farewell.step = Step::Visitors;
        self.farewell.deadline = Some(Now(self.now().0 + LAST_ANSWERS + Duration::from_millis(500)));
        let deadline_ms = u64::try_from(LAST_ANSWERS.as_millis()).unwrap_or(u64::MAX);
        self.on_succession(succession::Event::Close { reason: "landlord is stopping".into() });
        for proxy in self.proxies.all() {
            proxy.role.send(ToProxy::Drain { deadline_ms }, Vec::new());
        }
        let now = self.now();
        self.proxies.newest.role.worker.on(worker::Event::Stop, now);
    }

    /// Takes the steps that are due: the last one is done or has taken too long. Whether one was taken, after which there may
    /// be something to be done at once: with no worker left alive, no event would come to say so.
    pub(super) fn proceed_with_farewell(&mut self) -> bool {
        let before = self.farewell.step;
        if !self.farewell.has_begun() {
            return false;
        }
        let now = self.now();
        // Once is enough, and a deadline that stays would have the loop spin.
        let late = self.farewell.deadline.take_if(|at| *at <= now).is_some();
        match self.farewell.step {
            Step::Visitors => {
                if late {
                    self.proxies.kill_all();
                }
                if !self.proxies.any_alive() {
                    self.farewell.step = Step::Workers;
                    self.farewell.deadline = Some(Now(now.0 + LAST_TASKS));
                    let names: Vec<_> = self.seats.keys().cloned().collect();
                    for name in &names {
                        self.wish(name);
                    }
                    self.carry_on_alone();
                }
            }
            Step::Workers => {
                if late {
                    self.kill_tasks();
                    self.farewell.deadline = Some(Now(now.0 + LAST_TASKS));
                }
                self.carry_on_alone();
                if self.seats.values().all(|seat| seat.leases.is_empty()) && self.inbox.is_empty() {
                    self.farewell.step = Step::Log;
                    self.farewell.deadline = Some(Now(now.0 + LAST_LINES));
                    self.log.worker.on(worker::Event::Stop, now);
                    self.log.hang_up(&mut self.vault);
                }
            }
            Step::Log => {
                let open = self.open_loopback();
                let acme = self.issuing.as_ref().and_then(|issuing| issuing.role.child.as_ref());
                if late {
                    self.log
                        .child
                        .iter()
                        .chain(acme)
                        .chain(self.firewall.child())
                        .for_each(|child| child.signal(libc::SIGKILL));
                }
                if self.log.child.is_none() && acme.is_none() && open {
                    self.farewell.step = Step::Over;
                    // A socket file that is left behind is replaced at the next start.
                    let _ = std::fs::remove_file(self.gateway.run.join("control.sock"));
                    self.fleet.clear();
                    self.vault.close();
                    tracing::info!("stopped");
                }
            }
            Step::No | Step::Over => {}
        }
        self.farewell.step != before
    }

    /// With no proxy left, every table counts as applied and every generation as idle.
    fn carry_on_alone(&mut self) {
        while let Some((name, event)) = self.inbox.pop_front() {
            self.on_tenant(&name, event);
        }
        let names: Vec<_> = self.seats.keys().cloned().collect();
        for name in names {
            let Some(seat) = self.seats.get(&name) else { continue };
            let revision = seat.machine.revision();
            let generations: Vec<GenerationId> = seat.leases.keys().copied().collect();
            self.on_tenant(&name, tenant::Event::Applied { revision });
            for generation in generations {
                self.on_tenant(&name, tenant::Event::Idle { generation });
            }
        }
    }

    fn kill_tasks(&self) {
        for lease in self.seats.values().flat_map(|seat| seat.leases.values()).filter(|lease| lease.task.is_some()) {
            tracing::warn!(tenant = %lease.spec.name, "its migration or copy takes too long: it is ended");
            lease.kill(&self.groups);
        }
    }

    fn kill_all(&mut self) {
        self.proxies.kill_all();
        for seat in self.seats.values() {
            for lease in seat.leases.values() {
                lease.kill(&self.groups);
            }
        }
    }
}
