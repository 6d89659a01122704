//! HTTP/2 over TLS: good clients by the `h2` crate, bad ones frame by frame.

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use h2::{Reason, client};
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::house::House;
use crate::model::HttpLimits;

async fn connect(house: &House) -> client::SendRequest<Bytes> {
    let (sender, connection) = client::handshake(house.h2().await).await.unwrap();
    tokio::task::spawn_local(connection);
    sender
}

fn get(path: &str) -> Request<()> {
    Request::builder().uri(format!("https://a.test{path}")).body(()).unwrap()
}

async fn body(stream: &mut h2::RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    Ok(all)
}

#[test]
fn streams_go_on_beside_a_421() {
    House::with(HttpLimits::default(), async |house: House| {
        let mut sender = connect(&house).await;
        let (waiting, _) = sender.send_request(get("/wait"), true).unwrap();
        let other = Request::builder().uri("https://b.test/").body(()).unwrap();
        let refused = sender.send_request(other, true).unwrap().0.await.unwrap();
        assert_eq!(refused.status(), StatusCode::MISDIRECTED_REQUEST);
        let mut twice = get("/");
        twice.headers_mut().insert("host", "b.test".parse().unwrap());
        let refused = sender.send_request(twice, true).unwrap().0.await.unwrap();
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
        house.stand_in.go.notify_one();
        let mut answer = waiting.await.unwrap();
        assert_eq!(body(answer.body_mut()).await.unwrap(), b"at last");
    });
}

#[test]
fn bodies_trailers_and_answers_without_a_body() {
    House::with(HttpLimits::default(), async |house: House| {
        let mut sender = connect(&house).await;
        let post = Request::builder().method(Method::POST).uri("https://a.test/echo").body(()).unwrap();
        let (answer, mut stream) = sender.send_request(post, false).unwrap();
        stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "5".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
        assert_eq!(body(answer.await.unwrap().body_mut()).await.unwrap(), b"hello{\"x-sum\": \"5\"}");

        let mut answer = sender.send_request(get("/trailers"), true).unwrap().0.await.unwrap();
        assert_eq!(body(answer.body_mut()).await.unwrap().len(), 2 * 16_384);
        assert_eq!(answer.body_mut().trailers().await.unwrap().unwrap()["x-sum"], "1");

        let head = Request::builder().method(Method::HEAD).uri("https://a.test/x").body(()).unwrap();
        let answer = sender.send_request(head, true).unwrap().0.await.unwrap();
        assert!(answer.body().is_end_stream() && answer.status() == StatusCode::OK);
        let answer = sender.send_request(get("/empty"), true).unwrap().0.await.unwrap();
        assert!(answer.body().is_end_stream() && answer.status() == StatusCode::NO_CONTENT);

        let mut answer = sender.send_request(get("/truncated"), true).unwrap().0.await.unwrap();
        assert_eq!(body(answer.body_mut()).await.unwrap_err().reason(), Some(Reason::INTERNAL_ERROR));
        let mut answer = sender.send_request(get("/big"), true).unwrap().0.await.unwrap();
        assert_eq!(body(answer.body_mut()).await.unwrap().len(), 4096 * 16_384);
    });
}

#[test]
fn a_client_that_gives_up_ends_its_request() {
    House::with(HttpLimits::default(), async |house: House| {
        let mut sender = connect(&house).await;
        let (answer, mut stream) = sender.send_request(get("/never"), true).unwrap();
        while house.stand_in.admitted.get() == 0 {
            tokio::task::yield_now().await;
        }
        stream.send_reset(Reason::CANCEL);
        assert!(answer.await.is_err());
        let mut next = sender.send_request(get("/x"), true).unwrap().0.await.unwrap();
        assert_eq!(body(next.body_mut()).await.unwrap(), b"a.test /x");
    });
}

#[test]
fn draining_lets_streams_end() {
    House::with(HttpLimits::default(), async |mut house: House| {
        let (sender, connection) = client::handshake::<_>(house.h2().await).await.unwrap();
        let connection = tokio::task::spawn_local(connection);
        let mut sender = sender.ready().await.unwrap();
        let (waiting, _) = sender.send_request(get("/wait"), true).unwrap();
        while house.stand_in.admitted.get() == 0 {
            tokio::task::yield_now().await;
        }
        let drained = tokio::task::spawn_local(house.listening.take().unwrap().drain(Duration::from_secs(10)));
        // The connection says that it goes away; the stream goes on.
        while poll_fn(|cx| std::task::Poll::Ready(sender.poll_ready(cx).is_ready())).await {
            if sender.send_request(get("/x"), true).is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!drained.is_finished());
        house.stand_in.go.notify_one();
        assert_eq!(body(waiting.await.unwrap().body_mut()).await.unwrap(), b"at last");
        drop(sender);
        drained.await.unwrap();
        connection.await.unwrap().unwrap();
    });
}

