//! What the files say against what the house does: the steps from the one to the other.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Catalog, Digest, Tenant, TenantName};

/// What the master knows of one tenant that was let in.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetEntry {
    /// The settings that are in force: the last good ones.
    pub tenant: Tenant,
    /// Their digest: what of them makes a new generation necessary.
    pub digest: Digest,
    /// `landlord stop` was said, and no `landlord start` since.
    pub stopped: bool,
}

/// Every tenant that was let in and is not gone.
pub type Fleet = BTreeMap<TenantName, FleetEntry>;

/// One step, about one tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Its file is gone: drain, stop, keep the data.
    Remove(TenantName),
    /// Only what the proxy acts on has changed: a new route, no new generation.
    Reroute(TenantName),
    /// What the worker sees has changed, or whether it is to run at all: a new wish.
    Change(TenantName),
    /// It is new: let it in.
    Add(TenantName),
}

impl Step {
    /// Whom it is about.
    pub fn tenant(&self) -> &TenantName {
        match self {
            Self::Remove(name) | Self::Reroute(name) | Self::Change(name) | Self::Add(name) => name,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Removals first, so that what they leave (hosts, ports) is free for the rest; otherwise in the order of names.
    pub steps: Vec<Step>,
    /// Removals that were not planned because they are too many, and how to have them: a sentence for a person.
    pub held_back: Option<String>,
}

/// This many tenants may always vanish at once.
const FEW: usize = 3;

/// The steps from `fleet` to `catalog`. A wrong file leaves its tenant as it is. More vanished files at once than three and
/// a fifth of the fleet are taken for a mishap, unless `accept_removals`.
pub fn reconcile(catalog: &Catalog, fleet: &Fleet, accept_removals: bool) -> Plan {
    let rejected: BTreeSet<&TenantName> =
        catalog.rejected.iter().filter_map(|rejection| rejection.tenant.as_ref()).collect();
    let vanished: Vec<&TenantName> =
        fleet.keys().filter(|name| !catalog.accepted.contains_key(*name) && !rejected.contains(name)).collect();

    let mut plan = Plan::default();
    if accept_removals || !too_many(vanished.len(), fleet.len()) {
        plan.steps.extend(vanished.into_iter().cloned().map(Step::Remove));
    } else {
        plan.held_back = Some(format!(
            "{} of {} tenants would vanish at once, so none was removed: bring their files back, or say \
             `landlord reload --accept-removals`",
            vanished.len(),
            fleet.len()
        ));
    }
    for (name, (tenant, digest)) in &catalog.accepted {
        let step = match fleet.get(name) {
            _ if rejected.contains(name) => continue,
            None => Step::Add(name.clone()),
            Some(entry) if entry.digest != *digest || entry.tenant.suspended != tenant.suspended => {
                Step::Change(name.clone())
            }
            Some(entry) if entry.tenant != *tenant => Step::Reroute(name.clone()),
            Some(_) => continue,
        };
        plan.steps.push(step);
    }
    plan
}

/// More than three, and more than a fifth of the fleet.
fn too_many(vanished: usize, fleet: usize) -> bool {
    vanished > FEW && vanished * 5 > fleet
}

#[cfg(test)]
mod tests;
