//! What a worker may answer, and what becomes of what it may not.

use super::*;

/// Sends one GET to a worker that answers with these bytes and closes.
async fn given(house: &mut House, answer: &'static str) -> Response<ResponseBody> {
    let (listener, port) = listener().await;
    house.serve(port);
    tokio::task::spawn_local(async move {
        let mut line = Line::accept(&listener).await;
        line.head().await;
        line.say(answer).await;
    });
    house.get("/x").await
}

#[test]
fn a_request_and_its_answer_pass_through() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        house.serve(port);
        let worker = tokio::task::spawn_local(async move {
            let mut line = Line::accept(&listener).await;
            let first = line.answer("one").await;
            let second = line.answer("two").await;
            (first, second)
        });
        let response = house.get("/a/b?q=1").await;
        assert_eq!(response.status(), 200);
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(text(response).await, "one");
        assert_eq!(text(house.get("/2").await).await, "two");
        let (first, _) = worker.await.unwrap();
        assert!(first.starts_with("GET /a/b?q=1 HTTP/1.1\r\n"), "{first}");
        for expected in ["host: acme.localhost", "x-tenant-id: acme", &format!("x-request-id: {id}")] {
            assert!(first.contains(&format!("{expected}\r\n")), "{expected} in {first}");
        }
        let record = house.record().await;
        assert_eq!((record.status.as_u16(), record.bytes_out, record.aborted), (200, 3, false));
        assert_eq!((record.tenant.as_deref(), record.generation.map(|g| g.0)), (Some("acme"), Some(1)));
        assert!(record.worker.is_some() && record.error.is_none());
    });
}

#[test]
fn odd_answers_are_502() {
    core(async {
        for odd in [
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
            "HTTP/1.1 200 OK\r\nBroken",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            let mut house = House::new();
            let response = given(&mut house, odd).await;
            assert_eq!(response.status(), 502, "{odd:?}");
            let record = house.record().await;
            assert!(record.error.is_some() && !record.aborted, "{odd:?}");
        }
        let long: &'static str =
            Box::leak(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(70_000)).into_boxed_str());
        assert_eq!(given(&mut House::new(), long).await.status(), 502);
    });
}

#[test]
fn a_truncated_answer_never_ends_cleanly() {
    core(async {
        for cut in [
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        ] {
            let mut house = House::new();
            let response = given(&mut house, cut).await;
            assert_eq!(response.status(), 200);
            let error = response.into_body().collect().await.err();
            assert_eq!(error, Some(BodyError::Upstream), "{cut:?}");
            let record = house.record().await;
            assert!(record.aborted && record.error.is_some(), "{cut:?}");
        }
    });
}

#[test]
fn until_close_and_interim_answers_are_fine() {
    core(async {
        let mut house = House::new();
        let interim =
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\nhello";
        let response = given(&mut house, interim).await;
        assert_eq!(response.status(), 200);
        assert_eq!(text(response).await, "hello");
    });
}

#[test]
fn bytes_behind_an_answer_answer_nobody() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        house.serve(port);
        let worker = tokio::task::spawn_local(async move {
            let mut line = Line::accept(&listener).await;
            line.head().await;
            let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
            line.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood{smuggled}")).await;
            let mut next = Line::accept(&listener).await;
            next.answer("next").await;
        });
        assert_eq!(text(house.get("/1").await).await, "good");
        assert_eq!(text(house.get("/2").await).await, "next");
        worker.await.unwrap();
    });
}

#[test]
fn bytes_on_an_idle_connection_are_discarded_with_it() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        house.serve(port);
        let worker = tokio::task::spawn_local(async move {
            let mut line = Line::accept(&listener).await;
            line.answer("one").await;
            line.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await;
            let closed = !line.more().await;
            Line::accept(&listener).await.answer("two").await;
            closed
        });
        assert_eq!(text(house.get("/1").await).await, "one");
        // The worker sees its connection closed because of what it said; then only is the next request made.
        let second = async {
            while house.forwarder.in_flight() > 0 {
                tokio::task::yield_now().await;
            }
            text(house.get("/2").await).await
        };
        assert_eq!(second.await, "two");
        assert!(worker.await.unwrap());
    });
}

#[test]
fn no_answer_in_time_is_504() {
    core(async {
        let mut house = House::patient(Duration::from_millis(100));
        let (listener, port) = listener().await;
        house.serve(port);
        let worker = tokio::task::spawn_local(async move {
            let mut line = Line::accept(&listener).await;
            line.head().await;
            // Silent until the proxy has had enough.
            line.more().await
        });
        assert_eq!(house.get("/").await.status(), 504);
        assert!(!worker.await.unwrap(), "the connection is closed, not kept");
    });
}

#[test]
fn head_has_no_body_and_keeps_its_length() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        house.serve(port);
        let worker = tokio::task::spawn_local(async move {
            let mut line = Line::accept(&listener).await;
            line.head().await;
            line.say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await;
            line.answer("same connection").await;
        });
        let response = house.send(request(Method::HEAD, "/", RequestBody::Empty)).await;
        assert_eq!(response.headers()["content-length"], "1000");
        assert_eq!(text(response).await, "");
        assert_eq!(text(house.get("/").await).await, "same connection");
        worker.await.unwrap();
    });
}
