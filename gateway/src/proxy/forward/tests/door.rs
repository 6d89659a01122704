//! What a tenant's own limits let in: requests a second, requests at once, and nothing more to keep where it is full.

use super::*;
use crate::{
    model::{GenerationId, Rate},
    proxy::forward::seats::Seats,
};

const SERVE: Serving = Serving::Serve { generation: GenerationId(1) };

fn seats(house: &House) -> Arc<Seats> {
    house.routes.current().tenant(&HOST.parse().unwrap()).unwrap().seats.clone().unwrap()
}

async fn until(met: impl Fn() -> bool) {
    while !met() {
        tokio::task::yield_now().await;
    }
}

/// Of a tenant with so many seats and so much room to wait.
fn seated(port: u16, concurrent: u32, queued: u32) -> TenantRoute {
    TenantRoute { concurrent: Some(concurrent), queued, ..acme(SERVE, vec![at(1, port, true)]) }
}

/// A request on its way, from an address whose last number this is.
fn asking(house: &House, address: u8, path: &str) -> tokio::task::JoinHandle<Response<ResponseBody>> {
    let forwarder = house.forwarder.clone();
    let mut admitted = admitted(request(Method::GET, path, RequestBody::Empty), Protocol::H1);
    let client = ([192, 0, 2, address], 5000).into();
    let (sni, draining) = (admitted.host.clone(), Cell::new(false));
    admitted.connection = Rc::new(Connection { client, sni, protocol: Protocol::H1, draining, socket: None });
    tokio::task::spawn_local(async move { forwarder.forward(admitted).await })
}

/// Answers each request on every connection with its path.
fn echo(listener: TcpListener) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_local(async move {
        loop {
            let mut line = Line::accept(&listener).await;
            tokio::task::spawn_local(async move {
                loop {
                    let head = line.head().await;
                    let path = head.split(' ').nth(1).unwrap().to_owned();
                    line.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len())).await;
                }
            });
        }
    })
}

#[test]
fn above_its_rate_it_is_429_and_says_when_to_come_again() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        let worker = echo(listener);
        let rate = Some(Rate { per_second: 1, burst: 3 });
        house.apply(TenantRoute { rate, ..acme(SERVE, vec![at(1, port, true)]) });
        let mut refused = 0;
        for _ in 0..10 {
            let response = house.get("/").await;
            if response.status() == 200 {
                assert!(!response.headers().contains_key("ratelimit"));
                text(response).await;
                house.record().await;
                continue;
            }
            let record = house.record().await;
            refused += 1;
            assert_eq!(response.status(), 429);
            assert_eq!(response.headers()["retry-after"], "1");
            assert_eq!(response.headers()["ratelimit-policy"], "\"requests\";q=3;w=3");
            assert_eq!(response.headers()["ratelimit"], "\"requests\";r=0;t=1");
            assert_eq!((record.error, record.refused, record.tenant.as_deref()), (Some("rate"), true, Some("acme")));
            assert!(text(response).await.contains("acme &amp; Sons"));
        }
        assert!((5..=7).contains(&refused), "{refused}");
        worker.abort();
    });
}

#[test]
fn a_full_tenant_reads_on_and_keeps_nothing_more() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        let worker = echo(listener);
        house.apply(TenantRoute { full: true, ..acme(SERVE, vec![at(1, port, true)]) });
        assert_eq!(text(house.get("/read").await).await, "/read");
        assert_eq!(house.send(request(Method::POST, "/", RequestBody::Empty)).await.status(), 200);
        house.record().await;
        house.record().await;
        let (send, body) = piped();
        send.send(Ok(Bytes::from_static(b"kept"))).unwrap();
        let response = house.send(request(Method::PUT, "/", body)).await;
        assert_eq!(response.status(), 507);
        assert!(text(response).await.contains("has no room left"));
        let record = house.record().await;
        assert_eq!((record.error, record.refused, record.bytes_in), (Some("storage"), true, 0));
        worker.abort();
    });
}