#[test]
fn slow_and_stuck_streams() {
    let limits = HttpLimits {
        body_timeout: Duration::from_millis(400),
        write_timeout: Duration::from_millis(2000),
        idle_timeout: Duration::from_millis(900),
        ..HttpLimits::default()
    };
    House::with(limits, async |house: House| {
        let mut sender = connect(&house).await;
        let post = Request::builder().method(Method::POST).uri("https://a.test/echo").body(()).unwrap();
        let (answer, mut stream) = sender.send_request(post, false).unwrap();
        stream.send_data(Bytes::from_static(b"some"), false).unwrap();
        assert_eq!(answer.await.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
        drop((sender, stream));

        // Windows that never open: little is read from workers, and each stream is ended.
        let mut builder = client::Builder::new();
        builder.initial_window_size(1).initial_connection_window_size(1 << 30);
        let (mut sender, connection) = builder.handshake::<_, Bytes>(house.h2().await).await.unwrap();
        let connection = tokio::task::spawn_local(connection);
        house.stand_in.produced.set(0);
        let mut answers = Vec::new();
        for _ in 0..100 {
            sender = sender.ready().await.unwrap();
            answers.push(sender.send_request(get("/big"), true).unwrap().0.await.unwrap());
        }
        while house.stand_in.produced.get() < 800 * 1024 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(house.stand_in.produced.get() <= 1024 * 1024, "{}", house.stand_in.produced.get());
        for mut answer in answers {
            let data = answer.body_mut().data().await.unwrap().unwrap();
            assert_eq!(data.len(), 1);
            assert_eq!(answer.body_mut().data().await.unwrap().unwrap_err().reason(), Some(Reason::CANCEL));
        }
        // And then the connection is idle for too long.
        let _kept = sender;
        connection.await.unwrap().unwrap();
    });
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `METHOD /never` for a.test, with more fields as literals.
fn head(method: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![method, 0x87, 0x04, 6];
    block.extend_from_slice(b"/never");
    block.extend_from_slice(&[0x01, 6]);
    block.extend_from_slice(b"a.test");
    for (name, value) in fields {
        block.extend_from_slice(&[0, u8::try_from(name.len()).unwrap()]);
        block.extend_from_slice(name.as_bytes());
        block.push(u8::try_from(value.len()).unwrap());
        block.extend_from_slice(value.as_bytes());
    }
    block
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

async fn raw(house: &House) -> TlsStream<TcpStream> {
    let mut client = house.h2().await;
    client.write_all(PREFACE).await.unwrap();
    client.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    client
}

/// The frames until the connection ends: kind, stream, error code of RST_STREAM and GOAWAY.
async fn frames(client: &mut TlsStream<TcpStream>) -> Vec<(u8, u32, Option<u32>)> {
    let mut seen = Vec::new();
    let mut header = [0; 9];
    while client.read_exact(&mut header).await.is_ok() {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let mut payload = vec![0; length];
        if client.read_exact(&mut payload).await.is_err() {
            break;
        }
        let code = match header[3] {
            3 => Some(&payload[..4]),
            7 => Some(&payload[4..8]),
            _ => None,
        };
        let code = code.map(|code| u32::from_be_bytes(code.try_into().unwrap()));
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        seen.push((header[3], stream, code));
    }
    seen
}

const CALM: u32 = 11;

/// Sends all of it from a task of its own, and says how the connection ended.
async fn goes_away_with(house: &House, bytes: Vec<u8>) -> Option<u32> {
    let client = raw(house).await;
    let (read, mut write) = tokio::io::split(client);
    let sending = tokio::task::spawn_local(async move {
        // Fails when the other side has had enough.
        let _sent = write.write_all(&bytes).await;
        write
    });
    let mut read = read;
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = read.read(&mut buffer).await {
        all.extend_from_slice(&buffer[..count]);
    }
    sending.abort();
    let mut rest = &all[..];
    while rest.len() >= 9 {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        if rest[3] == 7 {
            return rest.get(13..17).map(|code| u32::from_be_bytes(code.try_into().unwrap()));
        }
        rest = rest.get(9 + length..)?;
    }
    None
}

#[test]
fn rapid_resets_are_calmed() {
    House::with(HttpLimits::default(), async |house: House| {
        let mut attack = Vec::new();
        for stream in (1..40_000).step_by(2) {
            attack.extend(frame(1, 5, stream, &head(GET, &[])));
            attack.extend(frame(3, 0, stream, &8u32.to_be_bytes()));
        }
        assert_eq!(goes_away_with(&house, attack).await, Some(CALM));
        assert!(house.stand_in.admitted.get() <= 100, "{}", house.stand_in.admitted.get());
    });
}

#[test]
fn resets_that_a_client_has_us_make_are_calmed() {
    House::with(HttpLimits::default(), async |house: House| {
        let window = |stream, by: u32| frame(8, 0, stream, &by.to_be_bytes());
        let kinds: [&dyn Fn(u32) -> Vec<u8>; 3] = [
            &|stream| window(stream, 0),
            &|stream| [window(stream, 0x7fff_ffff), window(stream, 0x7fff_ffff)].concat(),
            &|stream| frame(0, 0, stream, b"after the end"),
        ];
        for (index, bad) in kinds.into_iter().enumerate() {
            house.stand_in.admitted.set(0);
            let mut attack = Vec::new();
            for stream in (1..10_000).step_by(2) {
                attack.extend(frame(1, 5, stream, &head(GET, &[])));
                attack.extend(bad(stream));
            }
            let code = goes_away_with(&house, attack).await;
            assert!(code.is_some_and(|code| code != 0), "way {index}: {code:?}");
            assert!(house.stand_in.admitted.get() <= 100, "way {index}: {}", house.stand_in.admitted.get());
        }
    });
}

#[test]
fn floods_are_calmed() {
    House::with(HttpLimits::default(), async |house: House| {
        let never = frame(1, 4, 1, &head(POST, &[]));
        let floods = [
            frame(6, 0, 0, &[0; 8]).repeat(5000),
            frame(4, 0, 0, &[]).repeat(5000),
            frame(2, 0, 3, &[0, 0, 0, 1, 0]).repeat(5000),
            frame(8, 0, 0, &1u32.to_be_bytes()).repeat(50_000),
            [never, frame(0, 0, 1, &[]).repeat(5000)].concat(),
            [frame(1, 0, 1, &head(GET, &[])), frame(9, 0, 1, &[0, 1, b'x', 1, b'y']).repeat(5000)].concat(),
        ];
        for (index, flood) in floods.into_iter().enumerate() {
            assert_eq!(goes_away_with(&house, flood).await, Some(CALM), "flood {index}");
        }
        house.until_open(0).await;
    });
}

#[test]
fn malformed_requests_reach_nobody() {
    let limits = HttpLimits { idle_timeout: Duration::from_millis(400), ..HttpLimits::default() };
    House::with(limits, async |house: House| {
        let bad = [
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
            ("x-a", "b\r\nc: d"),
            ("x-a", "b\0"),
            ("content-length", "5"),
            ("content-length", "+0"),
            ("X-Upper", "a"),
            ("x a", "b"),
            ("x_a", "b"),
            ("host", "b.test"),
        ];
        for field in bad {
            let mut client = raw(&house).await;
            client.write_all(&frame(1, 5, 1, &head(POST, &[field]))).await.unwrap();
            let seen = frames(&mut client).await;
            // RST_STREAM, GOAWAY with a reason, or an answer.
            assert!(
                seen.iter().any(|(kind, _, code)| matches!((kind, code), (1, _) | (3 | 7, Some(1..)))),
                "{field:?}: {seen:?}"
            );
        }
        assert_eq!(house.stand_in.admitted.get(), 0);
    });
}

#[test]
fn a_body_is_as_long_as_it_says() {
    let limits = HttpLimits { idle_timeout: Duration::from_millis(400), ..HttpLimits::default() };
    House::with(limits, async |house: House| {
        for (data, ends) in [(&b"too long"[..], 0), (b"no", 1)] {
            let mut client = raw(&house).await;
            let mut block = head(POST, &[("content-length", "5")]);
            // The same length as `/never`, and read to its end.
            block[4..10].copy_from_slice(b"/echo?");
            client.write_all(&frame(1, 4, 1, &block)).await.unwrap();
            client.write_all(&frame(0, ends, 1, data)).await.unwrap();
            let seen = frames(&mut client).await;
            assert!(seen.iter().any(|(kind, _, code)| *kind == 3 && *code == Some(1)), "{seen:?}");
        }
        assert_eq!(house.stand_in.complete.get(), 0);
    });
}

#[test]
fn half_a_preface_and_half_a_head_are_cut() {
    let limits = HttpLimits {
        header_timeout: Duration::from_millis(300),
        handshake_timeout: Duration::from_millis(300),
        ..HttpLimits::default()
    };
    House::with(limits, async |house: House| {
        let mut client = house.h2().await;
        client.write_all(&PREFACE[..10]).await.unwrap();
        frames(&mut client).await;
        let mut client = raw(&house).await;
        client.write_all(&frame(1, 0, 1, &head(GET, &[]))).await.unwrap();
        let seen = frames(&mut client).await;
        assert_eq!(seen.last().map(|f| (f.0, f.2)), Some((7, Some(CALM))), "{seen:?}");
        let mut client = raw(&house).await;
        client.write_all(&frame(1, 5, 1, &head(GET, &[]))[..12]).await.unwrap();
        let seen = frames(&mut client).await;
        assert_eq!(seen.last().map(|f| (f.0, f.2)), Some((7, Some(CALM))), "{seen:?}");
        house.until_open(0).await;
    });
}
