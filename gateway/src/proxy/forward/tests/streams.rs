//! Bodies both ways: nothing is buffered, nothing is kept, limits hold.

use super::*;

#[test]
fn an_event_stream_passes_event_by_event() {
    core(async {
        let mut house = House::patient(Duration::from_millis(200));
        let (listener, port) = listener().await;
        house.serve(port);
        let (go, mut wait) = mpsc::unbounded_channel::<()>();
        tokio::task::spawn_local(async move {
            let mut line = Line::accept(&listener).await;
            line.head().await;
            line.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
            for n in 0..3 {
                wait.recv().await.unwrap();
                line.say(&format!("data: {n}\n\n")).await;
            }
        });
        let response = house.get("/events").await;
        let mut body = response.into_body();
        for n in 0..3 {
            // Quiet for longer than an answer's head may take: a stream has no such deadline.
            tokio::time::sleep(Duration::from_millis(150)).await;
            go.send(()).unwrap();
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(frame, format!("data: {n}\n\n").as_bytes());
        }
        assert!(body.frame().await.is_none());
    });
}

#[test]
fn an_upload_passes_piece_by_piece_and_trailers_pass_cleaned() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        house.serve(port);
        let (send, body) = piped();
        let asked = house.send(request(Method::POST, "/up", body));
        let worker = async {
            let mut line = Line::accept(&listener).await;
            let head = line.head().await;
            assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
            for piece in ["first", "second"] {
                send.send(Ok(Bytes::from(piece))).unwrap();
                line.until(piece).await;
            }
            drop(send);
            line.until("0\r\n\r\n").await;
            line.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, set-cookie\r\n\r\n").await;
            line.say("2\r\nok\r\n0\r\nX-Sum: 7\r\nSet-Cookie: a=b\r\n\r\n").await;
        };
        let (response, ()) = tokio::join!(asked, worker);
        let whole = response.into_body().collect().await.unwrap();
        let trailers = whole.trailers().unwrap();
        assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &http::HeaderValue::from_static("7")));
        assert_eq!(whole.to_bytes(), "ok");
        let record = house.record().await;
        assert_eq!((record.bytes_in, record.bytes_out), (11, 2));
    });
}

#[test]
fn a_hundred_megabytes_wait_for_a_reader_and_then_pass() {
    core(async {
        const PIECE: usize = 64 * 1024;
        const PIECES: usize = 1600;
        let mut house = House::new();
        let (listener, port) = listener().await;
        house.serve(port);
        let said = Rc::new(Cell::new(0));
        let count = Rc::clone(&said);
        tokio::task::spawn_local(async move {
            let mut line = Line::accept(&listener).await;
            line.head().await;
            line.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PIECE * PIECES)).await;
            line.say_again(&vec![7; PIECE], PIECES, &count).await;
        });
        let mut body = house.get("/big").await.into_body();
        // Nobody reads: what the worker got rid of comes to rest in the sockets' buffers.
        let mut rested = (usize::MAX, 0);
        while rested.1 < 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            rested = if rested.0 == said.get() { (rested.0, rested.1 + 1) } else { (said.get(), 0) };
        }
        assert!(said.get() < 16 << 20, "{} bytes without a reader", said.get());
        let (mut total, mut largest) = (0, 0);
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            largest = largest.max(data.len());
            total += data.len();
        }
        assert_eq!(total, PIECE * PIECES);
        assert!(largest <= 256 * 1024, "{largest} bytes in one piece");
    });
}

#[test]
fn an_answer_before_the_end_of_the_upload_passes_and_its_connection_is_not_used_again() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        house.serve(port);
        let (send, body) = piped();
        send.send(Ok(Bytes::from_static(b"some"))).unwrap();
        let worker = tokio::task::spawn_local(async move {
            let mut line = Line::accept(&listener).await;
            line.until("some").await;
            line.say("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno").await;
            let next = Line::accept(&listener).await.answer("next").await;
            (line.more().await, next)
        });
        let response = house.send(request(Method::POST, "/up", body)).await;
        assert_eq!(response.status(), 403);
        assert_eq!(text(response).await, "no");
        assert_eq!(text(house.get("/").await).await, "next");
        let (more, _) = worker.await.unwrap();
        assert!(!more, "closed");
        assert!(send.is_closed(), "the rest of the upload is nobody's");
    });
}

