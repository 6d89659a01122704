//! systemd's picture of the tenants: `landlord@NAME.service` is active while NAME is wanted. It follows what is wanted here,
//! and an operator's `systemctl start` and `stop` of it are orders like any others.
//!
//! One `systemctl` at a time, as a child that the loop does not wait for. It does wait itself, for its jobs: what a unit
//! asks until it has ended is an echo of our own order and changes nothing. Without that, a `landlord start` right after
//! a `landlord stop` would meet the unit's belated "stop".

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;

use super::{child::Child, control::Replies, event::Event, event::Who, house::House};
use crate::{
    model::TenantName,
    sys::{
        self,
        notify::{has_unit, own_unit},
        process::Exit,
        spawn::{Program, Spawn},
    },
};

/// Units in one command line.
const AT_ONCE: usize = 100;
const SYSTEMCTL: &str = "/usr/bin/systemctl";

/// What units were told, are being told and are to be told.
#[derive(Debug, Default)]
pub(super) struct Units {
    /// We are landlord.service, and the template is installed.
    present: bool,
    told: BTreeMap<TenantName, bool>,
    pending: BTreeMap<TenantName, bool>,
    order: Option<Order>,
}

/// A `systemctl` under way.
#[derive(Debug)]
struct Order {
    up: bool,
    names: BTreeSet<TenantName>,
    child: Child,
}

impl Units {
    /// Of the system that we run on.
    pub(super) fn new(managed: bool) -> Self {
        let present = managed && own_unit().as_deref() == Some("landlord.service") && has_unit("landlord@.service");
        Self { present, ..Self::default() }
    }

    /// The tenant is wanted, or not.
    pub(super) fn want(&mut self, name: &TenantName, up: bool) {
        if !self.present {
            return;
        }
        if self.told.get(name) == Some(&up) {
            self.pending.remove(name);
        } else {
            self.pending.insert(name.clone(), up);
        }
    }

    /// The unit says so itself.
    fn is(&mut self, name: &TenantName, up: bool) {
        self.pending.remove(name);
        self.told.insert(name.clone(), up);
    }

    /// Whether a unit that asks to be `up` does so because we told it to.
    fn is_echo(&self, name: &TenantName, up: bool) -> bool {
        self.order.as_ref().is_some_and(|order| order.up == up && order.names.contains(name))
    }

    /// The child under way.
    pub(super) fn child(&self) -> Option<&Child> {
        self.order.as_ref().map(|order| &order.child)
    }

    /// Tells what is to be told, unless something is being told.
    pub(super) fn follow(&mut self, events: &mpsc::UnboundedSender<Event>) {
        let Some(up) = self.pending.values().next().copied().filter(|_| self.order.is_none()) else { return };
        let same = self.pending.iter().filter(|(_, wanted)| **wanted == up).map(|(name, _)| name.clone());
        let names: BTreeSet<TenantName> = same.take(AT_ONCE).collect();
        for name in &names {
            self.is(name, up);
        }
        match systemctl(up, &names, events) {
            Ok(child) => self.order = Some(Order { up, names, child }),
            Err(error) => tracing::warn!(%error, "the tenants' units cannot be told"),
        }
    }

    /// The order under way has ended.
    pub(super) fn ended(&mut self, exit: Exit) {
        let Some(order) = self.order.take() else { return };
        if exit.code != Some(0) {
            let (up, names) = (order.up, order.names.len());
            tracing::warn!(up, names, %exit, "not every unit of a tenant took the order");
        }
    }

    /// Nothing is told any more: our own end is no wish about anybody.
    pub(super) fn close(&mut self) {
        self.present = false;
        self.pending.clear();
        if let Some(order) = &self.order {
            order.child.signal(libc::SIGTERM);
        }
    }
}

impl House {
    /// `systemctl start landlord@NAME`: as `landlord start`. An echo is not waited for, so that a boot is not held up.
    pub(super) fn start_unit(&mut self, name: &TenantName, replies: Replies) {
        if self.units.is_echo(name, true) {
            return replies.done(true, format!("{name} is let in"));
        }
        if self.seats.get(name).is_some_and(|seat| !seat.removed && !seat.spec.suspended) {
            self.units.is(name, true);
        }
        self.set_stopped(name, false, replies);
    }

    /// `systemctl stop landlord@NAME`.
    pub(super) fn stop_unit(&mut self, name: &TenantName, replies: Replies) {
        let there = self.seats.get(name).is_some_and(|seat| !seat.removed);
        if self.units.is_echo(name, false) || !there {
            // One whose file is gone is on its way out already.
            return replies.done(true, format!("{name} is not wanted any more"));
        }
        self.units.is(name, false);
        self.set_stopped(name, true, replies);
    }
}

fn systemctl(up: bool, names: &BTreeSet<TenantName>, events: &mpsc::UnboundedSender<Event>) -> std::io::Result<Child> {
    let verb = if up { "start" } else { "stop" };
    let units = names.iter().map(|name| format!("landlord@{name}.service").into());
    let child = sys::spawn::spawn(Spawn {
        program: Program::Path(SYSTEMCTL.into()),
        args: [verb, "--quiet", "--no-ask-password"].map(Into::into).into_iter().chain(units).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        fds: Vec::new(),
        stdin_null: true,
        stdout: None,
        stderr: None,
        dir: None,
        die_with_parent: true,
    })?;
    Child::watch(child, Who::Units, 0, None, events.clone())
}
