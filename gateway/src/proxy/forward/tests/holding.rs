//! Requests that wait for their tenant, and gates that close over requests in flight.

use super::*;
use crate::model::GenerationId;

fn held(house: &House) -> u32 {
    house.routes.current().tenant(&HOST.parse().unwrap()).unwrap().held.waiting()
}

async fn until(met: impl Fn() -> bool) {
    while !met() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn held_requests_are_released_by_the_table_that_serves() {
    core(async {
        let mut house = House::new();
        house.apply(acme(Serving::Hold, vec![]));
        let (listener, port) = listener().await;
        let asked: Vec<_> = (0..5)
            .map(|_| {
                let forwarder = house.forwarder.clone();
                let request = admitted(request(Method::GET, "/", RequestBody::Empty), Protocol::H1);
                tokio::task::spawn_local(async move { text(forwarder.forward(request).await).await })
            })
            .collect();
        until(|| held(&house) == 5).await;
        assert_eq!(house.reports.recv().await, Some(Report::Waiting("acme".into())));
        assert!(house.reports.try_recv().is_err(), "told once");
        house.serve(port);
        let worker = tokio::task::spawn_local(async move {
            for _ in 0..5 {
                let mut line = Line::accept(&listener).await;
                tokio::task::spawn_local(async move { while line.answer("ok").await.len() > 1 {} });
            }
        });
        for asked in asked {
            assert_eq!(asked.await.unwrap(), "ok");
        }
        worker.abort();
        assert_eq!(held(&house), 0);
        assert!(house.record().await.held > Duration::ZERO);

        house.apply(acme(Serving::Hold, vec![]));
        let forwarder = house.forwarder.clone();
        let request = admitted(request(Method::GET, "/", RequestBody::Empty), Protocol::H1);
        let again = tokio::task::spawn_local(async move { forwarder.forward(request).await.status() });
        assert_eq!(house.reports.recv().await, Some(Report::Waiting("acme".into())), "told again after serving");
        again.abort();
        until(|| held(&house) == 0).await;
    });
}

#[test]
fn a_hold_that_is_too_long_or_too_full_is_503_with_retry_after() {
    core(async {
        let mut house = House::new();
        let tenant = acme(Serving::Hold, vec![]);
        house.apply(TenantRoute { hold_timeout: Duration::from_millis(100), held_requests: 1, ..tenant });
        let first = house.get("/");
        let second = async {
            until(|| held(&house) == 1).await;
            let response = house.get("/").await;
            assert_eq!(held(&house), 1, "the first still waits");
            response
        };
        let (first, second) = tokio::join!(first, second);
        for response in [first, second] {
            assert_eq!(response.status(), 503);
            assert!(response.headers().contains_key("retry-after"));
            assert!(text(response).await.contains("acme &amp; Sons"));
        }
        assert_eq!(held(&house), 0);
    });
}

#[test]
fn a_client_that_leaves_frees_its_place_and_its_body_stays_unread() {
    core(async {
        let mut house = House::new();
        house.apply(acme(Serving::Hold, vec![]));
        let (send, body) = piped();
        send.send(Ok(Bytes::from_static(b"unread"))).unwrap();
        let forwarder = house.forwarder.clone();
        let request = admitted(request(Method::POST, "/", body), Protocol::H1);
        let asked = tokio::task::spawn_local(async move { forwarder.forward(request).await.status() });
        until(|| held(&house) == 1).await;
        asked.abort();
        until(|| held(&house) == 0).await;
        let record = house.record().await;
        assert!(record.aborted);
        assert_eq!((record.bytes_in, record.status.as_u16()), (0, 499));
    });
}

#[test]
fn a_closed_gate_finishes_what_is_in_flight_and_lets_new_requests_to_the_new_one() {
    core(async {
        let mut house = House::new();
        let ((old, old_port), (new, new_port)) = (listener().await, listener().await);
        house.serve(old_port);
        let forwarder = house.forwarder.clone();
        let slow_request = admitted(request(Method::GET, "/slow", RequestBody::Empty), Protocol::H1);
        let slow = tokio::task::spawn_local(async move { text(forwarder.forward(slow_request).await).await });
        let mut line = Line::accept(&old).await;
        line.head().await;

        let serving = Serving::Serve { generation: GenerationId(2) };
        house.apply(acme(serving, vec![at(1, old_port, false), at(2, new_port, true)]));
        let idle = |house: &House| {
            house.routes.current().backends().any(|(b, _)| b.generation == GenerationId(1) && b.gate.is_idle())
        };
        assert!(!idle(&house));
        let worker = tokio::task::spawn_local(async move { Line::accept(&new).await.answer("new").await });
        assert_eq!(text(house.get("/").await).await, "new");
        worker.await.unwrap();

        line.say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold").await;
        assert_eq!(slow.await.unwrap(), "old");
        house.routes.idle().notified().await;
        assert!(idle(&house));
    });
}

#[test]
fn what_outlives_the_drain_deadline_is_cut_even_while_nobody_reads_it() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        house.serve(port);
        let worker = tokio::task::spawn_local(async move {
            let mut line = Line::accept(&listener).await;
            line.head().await;
            line.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nstart").await;
            line.more().await
        });
        let response = house.get("/").await;
        house.apply(acme(Serving::Hold, vec![at(1, port, false)]));
        let current = house.routes.current();
        let gate = &current.backends().next().unwrap().0.gate;
        assert!(!gate.is_idle());
        gate.cut(false);
        house.routes.idle().notified().await;
        assert!(gate.is_idle());
        assert!(!worker.await.unwrap(), "the worker is rid of it");
        assert_eq!(response.into_body().collect().await.err(), Some(BodyError::Upstream));
        assert_eq!(house.record().await.error, Some("cut at the drain deadline"));
    });
}
