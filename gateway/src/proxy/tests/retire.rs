//! A proxy whose place another one has taken: nobody is lost, and it ends when the last has gone.

use std::{cell::Cell, rc::Rc};

use super::{frames::*, *};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// A proxy of one core that serves one tenant with this worker, and the tenant's route.
async fn serving(address: BackendAddress) -> (Master, TenantRoute) {
    let mut master = Master::with(1, HttpLimits::default()).await;
    let mut acme = make::tenant("acme", &[HOST], serve(1));
    acme.backends = vec![make::backend(1, address, true)];
    master.route(acme.clone()).await;
    assert_eq!(master.hear().await, FromProxy::Ready);
    (master, acme)
}

async fn retire(master: &Master) -> u64 {
    master.tell(ToProxy::Retire, None).await;
    master.hear_connections().await
}

#[test]
fn everybody_whom_it_let_in_is_served_and_nobody_else_is_let_in() {
    run(async {
        let (address, go) = worker("up").await;
        let (old, acme) = serving(address).await;
        // One that has not begun its handshake, one that has not asked yet, two idle ones, and one that waits for an answer.
        let silent = TcpStream::connect(old.address).await.unwrap();
        let mut fresh = old.visit().await;
        let (mut idle, mut busy) = (old.visit().await, old.visit().await);
        ask(&mut idle, "/", "up").await;
        send(&mut busy, "/slow").await;
        let mut last = old.visit().await;
        ask(&mut last, "/", "up").await;

        assert_eq!(retire(&old).await, 5, "told at once");
        // In the kernel's queue as long as there is no other.
        let queued = TcpStream::connect(old.address).await.unwrap();
        assert_eq!(old.hear_connections().await, 5, "and every second");
        let mut new = old.another().await;
        new.route(acme).await;
        assert_eq!(new.hear().await, FromProxy::Ready);
        let mut queued = new.open(queued, "http/1.1").await;
        let answer = ask(&mut queued, "/", "up").await.to_ascii_lowercase();
        assert!(!answer.contains("connection: close"), "{answer}");

        go.send(()).unwrap();
        let mut silent = old.open(silent, "http/1.1").await;
        for visitor in [&mut silent, &mut fresh, &mut idle, &mut last] {
            send(visitor, "/").await;
        }
        for mut visitor in [silent, fresh, idle, busy, last] {
            let answer = rest(&mut visitor).await.to_ascii_lowercase();
            assert!(answer.starts_with("http/1.1 200 ok"), "{answer}");
            assert!(answer.contains("connection: close") && answer.ends_with("up"), "{answer}");
        }
        assert_eq!(old.ended().await, ExitCode::SUCCESS);
        ask(&mut queued, "/", "up").await;
    });
}

#[test]
fn http2_says_goodbye_twice_and_serves_what_crossed_it() {
    run(async {
        let (address, go) = worker("up").await;
        let (old, _) = serving(address).await;
        let (mut idle, mut busy) = (Frames::open(&old).await, Frames::open(&old).await);
        for visitor in [&mut idle, &mut busy] {
            visitor.ask(1, "/").await;
            assert_eq!(visitor.see().await, Seen::Answer(1, "up".into()));
        }
        busy.ask(3, "/slow").await;
        busy.ping().await;
        assert!(matches!(busy.see().await, Seen::Ping(_)), "the stream before it has been read");
        assert_eq!(retire(&old).await, 2);

        for visitor in [&mut idle, &mut busy] {
            assert_eq!(visitor.see().await, Seen::GoAway((1 << 31) - 1, 0));
        }
        let Seen::Ping(idle_round) = idle.see().await else { panic!("no PING") };
        let Seen::Ping(busy_round) = busy.see().await else { panic!("no PING") };
        // Both cross the first GOAWAY, and of the second a PING's answer went ahead, as clients have it.
        busy.ask(5, "/").await;
        assert_eq!(busy.see().await, Seen::Answer(5, "up".into()));
        busy.pong(&busy_round).await;
        busy.ask(7, "/").await;
        assert_eq!(busy.see().await, Seen::Answer(7, "up".into()));
        assert_eq!(busy.see().await, Seen::GoAway(7, 0));
        // This one does not.
        busy.ask(9, "/").await;
        idle.pong(&idle_round).await;
        assert_eq!(idle.see().await, Seen::GoAway(1, 0));
        assert_eq!(idle.see().await, Seen::End);
        go.send(()).unwrap();
        assert_eq!(busy.see().await, Seen::Answer(3, "up".into()));
        assert_eq!(busy.see().await, Seen::End);
        drop((idle, busy));
        assert_eq!(old.ended().await, ExitCode::SUCCESS);
    });
}

