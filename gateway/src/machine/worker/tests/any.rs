//! All events in any order.

use proptest::prelude::*;

use super::*;

/// Any event, about this attempt or another.
fn any_event() -> impl Strategy<Value = Event> {
    let attempt = 0_u32..6;
    prop_oneof![
        1 => Just(Event::Start),
        1 => Just(Event::Stop),
        4 => Just(Event::Timer),
        2 => Just(Event::Spawned { pid: 7 }),
        1 => Just(Event::SpawnFailed { reason: "no such file".into() }),
        2 => attempt.clone().prop_map(|attempt| Event::Healthy { attempt }),
        2 => attempt.clone().prop_map(unhealthy),
        2 => attempt.clone().prop_map(exited),
        2 => attempt.prop_map(|attempt| Event::TreeGone { attempt }),
    ]
}

proptest! {
    /// Whatever comes in whatever order: no panic, no second process before the first one's tree is gone, and a stop
    /// reaches down as soon as the answers are given.
    #[test]
    fn any_order_of_events_is_survived(events in prop::collection::vec((any_event(), 0_u64..40_000), 0..80)) {
        let (mut worker, mut now) = (Worker::new(settings()), Now::default());
        let mut alive = false;
        let mut asked = false;
        worker.on(Event::Start, now);
        asked |= worker.phase() == Phase::Starting;
        for (event, gap) in events {
            now = now + Duration::from_millis(gap);
            let (was, pid) = (worker.phase(), worker.view().pid);
            let attempt = worker.view().attempt;
            if asked && matches!(event, Event::Spawned { .. }) {
                (alive, asked) = (true, false);
            }
            if asked && matches!(event, Event::SpawnFailed { .. }) {
                asked = false;
            }
            if was == Phase::Killing && event == (Event::TreeGone { attempt }) {
                alive = false;
            }
            for action in worker.on(event.clone(), now) {
                if let Action::Spawn { attempt: new } = action {
                    prop_assert!(!alive && !asked, "{:?} {:?} {:?}", was, pid, event);
                    prop_assert_eq!(new, attempt + 1);
                    asked = true;
                }
                if action == Action::Ready {
                    prop_assert_eq!(worker.phase(), Phase::Running);
                }
            }
            prop_assert_eq!(worker.phase() == Phase::Running, worker.view().ready_since.is_some());
        }
        // Well-behaved answers from here on.
        let mut actions = worker.on(Event::Stop, now);
        if asked {
            actions.extend(worker.on(Event::Spawned { pid: 8 }, now));
        }
        for _ in 0..3 {
            let attempt = worker.view().attempt;
            if let Some(deadline) = worker.deadline() {
                now = now.max(deadline);
            }
            worker.on(Event::Timer, now);
            worker.on(Event::TreeGone { attempt }, now);
        }
        prop_assert_eq!(worker.phase(), Phase::Stopped);
        prop_assert_eq!(worker.deadline(), None);
    }
}