#[test]
fn so_many_at_once_and_the_others_take_turns_by_address() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        house.apply(seated(port, 1, 3));
        let seats = seats(&house);
        let first = asking(&house, 1, "/first");
        let mut line = Line::accept(&listener).await;
        line.head().await;
        let flood: Vec<_> = ["/a", "/b", "/c"].into_iter().map(|path| asking(&house, 1, path)).collect();
        until(|| seats.count() == (1, 3)).await;
        // Its own newest is refused, whoever comes from elsewhere is not.
        let refused = asking(&house, 1, "/d").await.unwrap();
        assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"1".parse().unwrap()));
        let record = house.record().await;
        assert_eq!((record.error, record.refused, record.tenant.as_deref()), (Some("concurrent"), true, Some("acme")));
        let visitor = asking(&house, 2, "/visitor");
        let mut flood = flood.into_iter();
        let (a, b, c) = (flood.next().unwrap(), flood.next().unwrap(), flood.next().unwrap());
        assert_eq!(c.await.unwrap().status(), 429);

        let body = |task: tokio::task::JoinHandle<Response<ResponseBody>>| async { text(task.await.unwrap()).await };
        line.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfir").await;
        let response = first.await.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(seats.count(), (1, 3), "in flight until the answer's body has ended");
        line.say("st").await;
        assert_eq!(text(response).await, "first");
        for (path, asked) in [("/a", a), ("/visitor", visitor), ("/b", b)] {
            assert!(line.answer("").await.starts_with(&format!("GET {path} ")), "{path}");
            body(asked).await;
        }
        until(|| seats.count() == (0, 0)).await;
        house.record().await;
        house.record().await;
        assert!(house.record().await.held > Duration::ZERO);
    });
}

#[test]
fn a_wait_ends_with_its_time_or_its_client() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        let patience = Duration::from_millis(100);
        house.apply(TenantRoute { hold_timeout: patience, ..seated(port, 1, 10) });
        let seats = seats(&house);
        let first = asking(&house, 1, "/first");
        let mut line = Line::accept(&listener).await;
        let leaves = asking(&house, 1, "/leaves");
        until(|| seats.count() == (1, 1)).await;
        leaves.abort();
        until(|| seats.count() == (1, 0)).await;
        let late = asking(&house, 1, "/late").await.unwrap();
        assert_eq!((late.status().as_u16(), seats.count()), (503, (1, 0)));
        assert!(text(late).await.contains("very busy"));
        line.answer("ok").await;
        assert_eq!(text(first.await.unwrap()).await, "ok");
        assert_eq!(seats.count(), (0, 0));
        // One whose client leaves while its worker thinks.
        let leaves = asking(&house, 1, "/leaves");
        line.head().await;
        leaves.abort();
        until(|| seats.count() == (0, 0)).await;
    });
}

#[test]
fn who_closes_in_line_has_left() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        house.apply(seated(port, 1, 1));
        let seats = seats(&house);
        let first = asking(&house, 1, "/first");
        let mut line = Line::accept(&listener).await;
        let (at, there) = super::listener().await;
        let mut client = TcpStream::connect(("127.0.0.1", there)).await.unwrap();
        let socket = at.accept().await.unwrap().0;
        let mut waits = admitted(request(Method::GET, "/waits", RequestBody::Empty), Protocol::H1);
        let (client_at, sni) = (waits.connection.client, waits.host.clone());
        waits.connection = Rc::new(Connection {
            client: client_at,
            sni,
            protocol: Protocol::H1,
            draining: Cell::new(false),
            socket: Some(std::os::fd::AsRawFd::as_raw_fd(&socket)),
        });
        let forwarder = house.forwarder.clone();
        let waits = tokio::task::spawn_local(async move { forwarder.forward(waits).await.status() });
        until(|| seats.count() == (1, 1)).await;
        client.write_all(b"more of what it has to say").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(seats.count(), (1, 1), "that is no end");
        client.shutdown().await.unwrap();
        waits.await.unwrap();
        assert_eq!(seats.count(), (1, 0));
        let record = house.record().await;
        assert_eq!((record.aborted, record.status.as_u16(), record.tenant.as_deref()), (true, 499, Some("acme")));
        line.answer("ok").await;
        assert_eq!(text(first.await.unwrap()).await, "ok");
    });
}

