//! HTTP/1.1 over TLS, and port 80.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::house::{House, certificate, rest, until};
use crate::{
    model::{CertificateSet, HttpLimits},
    proxy::connection::tls::Certificates,
};

fn quick() -> HttpLimits {
    HttpLimits {
        handshake_timeout: Duration::from_millis(400),
        header_timeout: Duration::from_millis(400),
        body_timeout: Duration::from_millis(600),
        write_timeout: Duration::from_millis(600),
        idle_timeout: Duration::from_millis(800),
        ..HttpLimits::default()
    }
}

const GET: &[u8] = b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[test]
fn one_request_after_the_other_and_421_for_another_name() {
    House::with(HttpLimits::default(), async |house: House| {
        let mut client = house.h1().await;
        for _ in 0..2 {
            client.write_all(GET).await.unwrap();
            let answer = until(&mut client, "a.test /x").await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        client.write_all(b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n").await.unwrap();
        assert!(until(&mut client, "sni_mismatch").await.starts_with("HTTP/1.1 421 "));
        client.write_all(GET).await.unwrap();
        assert!(until(&mut client, "a.test /x").await.starts_with("HTTP/1.1 200 "));
        assert_eq!(house.stand_in.admitted.get(), 3);
        assert_eq!(house.shared.census.rejects(), 1);
    });
}

#[test]
fn a_bad_head_is_answered_in_its_turn_and_nothing_after_it_is_read() {
    House::with(HttpLimits::default(), async |house: House| {
        let mut client = house.h1().await;
        let bad =
            b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        client.write_all(&[GET, bad, GET].concat()).await.unwrap();
        let answers = rest(&mut client).await;
        assert!(answers.starts_with("HTTP/1.1 200 "), "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{answers}");
        assert!(answers.contains("HTTP/1.1 400 ") && answers.contains("connection: close"), "{answers}");
        assert_eq!(house.stand_in.admitted.get(), 1);
        assert_eq!(*house.stand_in.refused.borrow(), [(400, "framing")]);
        house.until_open(0).await;
    });
}

#[test]
fn refusals_by_status() {
    House::with(HttpLimits::default(), async |house: House| {
        let long = format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "u".repeat(9000));
        let large = format!("GET / HTTP/1.1\r\nHost: a.test\r\nX: {}\r\n\r\n", "y".repeat(40_000));
        for (request, status) in [
            ("GET / HTTP/2.0\r\nHost: a.test\r\n\r\n", 505),
            ("TRACE / HTTP/1.1\r\nHost: a.test\r\n\r\n", 405),
            ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
            ("GET https://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
            (&long, 414),
            (&large, 431),
        ] {
            let mut client = house.h1().await;
            client.write_all(request.as_bytes()).await.unwrap();
            let answer = rest(&mut client).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
        assert_eq!(house.stand_in.admitted.get(), 0);
    });
}

#[test]
fn bodies_by_length_by_chunks_and_broken() {
    House::with(HttpLimits::default(), async |house: House| {
        let mut client = house.h1().await;
        client.write_all(b"POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
        until(&mut client, "\r\n\r\nhello").await;
        let chunked = "POST /echo HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.write_all(format!("{chunked}5;x=y\r\nworld\r\n0\r\nX-Sum: 5\r\n\r\n").as_bytes()).await.unwrap();
        until(&mut client, "world{\"x-sum\": \"5\"}").await;
        client.write_all(format!("{chunked}5\r\nhello\r\nzz\r\n").as_bytes()).await.unwrap();
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("framing"), "{answer}");
        assert_eq!(house.stand_in.complete.get(), 2, "the broken one never came to its end");
    });
}

#[test]
fn one_hundred_continue_when_the_body_is_wanted() {
    House::with(HttpLimits::default(), async |house: House| {
        let mut client = house.h1().await;
        let head = b"POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
        client.write_all(head).await.unwrap();
        assert_eq!(until(&mut client, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"ok").await.unwrap();
        until(&mut client, "\r\n\r\nok").await;
    });
}

#[test]
fn an_unread_body_is_never_a_request() {
    House::with(HttpLimits::default(), async |house: House| {
        let mut client = house.h1().await;
        let body = String::from_utf8_lossy(GET).repeat(4000);
        let head = format!("POST /unread HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", body.len() + 1);
        client.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("not read"), "{answer}");
        assert_eq!(house.stand_in.admitted.get(), 1);
    });
}

#[test]
fn an_upgrade_is_a_tunnel_and_a_refused_one_is_not() {
    House::with(HttpLimits::default(), async |house: House| {
        let asks =
            |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
        let mut client = house.h1().await;
        client.write_all(asks("/denied").as_bytes()).await.unwrap();
        client.write_all(GET).await.unwrap();
        until(&mut client, "a.test /denied").await;
        until(&mut client, "a.test /x").await;
        // Early bytes of a granted tunnel are the tunnel's.
        client.write_all(format!("{}\0early", asks("/upgrade")).as_bytes()).await.unwrap();
        assert!(until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
        until(&mut client, "\0early").await;
        client.write_all(b"\r\n\n\0 anything").await.unwrap();
        until(&mut client, "\r\n\n\0 anything").await;
        assert_eq!(house.open(), 1, "a tunnel is a connection");
        drop(client);
        house.until_open(0).await;
    });
}

#[test]
fn a_truncated_answer_never_looks_whole() {
    House::with(HttpLimits::default(), async |house: House| {
        let mut client = house.h1().await;
        client.write_all(b"GET /truncated HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.ends_with("0\r\n\r\n"), "{}", answer.len());
    });
}

#[test]
fn a_panic_ends_its_own_connection_only() {
    House::with(HttpLimits::default(), async |house: House| {
        let (mut bad, mut good) = (house.h1().await, house.h1().await);
        bad.write_all(b"GET /panic HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
        rest(&mut bad).await;
        house.until_open(1).await;
        good.write_all(GET).await.unwrap();
        until(&mut good, "a.test /x").await;
    });
}

#[test]
fn slow_heads_are_told_and_silence_is_closed() {
    House::with(quick(), async |house: House| {
        let started = Instant::now();
        let mut silent = house.h1().await;
        assert_eq!(rest(&mut silent).await, "");
        assert!(started.elapsed() < Duration::from_millis(2000), "{:?}", started.elapsed());

        let mut slow = house.h1().await;
        let started = Instant::now();
        let answer = loop {
            // Fails once the other side has closed, which the read below is told as well.
            let _sent = slow.write_all(b"G").await;
            let mut buffer = [0; 64];
            if let Ok(read) = tokio::time::timeout(Duration::from_millis(40), slow.read(&mut buffer)).await {
                break String::from_utf8_lossy(&buffer[..read.unwrap()]).into_owned();
            }
        };
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(started.elapsed() < Duration::from_millis(2000), "{:?}", started.elapsed());

        let mut mute = TcpStream::connect(house.https).await.unwrap();
        let started = Instant::now();
        mute.write_all(&[22, 3, 1]).await.unwrap();
        rest(&mut mute).await;
        assert!(started.elapsed() < Duration::from_millis(2000), "{:?}", started.elapsed());
        assert_eq!(house.stand_in.admitted.get(), 0);
    });
}

#[test]
fn stalled_and_dripped_bodies_are_told() {
    House::with(quick(), async |house: House| {
        let head = b"POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 500\r\n\r\n";
        let mut stalled = house.h1().await;
        stalled.write_all(head).await.unwrap();
        stalled.write_all(b"some").await.unwrap();
        assert!(rest(&mut stalled).await.starts_with("HTTP/1.1 408 "));

        let mut dripping = house.h1().await;
        dripping.write_all(head).await.unwrap();
        let answer = loop {
            let _sent = dripping.write_all(b"x").await;
            let mut buffer = [0; 64];
            if let Ok(read) = tokio::time::timeout(Duration::from_millis(50), dripping.read(&mut buffer)).await {
                break String::from_utf8_lossy(&buffer[..read.unwrap()]).into_owned();
            }
        };
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");

        // A worker that takes its time is nobody's fault but its own.
        let mut waiting = house.h1().await;
        waiting.write_all(b"GET /wait HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        house.stand_in.go.notify_one();
        until(&mut waiting, "at last").await;
    });
}

#[test]
fn a_reader_that_stalls_is_cut_and_an_idle_one_closed() {
    House::with(quick(), async |house: House| {
        let mut stalled = house.h1().await;
        stalled.write_all(b"GET /big HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
        house.until_open(0).await;

        let mut idle = house.h1().await;
        idle.write_all(GET).await.unwrap();
        until(&mut idle, "a.test /x").await;
        let started = Instant::now();
        assert_eq!(rest(&mut idle).await, "");
        assert!(started.elapsed() > Duration::from_millis(400), "{:?}", started.elapsed());
    });
}

#[test]
fn no_certificate_for_a_name_that_is_nobodys() {
    House::with(HttpLimits::default(), async |house: House| {
        for name in ["c.test", "zone.test", "x.y.zone.test", "127.0.0.1"] {
            let error = house.tls(name, "http/1.1").await.unwrap_err();
            assert!(error.to_string().contains("UnrecognisedName"), "{name}: {error}");
        }
        assert!(house.tls("x.zone.test", "http/1.1").await.is_ok());
    });
}

#[test]
fn certificates_change_under_way_and_a_bad_one_hurts_nobody() {
    let good = certificate(&["good.test"]);
    let mut mismatched = certificate(&["bad.test"]);
    mismatched.key_pem.clone_from(&good.key_pem);
    let (first, errors) =
        Certificates::build(&CertificateSet { certificates: vec![good.clone(), mismatched] }, &Certificates::default());
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].names, ["bad.test"]);
    assert!(first.covers(&"good.test".parse().unwrap()) && !first.covers(&"bad.test".parse().unwrap()));
    let new = certificate(&["*.new.test"]);
    let (second, errors) = Certificates::build(&CertificateSet { certificates: vec![new] }, &first);
    assert!(errors.is_empty());
    assert!(!second.covers(&"good.test".parse().unwrap()) && second.covers(&"a.new.test".parse().unwrap()));
}

#[test]
fn port_80_redirects_to_known_names_only() {
    House::with(quick(), async |house: House| {
        for (request, status, text) in [
            ("GET /a?b=c HTTP/1.1\r\nHost: A.test:80\r\n\r\n", 308, "location: https://a.test:8443/a?b=c\r\n"),
            (
                "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nnot read",
                308,
                "location: https://a.test:8443/\r\n",
            ),
            ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 404, "connection: close"),
            ("GET / HTTP/1.1\r\n\r\n", 400, "connection: close"),
            ("GET / HT", 408, "connection: close"),
        ] {
            let mut client = TcpStream::connect(house.http).await.unwrap();
            client.write_all(request.as_bytes()).await.unwrap();
            let answer = rest(&mut client).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(text), "{answer}");
            assert!(!answer.contains("location: https://evil"), "{answer}");
        }
    });
}

#[test]
fn the_oldest_idle_connection_makes_room() {
    House::with(HttpLimits { connections: 3, ..HttpLimits::default() }, async |house: House| {
        let mut oldest = house.h1().await;
        let mut second = house.h1().await;
        let mut busy = house.h1().await;
        for client in [&mut oldest, &mut second] {
            client.write_all(GET).await.unwrap();
            until(client, "a.test /x").await;
        }
        busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
        let mut newest = house.h1().await;
        assert_eq!(rest(&mut oldest).await, "");
        house.stand_in.go.notify_one();
        until(&mut busy, "at last").await;
        for client in [&mut second, &mut newest] {
            client.write_all(GET).await.unwrap();
            until(client, "a.test /x").await;
        }
    });
}

#[test]
fn draining_tells_with_the_next_answer_and_loses_nothing() {
    House::with(HttpLimits::default(), async |mut house: House| {
        let (mut idle, mut busy) = (house.h1().await, house.h1().await);
        idle.write_all(GET).await.unwrap();
        until(&mut idle, "a.test /x").await;
        busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
        while house.stand_in.admitted.get() < 2 {
            tokio::task::yield_now().await;
        }
        let drained = tokio::task::spawn_local(house.listening.take().unwrap().drain(Duration::from_secs(10)));
        tokio::task::yield_now().await;
        idle.write_all(GET).await.unwrap();
        let answer = rest(&mut idle).await;
        assert!(answer.contains("connection: close") && answer.ends_with("a.test /x"), "{answer}");
        assert!(!drained.is_finished());
        house.stand_in.go.notify_one();
        let answer = rest(&mut busy).await;
        assert!(answer.contains("connection: close") && answer.ends_with("at last"), "{answer}");
        drained.await.unwrap();
    });
}
