//! How processes of tenants have ended, and what follows.

use super::house::House;
use crate::{
    machine::{tenant, worker},
    model::{GenerationId, TenantName},
    sys::process::Exit,
};

/// How a tenant's process has ended, in words for a person.
pub(super) enum End {
    /// The kernel ended it for want of memory.
    OutOfMemory(String),
    /// In any other way.
    Other(String),
}

impl End {
    pub(super) fn into_reason(self) -> String {
        let (Self::OutOfMemory(reason) | Self::Other(reason)) = self;
        reason
    }
}

impl House {
    /// As `reason` has it, or for want of memory: the kernel's signal alone does not say why.
    pub(super) fn end_of(&mut self, name: &TenantName, exit: Exit, reason: String) -> End {
        let limits = self.seats.get(name).map(|seat| &seat.spec.limits);
        let starved = limits.and_then(|limits| self.groups.out_of_memory(name, limits, exit));
        starved.map_or(End::Other(reason), End::OutOfMemory)
    }

    pub(super) fn on_worker_exit(&mut self, name: &TenantName, generation: GenerationId, attempt: u32, end: End) {
        let Some(lease) = self.seats.get_mut(name).and_then(|seat| seat.leases.get_mut(&generation)) else { return };
        lease.ended();
        let killing = self.worker_phase(name, generation) == Some(worker::Phase::Killing);
        let event = match end {
            End::OutOfMemory(reason) => worker::Event::OutOfMemory { attempt, reason },
            End::Other(reason) => worker::Event::Exited { attempt, reason },
        };
        self.tell_tenant(name, tenant::Event::Worker { generation, event });
        if killing {
            // The kill was ordered while it lived: now its strays are ended, and the order is carried out.
            if let Some(lease) = self.lease(name, generation) {
                lease.kill(&self.groups);
            }
            self.tree_gone(name, generation);
        }
    }
}
