//! Facts that fit nothing, and all of them in any order.

use super::*;

#[test]
fn facts_about_what_is_unknown_do_nothing() {
    let mut script = Script::serving();
    for odd in [
        opened(1),
        opened(9),
        idle(1),
        idle(9),
        applied(999),
        done(1, Task::Migrate),
        healthy(9, 1),
        exited(1, 7),
        gone(1, 1),
        of(1, worker::Event::Stop),
        Event::Timer,
        Event::OpenFailed { generation: GenerationId(1), reason: "late".into() },
    ] {
        script.then(odd, &[]);
    }
}

/// Any event at all, asked for or not.
fn any_event() -> impl proptest::strategy::Strategy<Value = Event> {
    use proptest::prelude::*;
    let id = 1_u64..5;
    let task = || prop_oneof![Just(Task::Snapshot), Just(Task::Migrate), Just(Task::Restore)];
    let reason = || {
        prop_oneof![
            Just(StopReason::Operator),
            Just(StopReason::Suspended),
            Just(StopReason::Removed),
            Just(StopReason::Sleep),
        ]
    };
    prop_oneof![
        3 => prop_oneof![Just("a"), Just("b")].prop_map(overlap),
        3 => prop_oneof![Just("a"), Just("b")].prop_map(hold),
        1 => reason().prop_map(stop),
        1 => Just(Event::Deploy),
        5 => Just(Event::Timer),
        5 => id.clone().prop_map(opened),
        1 => id.clone().prop_map(|id| Event::OpenFailed { generation: GenerationId(id), reason: "none left".into() }),
        8 => (0_u64..40).prop_map(applied),
        5 => id.clone().prop_map(idle),
        3 => (id.clone(), task()).prop_map(|(id, task)| done(id, task)),
        1 => (id.clone(), task()).prop_map(|(id, task)| undone(id, task)),
        5 => id.clone().prop_map(spawned),
        5 => (id.clone(), 1_u32..4).prop_map(|(id, attempt)| healthy(id, attempt)),
        3 => (id.clone(), 1_u32..4).prop_map(|(id, attempt)| exited(id, attempt)),
        5 => (id, 1_u32..4).prop_map(|(id, attempt)| gone(id, attempt)),
    ]
}

proptest::proptest! {
    /// Whatever is told in whatever order: it comes to rest, serves only what is healthy, opens each generation once and
    /// closes none that was not opened, and never settles more than was asked for.
    #[test]
    fn any_order_of_events_is_survived(
        events in proptest::collection::vec((any_event(), 0_u64..20_000), 0..150),
    ) {
        let mut tenant = Tenant::new("acme".parse().unwrap(), 1);
        let (mut now, mut next, mut owed) = (Now::default(), 0, false);
        let (mut open, mut answered) = (Vec::new(), Vec::new());
        for (event, gap) in events {
            now = now + Duration::from_millis(gap);
            if let Event::Opened { generation } | Event::OpenFailed { generation, .. } = event {
                answered.push(generation);
            }
            let asks = matches!(event, Event::Want(_) | Event::Deploy);
            let actions = tenant.on(event, now, &mut || {
                next += 1;
                GenerationId(next)
            });
            let mut settled = 0;
            for action in actions {
                match action {
                    Action::Open { generation } => {
                        assert!(!open.contains(&generation));
                        open.push(generation);
                    }
                    Action::Close { generation } => assert!(open.contains(&generation) && answered.contains(&generation)),
                    Action::Settled { .. } => settled += 1,
                    _ => {}
                }
            }
            assert!(settled <= usize::from(owed) + usize::from(asks));
            owed = tenant.busy();
            if let Serving::Serve { generation } = tenant.route().serving {
                assert_eq!(tenant.worker(generation).unwrap().phase, worker::Phase::Running);
            }
        }
    }
}
