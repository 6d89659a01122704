//! What is told to the master of its own accord, and all of it again to one that has come back.

use super::Control;
use crate::{
    model::GenerationId,
    wire::{FromProxy, PROTOCOL},
};

impl Control {
    /// Tells which closed gates are idle; `again`: also those that were told before.
    pub(super) fn tell_idle(&mut self, again: bool) {
        let Some(house) = &self.house else { return };
        let table = house.routes.current();
        let idle: Vec<GenerationId> = table
            .backends()
            .filter(|(backend, route)| !route.open && backend.gate.is_idle())
            .map(|(backend, _)| backend.generation)
            .filter(|generation| again || !self.idle_told.contains(generation))
            .collect();
        for generation in idle {
            self.idle_told.insert(generation);
            self.tell(FromProxy::Idle { generation });
        }
    }

    /// All that a master needs who has just come back: the proxy has gone on without it.
    /// `understood`: it speaks these messages.
    pub(super) fn tell_all(&mut self, understood: bool) {
        let table = self.house.as_ref().filter(|_| self.routed).map(|house| house.routes.current());
        let epoch = table.as_ref().map_or(0, |table| table.epoch);
        self.tell(FromProxy::Hello { protocol: PROTOCOL, epoch });
        if !understood {
            return;
        }
        if self.accepting && !self.house.as_ref().is_some_and(|house| house.cores.leaves()) {
            self.tell(FromProxy::Ready);
        }
        if let Some(serial) = self.answering {
            self.tell(FromProxy::Answering { serial });
        }
        if table.is_none() {
            return;
        }
        self.tell(FromProxy::Applied { epoch });
        self.tell_idle(true);
        self.tell_waiting();
        self.tell_each(self.quiet.known(std::time::Instant::now()));
        for finding in self.probes.known() {
            self.tell(finding.into());
        }
        self.count();
    }

    /// Tells whose visitors wait.
    pub(super) fn tell_waiting(&mut self) {
        let Some(house) = &self.house else { return };
        let table = house.routes.current();
        for tenant in table.waiting().filter_map(|tenant| tenant.name.parse().ok()) {
            self.tell(FromProxy::Waiting { tenant });
        }
    }

    /// For `status` and the log.
    pub(super) fn count(&mut self) {
        let Some(house) = &self.house else { return };
        let (connections, requests, rejects) = house.cores.counts();
        self.tell(FromProxy::Counters { connections, requests, rejects });
    }
}
