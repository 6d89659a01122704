//! A master that is away and comes back.

use super::*;

/// Of a starting worker.
pub(super) fn probe() -> Probe {
    Probe {
        path: Some("/healthz".into()),
        host: HOST.parse().unwrap(),
        interval: Duration::from_secs(60),
        timeout: Duration::from_secs(2),
        starting: true,
        attempt: 4,
    }
}

/// So many tables' answers do not fit into the link.
const TABLES: u64 = 2000;

#[test]
fn nothing_waits_for_a_master_that_does_not_listen() {
    run(async {
        let mut master = Master::new().await;
        let ((first, _go), (second, _second_go)) = (worker("up").await, worker("new").await);
        let mut acme = make::tenant("acme", &[HOST], serve(1));
        acme.backends = vec![make::backend(1, first, true)];
        master.route(acme.clone()).await;
        assert_eq!(master.hear().await, FromProxy::Ready);
        let mut tunnel = master.visit().await;
        open_tunnel(&mut tunnel).await;

        for _ in 0..TABLES {
            master.tell_routes(acme.clone()).await;
        }
        acme.serving = serve(2);
        (acme.backends[0].open, acme.backends[0].upgrade_timeout) = (false, Duration::from_millis(50));
        acme.backends.push(make::backend(2, second, true));
        master.tell_routes(acme).await;
        // Its deadline is kept, its end is written, and others are served by the newest table.
        assert_eq!(rest(&mut tunnel).await, "");
        assert_eq!(master.log_line()["path"], "/ws");
        let mut visitor = master.visit().await;
        ask(&mut visitor, "/", "new").await;
        assert_eq!(master.log_line()["generation"], 2);

        let (mut heard, mut last) = (0, 1);
        while last < master.epoch {
            let FromProxy::Applied { epoch } = master.hear().await else { panic!("something else") };
            assert!(epoch > last, "{epoch} behind {last}");
            (heard, last) = (heard + 1, epoch);
        }
        assert!(heard < TABLES, "the link was never full");
        assert_eq!(master.hear().await, FromProxy::Idle { generation: GenerationId(1) });
    });
}

#[test]
fn a_master_that_comes_back_is_told_everything_and_goes_on_from_a_larger_epoch() {
    run(async {
        let mut master = Master::new().await;
        let ((first, _go), (second, _second_go)) = (worker("old").await, worker("new").await);
        let mut acme = make::tenant("acme", &[HOST], serve(1));
        acme.backends = vec![make::backend(1, first, true)];
        master.route(acme.clone()).await;
        assert_eq!(master.hear().await, FromProxy::Ready);
        let mut starting = make::backend(2, second, true);
        starting.probe = Some(probe());
        acme.serving = Serving::Hold;
        acme.backends[0].open = false;
        acme.backends.push(starting);
        master.route(acme.clone()).await;
        let waiting = FromProxy::Waiting { tenant: "acme".parse().unwrap() };
        let idle = FromProxy::Idle { generation: GenerationId(1) };
        let healthy = FromProxy::Probe { generation: GenerationId(2), attempt: 4, outcome: ProbeOutcome::Healthy };
        let mut visitor = master.visit().await;
        send(&mut visitor, "/").await;
        let mut facts = [master.hear().await, master.hear().await, master.hear().await].to_vec();
        for fact in [&waiting, &idle, &healthy] {
            assert!(facts.contains(fact), "{facts:?}");
        }

        master.tell(ToProxy::Hello { protocol: PROTOCOL }, None).await;
        assert_eq!(master.hear().await, FromProxy::Hello { protocol: PROTOCOL, epoch: 2 });
        assert_eq!(master.hear().await, FromProxy::Ready);
        assert_eq!(master.hear().await, FromProxy::Applied { epoch: 2 });
        facts = [master.hear().await, master.hear().await, master.hear().await].to_vec();
        assert_eq!(facts, [idle.clone(), waiting, healthy]);

        master.epoch = 1_000_000;
        acme.serving = serve(2);
        master.route(acme).await;
        assert_eq!(master.hear().await, idle);
        let mut read = Vec::new();
        while !read.ends_with(b"new") {
            assert!(visitor.read_buf(&mut read).await.unwrap() > 0, "{}", String::from_utf8_lossy(&read));
        }

        // Of a retired one it hears the same, but for what that one does not do any more.
        master.tell(ToProxy::Retire, None).await;
        master.tell(ToProxy::Hello { protocol: PROTOCOL }, None).await;
        let epoch = 1_000_001;
        assert_eq!(master.hear().await, FromProxy::Hello { protocol: PROTOCOL, epoch });
        assert_eq!(master.hear().await, FromProxy::Applied { epoch });
        assert_eq!(master.hear().await, idle);
        // One of another version is told who is here, and may decide.
        master.tell(ToProxy::Hello { protocol: PROTOCOL + 1 }, None).await;
        assert_eq!(master.hear().await, FromProxy::Hello { protocol: PROTOCOL, epoch });
        drop(visitor);
        assert_eq!(master.ended().await, ExitCode::SUCCESS);
    });
}