#[test]
fn http2_that_has_not_asked_yet_gets_its_answer_before_the_goodbye() {
    run(async {
        let (address, _go) = worker("up").await;
        let (old, _) = serving(address).await;
        let mut fresh = Frames::open(&old).await;
        fresh.ping().await;
        assert!(matches!(fresh.see().await, Seen::Ping(_)));
        retire(&old).await;
        fresh.ping().await;
        assert!(matches!(fresh.see().await, Seen::Ping(_)), "no GOAWAY before it");
        fresh.ask(1, "/").await;
        let mut seen = vec![fresh.see().await, fresh.see().await, fresh.see().await];
        seen.retain(|seen| !matches!(seen, Seen::Ping(_)));
        seen.sort_by_key(|seen| matches!(seen, Seen::Answer(..)));
        assert_eq!(seen, [Seen::GoAway((1 << 31) - 1, 0), Seen::Answer(1, "up".into())]);
        drop(fresh);
        assert_eq!(old.ended().await, ExitCode::SUCCESS);
    });
}

#[test]
fn bodies_and_tunnels_have_deadlines_of_their_own_by_the_newest_table() {
    run(async {
        let (address, _go) = worker("up").await;
        let (mut old, mut acme) = serving(address).await;
        let (mut tunnel, mut long, mut upload, mut idle) =
            (old.visit().await, old.visit().await, old.visit().await, old.visit().await);
        open_tunnel(&mut tunnel).await;
        send(&mut long, "/long").await;
        let post = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\nhalf");
        upload.write_all(post.as_bytes()).await.unwrap();
        ask(&mut idle, "/", "up").await;
        let mut read = Vec::new();
        while !read.ends_with(b"half") {
            assert!(long.read_buf(&mut read).await.unwrap() > 0);
        }
        assert_eq!(retire(&old).await, 4);
        // Longer than two sweeps of the core, by tables that allow for it.
        echo(&mut tunnel).await;
        assert_eq!(old.hear_connections().await, 4);

        (acme.backends[0].drain_timeout, acme.backends[0].upgrade_timeout) = (SHORT, LONG);
        old.route(acme.clone()).await;
        assert_eq!(rest(&mut long).await, "", "half an answer, and no more");
        let cut = rest(&mut upload).await;
        assert!(cut.starts_with("HTTP/1.1 503 "), "{cut}");
        echo(&mut tunnel).await;
        // A request that begins later has as long from its own beginning.
        send(&mut idle, "/").await;
        let answer = rest(&mut idle).await.to_ascii_lowercase();
        assert!(answer.contains("connection: close") && answer.ends_with("up"), "{answer}");

        acme.backends[0].upgrade_timeout = SHORT;
        old.route(acme).await;
        assert_eq!(rest(&mut tunnel).await, "");
        let mut lines = [old.log_line(), old.log_line(), old.log_line(), old.log_line(), old.log_line()];
        lines.sort_by_key(|line| (line["path"].as_str().unwrap().to_owned(), line["status"].as_u64()));
        let aborted = lines.map(|line| (line["path"].as_str().unwrap().to_owned(), line["aborted"] == true));
        let expected = [("/", false), ("/", false), ("/", false), ("/long", true), ("/ws", true)];
        assert_eq!(aborted, expected.map(|(path, aborted)| (path.to_owned(), aborted)));
        drop((tunnel, long, upload, idle));
        assert_eq!(old.ended().await, ExitCode::SUCCESS);
    });
}