#[test]
fn a_client_that_asks_before_it_sends_is_not_told_to_go_on() {
    core(async {
        let mut house = House::new();
        let (_listener, port) = listener().await;
        house.apply(TenantRoute { full: true, ..acme(SERVE, vec![at(1, port, true)]) });
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let forwarder = house.forwarder.clone();
        tokio::task::spawn_local(async move {
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let forwarder = forwarder.clone();
                let body = |body: hyper::body::Incoming| RequestBody::H1(Box::pin(body.map_err(|_| BodyError::Gone)));
                let admitted = admitted(request.map(body), Protocol::H1);
                async move { Ok::<_, std::convert::Infallible>(forwarder.forward(admitted).await) }
            });
            let io = hyper_util::rt::TokioIo::new(server);
            hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
        });
        let head = "POST / HTTP/1.1\r\nHost: acme.localhost:8443\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        client.read_to_end(&mut said).await.unwrap();
        let said = String::from_utf8(said).unwrap();
        assert!(said.starts_with("HTTP/1.1 507 ") && !said.contains("100 Continue"), "{said}");
    });
}

#[test]
fn a_tunnel_gives_its_seat_back_and_a_retry_keeps_its_one() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        house.apply(seated(port, 1, 0));
        let seats = seats(&house);
        let retried = asking(&house, 1, "/retried");
        let mut line = Line::accept(&listener).await;
        line.head().await;
        line.reset();
        let mut line = Line::accept(&listener).await;
        assert_eq!(seats.count(), (1, 0));
        line.answer("ok").await;
        assert_eq!(text(retried.await.unwrap()).await, "ok");
        assert_eq!(seats.count(), (0, 0));
        drop(line);

        let mut handshake = request(Method::GET, "/ws", RequestBody::Empty);
        let fields = [
            ("upgrade", "websocket"),
            ("connection", "upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ];
        for (name, value) in fields {
            handshake.headers_mut().insert(name, value.parse().unwrap());
        }
        let asked = house.send(handshake);
        let worker = async {
            let mut line = Line::accept(&listener).await;
            line.head().await;
            assert_eq!(seats.count(), (1, 0), "the handshake is a request");
            line.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
            line
        };
        let (response, _line) = tokio::join!(asked, worker);
        assert_eq!(response.status(), 101);
        assert_eq!(seats.count(), (0, 0));
    });
}

#[test]
fn held_requests_all_get_their_turn_and_a_seat_outlives_the_deploy() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        house.apply(TenantRoute { backends: vec![], serving: Serving::Hold, ..seated(port, 1, 0) });
        let seats = seats(&house);
        let held: Vec<_> = (0..5)
            .map(|_| asking(&house, 1, "/held"))
            .map(|asked| tokio::task::spawn_local(async { text(asked.await.unwrap()).await }))
            .collect();
        let waiting = house.routes.current().tenant(&HOST.parse().unwrap()).unwrap().held.clone();
        until(|| waiting.waiting() == 5).await;
        let worker = echo(listener);
        house.apply(seated(port, 1, 0));
        for held in held {
            assert_eq!(held.await.unwrap(), "/held");
        }
        assert_eq!((seats.count(), waiting.waiting()), ((0, 0), 0));
        worker.abort();
    });
}

#[test]
fn who_waits_for_a_seat_keeps_no_gate_from_closing() {
    core(async {
        let mut house = House::new();
        let ((old, old_port), (new, new_port)) = (listener().await, listener().await);
        house.apply(seated(old_port, 1, 10));
        let seats = seats(&house);
        let first = asking(&house, 1, "/first");
        let mut line = Line::accept(&old).await;
        let second = asking(&house, 1, "/second");
        until(|| seats.count() == (1, 1)).await;
        let serving = Serving::Serve { generation: GenerationId(2) };
        let backends = vec![at(1, old_port, false), at(2, new_port, true)];
        house.apply(TenantRoute { serving, backends, ..seated(new_port, 1, 10) });
        let worker = echo(new);
        line.answer("old").await;
        assert_eq!(text(first.await.unwrap()).await, "old");
        assert_eq!(text(second.await.unwrap()).await, "/second");
        assert_eq!(seats.count(), (0, 0));
        worker.abort();
    });
}