#[test]
fn too_large_is_413_by_length_at_once_and_while_streaming() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        let serving = Serving::Serve { generation: crate::model::GenerationId(1) };
        house.apply(TenantRoute { body: Some(10), ..acme(serving, vec![at(1, port, true)]) });
        let (_send, body) = piped();
        let mut declared = request(Method::POST, "/", body);
        declared.headers_mut().insert("content-length", "11".parse().unwrap());
        assert_eq!(house.send(declared).await.status(), 413);
        assert_eq!(house.record().await.generation, None, "no worker was asked");

        let (send, body) = piped();
        let asked = house.send(request(Method::POST, "/", body));
        let worker = async {
            let mut line = Line::accept(&listener).await;
            send.send(Ok(Bytes::from_static(b"12345678"))).unwrap();
            line.until("12345678").await;
            send.send(Ok(Bytes::from_static(b"90a"))).unwrap();
            let mut rest = String::new();
            while line.more().await {}
            rest.push_str(std::str::from_utf8(&line.read).unwrap());
            rest
        };
        let (response, seen) = tokio::join!(asked, worker);
        assert_eq!(response.status(), 413);
        // The last chunk, and not a request's identifier that happens to have its letters.
        assert!(!seen.contains("\r\n90a") && !seen.contains("\r\n0\r\n"), "never a whole request: {seen:?}");
    });
}

#[test]
fn a_client_that_breaks_its_body_gets_its_status_and_the_worker_no_whole_request() {
    core(async {
        for (error, status) in [(BodyError::Framing, 400), (BodyError::Slow, 408), (BodyError::Gone, 400)] {
            let mut house = House::new();
            let (listener, port) = listener().await;
            house.serve(port);
            let (send, body) = piped();
            let asked = house.send(request(Method::POST, "/", body));
            let worker = async {
                let mut line = Line::accept(&listener).await;
                send.send(Ok(Bytes::from_static(b"some"))).unwrap();
                line.until("some").await;
                send.send(Err(error)).unwrap();
                while line.more().await {}
                assert!(!line.read.ends_with(b"0\r\n\r\n"));
            };
            let (response, ()) = tokio::join!(asked, worker);
            assert_eq!(response.status(), status, "{error:?}");
        }
    });
}

#[test]
fn a_slow_upload_is_no_slow_worker() {
    core(async {
        let mut house = House::patient(Duration::from_millis(100));
        let (listener, port) = listener().await;
        house.serve(port);
        let (send, body) = piped();
        let asked = house.send(request(Method::POST, "/", body));
        let worker = async {
            let mut line = Line::accept(&listener).await;
            for piece in ["a1", "b2"] {
                tokio::time::sleep(Duration::from_millis(150)).await;
                send.send(Ok(Bytes::from(piece))).unwrap();
                line.until(piece).await;
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
            drop(send);
            line.until("0\r\n\r\n").await;
            line.say("HTTP/1.1 204 No Content\r\n\r\n").await;
        };
        let (response, ()) = tokio::join!(asked, worker);
        assert_eq!(response.status(), 204);
    });
}

#[test]
fn a_visitor_who_leaves_ends_the_workers_answer() {
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
        let mut body = house.get("/").await.into_body();
        assert!(body.frame().await.is_some());
        drop(body);
        assert!(!worker.await.unwrap());
        let record = house.record().await;
        assert!(record.aborted);
        assert_eq!((record.bytes_out, record.status.as_u16()), (5, 200));
        assert_eq!(house.forwarder.in_flight(), 0);
    });
}
