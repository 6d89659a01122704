//! What is sent again, and what never is.

use super::*;

/// A worker that answers once, then reads the next request on the same connection and dies; then answers anew.
async fn dies_on_reuse(method: Method, body: RequestBody) -> (u16, bool) {
    let mut house = House::new();
    let (listener, port) = listener().await;
    house.serve(port);
    let worker = tokio::task::spawn_local(async move {
        let mut line = Line::accept(&listener).await;
        line.answer("one").await;
        line.head().await;
        line.reset();
        Line::accept(&listener).await.answer("again").await;
    });
    assert_eq!(text(house.get("/1").await).await, "one");
    let status = house.send(request(method, "/2", body)).await.status().as_u16();
    let again = worker.is_finished();
    worker.abort();
    (status, again)
}

#[test]
fn a_reused_connection_that_died_is_forgiven_for_idempotent_methods_alone() {
    core(async {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert_eq!(dies_on_reuse(method.clone(), RequestBody::Empty).await, (200, true), "{method}");
        }
        assert_eq!(dies_on_reuse(Method::POST, RequestBody::Empty).await, (502, false));
        let (send, body) = piped();
        send.send(Ok(Bytes::from_static(b"data"))).unwrap();
        drop(send);
        assert_eq!(dies_on_reuse(Method::PUT, body).await, (502, false), "its body was read");
    });
}

#[test]
fn a_fresh_connection_that_died_is_forgiven_once_without_a_body() {
    core(async {
        for (method, deaths, expected) in [(Method::GET, 1, 200), (Method::GET, 100, 502), (Method::POST, 1, 502)] {
            let mut house = House::new();
            let (listener, port) = listener().await;
            house.serve(port);
            let seen = Rc::new(Cell::new(0));
            let count = Rc::clone(&seen);
            let worker = tokio::task::spawn_local(async move {
                loop {
                    let mut line = Line::accept(&listener).await;
                    line.head().await;
                    count.set(count.get() + 1);
                    if count.get() <= deaths {
                        line.reset();
                    } else {
                        line.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                    }
                }
            });
            let response = house.send(request(method.clone(), "/", RequestBody::Empty)).await;
            assert_eq!(response.status(), expected, "{method} {deaths}");
            let at_most = if method == Method::GET { 2 } else { 1 };
            assert!(seen.get() <= at_most, "{method}: seen {} times", seen.get());
            worker.abort();
        }
    });
}

#[test]
fn a_refused_connect_waits_for_the_worker_whatever_the_method() {
    core(async {
        let mut house = House::new();
        let (gone, port) = listener().await;
        drop(gone);
        house.serve(port);
        let (send, body) = piped();
        send.send(Ok(Bytes::from_static(b"data"))).unwrap();
        drop(send);
        let asked = house.send(request(Method::POST, "/", body));
        let worker = async {
            // Refused at least once: its place among the held is taken.
            while held(&house) == 0 {
                tokio::task::yield_now().await;
            }
            let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
            let mut line = Line::accept(&listener).await;
            line.until("data").await;
            line.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        };
        let (response, ()) = tokio::join!(asked, worker);
        assert_eq!(text(response).await, "ok");
        assert_eq!(held(&house), 0);
    });
}

#[test]
fn a_refused_connect_follows_a_newer_table() {
    core(async {
        let mut house = House::new();
        let (gone, port) = listener().await;
        drop(gone);
        house.serve(port);
        let (listener, next) = listener().await;
        let routes = house.routes.clone();
        let asked = house.get("/");
        let deploy = async {
            while routes.current().tenant(&HOST.parse().unwrap()).unwrap().held.waiting() == 0 {
                tokio::task::yield_now().await;
            }
            let serving = Serving::Serve { generation: crate::model::GenerationId(2) };
            let tenant = acme(serving, vec![at(1, port, false), at(2, next, true)]);
            routes.apply(RouteTable { epoch: 9, tenants: vec![tenant] });
            Line::accept(&listener).await.answer("from the new one").await;
        };
        let (response, _) = tokio::join!(asked, deploy);
        assert_eq!(text(response).await, "from the new one");
    });
}

fn held(house: &House) -> u32 {
    house.routes.current().tenant(&HOST.parse().unwrap()).unwrap().held.waiting()
}
