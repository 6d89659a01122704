//! The groups themselves: which there are, and what they are called.

use super::pressure::Pressure;
use crate::{
    model::{GenerationId, TenantName},
    sys::cgroup::{Alarm, Controllers, Group},
};

/// The group of proxies, log and acme.
pub(super) const ROLES: &str = "roles";
/// Before a tenant's name.
pub(in crate::master) const TENANT: &str = "t-";
/// Of the master and of the roles, where tenants have 100: visitors of all depend on them.
const HOUSE_WEIGHT: &str = "1000";
/// Groups that are there.
pub(super) struct Tree {
    pub(super) unit: Group,
    pub(super) controllers: Controllers,
    pub(super) alarm: Option<Alarm>,
    pub(super) pressure: Pressure,
}

impl Tree {
    pub(super) fn new(unit: Group, controllers: Controllers) -> Self {
        let roles = unit.child(ROLES);
        if let Err(error) = roles.make() {
            tracing::warn!(%error, "the roles get no control group of their own");
        }
        for name in unit.children().iter().filter(|name| !name.starts_with(TENANT) && !name.starts_with('.')) {
            // Where the processor is not divided there is no such file.
            let _ = unit.child(name).write("cpu.weight", HOUSE_WEIGHT);
        }
        let alarm =
            Alarm::new().inspect_err(|error| tracing::warn!(%error, "no word of the kernel's about memory")).ok();
        Self { unit, controllers, alarm, pressure: Pressure::default() }
    }

    pub(super) fn tenant(&self, name: &TenantName) -> Group {
        self.unit.child(&format!("{TENANT}{name}"))
    }

    pub(super) fn watch(&mut self, name: &TenantName) {
        if !self.pressure.knows(name) {
            let group = self.tenant(name);
            let watches = self.alarm.as_ref().map(|alarm| alarm.add(&group)).unwrap_or_default();
            self.pressure.watch(name.clone(), &group, watches);
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        let group = self.unit.child(&format!("{TENANT}{name}"));
        group.children().iter().for_each(|leaf| drop(group.child(leaf).remove()));
        if let Err(error) = group.remove() {
            tracing::debug!(tenant = name, %error, "its control group stays for now");
        }
        self.pressure.forget(name);
    }
}

pub(super) fn leaf(generation: GenerationId) -> String {
    format!("g{generation}")
}

pub(super) fn end(leaf: &Group) {
    match leaf.kill() {
        Ok(false) => {}
        Ok(true) => tracing::warn!(group = %leaf.path().display(), "processes that nobody answers for are ended"),
        Err(error) => tracing::error!(group = %leaf.path().display(), %error, "some processes cannot be ended"),
    }
    let _ = leaf.remove();
}

/// What limits would need and the kernel does not give, in words.
pub(super) fn missing(controllers: Controllers) -> Option<String> {
    let Controllers { memory, cpu, pids, .. } = controllers;
    let all = [(memory, "memory"), (cpu, "the processor"), (pids, "the number of processes")];
    let missing: Vec<&str> = all.into_iter().filter_map(|(there, name)| (!there).then_some(name)).collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}