#[test]
fn a_drain_that_is_told_later_cuts_at_its_deadline() {
    run(async {
        let (address, _go) = worker("up").await;
        let (old, _) = serving(address).await;
        let mut tunnel = old.visit().await;
        open_tunnel(&mut tunnel).await;
        retire(&old).await;
        echo(&mut tunnel).await;
        old.tell(ToProxy::Drain { deadline_ms: 300 }, None).await;
        assert_eq!(rest(&mut tunnel).await, "");
        assert_eq!(old.ended().await, ExitCode::SUCCESS);
    });
}

#[test]
fn it_follows_the_tables_to_its_end_and_probes_no_more() {
    run(async {
        let (address, _go) = worker("old").await;
        let (mut old, mut acme) = serving(address).await;
        let (next, _next_go) = worker("new").await;
        let (mut idle, mut held, mut other) = (old.visit().await, old.visit().await, old.visit().await);
        for visitor in [&mut idle, &mut held, &mut other] {
            ask(visitor, "/", "old").await;
            old.log_line();
        }
        assert_eq!(retire(&old).await, 3);

        // A deploy that holds: its requests wait, and get the new worker's answer.
        acme.serving = Serving::Hold;
        acme.backends[0].open = false;
        old.route(acme.clone()).await;
        assert_eq!(old.hear().await, FromProxy::Idle { generation: GenerationId(1) });
        send(&mut held, "/held").await;
        assert_eq!(old.hear().await, FromProxy::Waiting { tenant: "acme".parse().unwrap() });
        let probed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut starting = make::backend(3, BackendAddress::Tcp(probed.local_addr().unwrap()), true);
        starting.probe = Some(resume::probe());
        acme.backends = vec![make::backend(2, next, true), starting];
        acme.serving = serve(2);
        old.route(acme.clone()).await;
        let answer = rest(&mut held).await;
        assert!(answer.ends_with("new"), "{answer}");
        assert_eq!(old.log_line()["generation"], 2);

        acme.serving = Serving::Suspended;
        old.route(acme.clone()).await;
        send(&mut idle, "/").await;
        let answer = rest(&mut idle).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.to_ascii_lowercase().contains("connection: close"));
        // A starting worker is probed at once where it is probed at all; a second has passed.
        old.hear_connections().await;
        old.hear_connections().await;
        assert!(tokio::time::timeout(Duration::from_millis(1), probed.accept()).await.is_err(), "probed");
        drop((idle, held, other));
        assert_eq!(old.ended().await, ExitCode::SUCCESS);
    });
}

#[test]
fn visitors_that_come_while_proxies_take_turns_are_all_served() {
    run(async {
        let (address, _go) = worker("up").await;
        let mut acme = make::tenant("acme", &[HOST], serve(1));
        acme.backends = vec![make::backend(1, address, true)];
        let mut proxy = Master::new().await;
        proxy.route(acme.clone()).await;
        assert_eq!(proxy.hear().await, FromProxy::Ready);

        let (done, served) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
        let mut crowds = Vec::new();
        for _ in 0..4 {
            let (trust, address) = (Arc::clone(&proxy.trust), proxy.address);
            let (done, served) = (Rc::clone(&done), Rc::clone(&served));
            crowds.push(tokio::task::spawn_local(async move {
                while !done.get() {
                    let stream = TcpStream::connect(address).await.expect("refused");
                    let name = ServerName::try_from(HOST).unwrap();
                    let tls = TlsConnector::from(Arc::clone(&trust)).connect(name, stream).await;
                    let mut visitor = tls.expect("reset in its handshake");
                    ask(&mut visitor, "/", "up").await;
                    served.set(served.get() + 1);
                }
            }));
        }
        let mut leaving = Vec::new();
        for _ in 0..5 {
            let mut next = proxy.another().await;
            next.route(acme.clone()).await;
            assert_eq!(next.hear().await, FromProxy::Ready);
            // Both accept for a while.
            let both = served.get() + 12;
            while served.get() < both {
                tokio::task::yield_now().await;
            }
            proxy.tell(ToProxy::Retire, None).await;
            leaving.push(std::mem::replace(&mut proxy, next));
        }
        done.set(true);
        for crowd in crowds {
            crowd.await.unwrap();
        }
        for old in leaving {
            assert_eq!(old.ended().await, ExitCode::SUCCESS);
        }
    });
}
