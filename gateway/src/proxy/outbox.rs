//! Facts on their way to the master, which may be away for a while: what is said never waits for it.
//!
//! Nothing is lost that still matters, and it stays small: a fact that says more than an earlier one takes its place, so
//! that there are at most a few for each generation and tenant.

use std::collections::VecDeque;

use super::control::ToMaster;
use crate::wire::{FromProxy, LinkError};

/// What the master has not been told yet, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    facts: VecDeque<FromProxy>,
}

impl Outbox {
    /// Says it next, after what was said before; what it makes void is not said any more.
    pub(crate) fn push(&mut self, fact: FromProxy) {
        self.facts.retain(|earlier| !replaces(&fact, earlier));
        self.facts.push_back(fact);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Sends the oldest, when there is room for it. Cancel safe; tells nothing once the master has gone, which is seen
    /// where it is listened to.
    ///
    /// # Errors
    /// When the link is broken.
    pub(crate) async fn send(&mut self, link: &ToMaster) -> Result<(), LinkError> {
        let Some(fact) = self.facts.front() else { return Ok(()) };
        match link.send(fact, &[]).await {
            Err(LinkError::Gone) => self.facts.clear(),
            sent => {
                sent?;
                self.facts.pop_front();
            }
        }
        Ok(())
    }
}

fn replaces(fact: &FromProxy, earlier: &FromProxy) -> bool {
    use FromProxy::{Answering, Applied, Busy, Counters, Hello, Idle, MaySleep, Probe, Quiet, Ready, Waiting};
    match (fact, earlier) {
        // Everything is said anew behind it.
        (Hello { .. }, _)
        // A newer table is behind an older one, and what is idle is told anew with each.
        | (Applied { .. }, Applied { .. } | Idle { .. })
        // Each telling is the whole of it.
        | (Answering { .. }, Answering { .. })
        | (Counters { .. }, Counters { .. })
        | (Ready, Ready) => true,
        (Idle { generation }, Idle { generation: earlier }) => generation == earlier,
        (Waiting { tenant }, Waiting { tenant: earlier }) => tenant == earlier,
        (Quiet { generation, .. } | Busy { generation }, Quiet { generation: earlier, .. } | Busy { generation: earlier })
        | (MaySleep { generation, .. }, MaySleep { generation: earlier, .. }) => generation == earlier,
        (Probe { generation, .. }, Probe { generation: earlier, .. }) => generation == earlier,
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::model::{GenerationId, ProbeOutcome};

    fn counters(requests: u64) -> FromProxy {
        FromProxy::Counters { connections: 0, requests, rejects: 0 }
    }

    fn idle(generation: u64) -> FromProxy {
        FromProxy::Idle { generation: GenerationId(generation) }
    }

    fn probe(generation: u64, outcome: ProbeOutcome) -> FromProxy {
        FromProxy::Probe { generation: GenerationId(generation), attempt: 0, outcome }
    }

    fn said(facts: impl IntoIterator<Item = FromProxy>) -> Vec<FromProxy> {
        let mut outbox = Outbox::default();
        facts.into_iter().for_each(|fact| outbox.push(fact));
        outbox.facts.into()
    }

    #[test]
    fn the_newest_of_what_replaces_each_other_is_said_and_all_of_the_rest() {
        let unhealthy = || ProbeOutcome::Unhealthy("GET /: 500".into());
        let waiting = |tenant: &str| FromProxy::Waiting { tenant: tenant.parse().unwrap() };
        let answering = |serial| FromProxy::Answering { serial };
        let facts = [
            answering(1),
            counters(1),
            waiting("acme"),
            probe(1, ProbeOutcome::Healthy),
            probe(2, ProbeOutcome::Healthy),
            waiting("beta"),
            answering(2),
            counters(2),
            probe(1, unhealthy()),
            waiting("acme"),
        ];
        let left = [
            probe(2, ProbeOutcome::Healthy),
            waiting("beta"),
            answering(2),
            counters(2),
            probe(1, unhealthy()),
            waiting("acme"),
        ];
        assert_eq!(said(facts), left);
    }

    #[test]
    fn an_older_table_and_what_was_idle_by_it_give_way() {
        let applied = |epoch| FromProxy::Applied { epoch };
        let facts = [applied(1), idle(1), counters(1), applied(2), idle(1), idle(2), idle(1)];
        assert_eq!(said(facts), [counters(1), applied(2), idle(2), idle(1)]);
        let hello = FromProxy::Hello { protocol: 1, epoch: 2 };
        assert_eq!(said([applied(2), idle(1), FromProxy::Ready, hello.clone()]), [hello]);
    }

    #[test]
    fn who_is_quiet_and_busy_by_turns_is_what_it_was_last() {
        let quiet = |generation| FromProxy::Quiet { generation: GenerationId(generation), for_ms: 1000 };
        let busy = |generation| FromProxy::Busy { generation: GenerationId(generation) };
        assert_eq!(said([quiet(1), busy(1), quiet(2), quiet(1), busy(1)]), [quiet(2), busy(1)]);
    }
}
