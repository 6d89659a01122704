//! Clients that are slow on purpose, in every phase of a connection.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use harness::hostile::{
    canary::Canary,
    case::get,
    frames::{H2, PREFACE, Verdict, block, data, frame, get_block, headers, kind, literal, settings},
    h1::{End, H1, NoReply},
    stage::Stage,
    witness::What,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Small, so that a test takes seconds.
const HASTY: &str = "handshake_timeout = \"1s\"\nheader_timeout = \"1s\"\nbody_timeout = \"2s\"\nwrite_timeout = \"2s\"\nidle_timeout = \"3s\"\n";
/// Far above every timeout of `HASTY`: what lasts longer lasts for ever.
const LONG: Duration = Duration::from_secs(20);

/// Writes these bytes one by one, then waits: how long it took the peer to hang up. `None`: it did not.
async fn hung_up(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> Option<Duration> {
    let began = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let dripping = async {
        for byte in bytes {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        std::future::pending::<()>().await;
    };
    let reading = async {
        let mut buffer = [0; 4096];
        while let Ok(1..) = reader.read(&mut buffer).await {}
    };
    tokio::select! {
        () = dripping => None,
        () = reading => Some(began.elapsed()),
        () = tokio::time::sleep(LONG) => None,
    }
}

/// The beginning of a ClientHello that says it has 512 bytes.
fn half_a_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.resize(400, 7);
    hello
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_end_in_time() {
    let stage = Stage::start(HASTY);
    let canary = Canary::start(&stage.door, &stage.host).await;
    for (name, bytes, pause) in [
        ("silence", Vec::new(), Duration::ZERO),
        ("half a hello", half_a_hello(), Duration::ZERO),
        ("a hello in drips", half_a_hello(), Duration::from_millis(100)),
        ("one byte", vec![0x16], Duration::ZERO),
    ] {
        let mut tcp = stage.door.tcp(Ipv4Addr::LOCALHOST.into()).await.expect("a connection");
        let after = hung_up(&mut tcp, &bytes, pause).await;
        assert!(after.is_some_and(|after| after < Duration::from_secs(8)), "{name}: {after:?}");
    }
    canary.stop().await.assert_well();
}

/// Sends the bytes over TLS with a pause after each piece, and waits for the end.
async fn drip(client: &mut H1, pieces: impl Iterator<Item = Vec<u8>>, pause: Duration) -> (Option<u16>, End, Duration) {
    let began = Instant::now();
    client.patience = pause;
    for piece in pieces {
        client.send(&piece).await;
        if matches!(client.more().await, Ok(()) | Err(NoReply::Ended(..))) || began.elapsed() > LONG {
            break;
        }
    }
    client.patience = LONG;
    let status = client.reply("POST").await.ok().map(|reply| reply.status);
    (status, client.end().await, began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_end_in_time() {
    let stage = Stage::start(HASTY);
    let canary = Canary::start(&stage.door, &stage.host).await;
    let mark = stage.witness.mark();
    let head = [get(&stage.host, b"X: ")[..].strip_suffix(b"\r\n").unwrap_or(b""), &[b'y'; 5000]].concat();
    for (name, pieces, pause) in [
        ("half a head, then nothing", vec![head[..20].to_vec()], 50),
        ("a head in drips", head.chunks(1).map(<[u8]>::to_vec).collect(), 50),
        ("a head in gulps", head.chunks(50).map(<[u8]>::to_vec).collect(), 200),
    ] {
        let mut client = stage.h1().await;
        let (status, end, took) = drip(&mut client, pieces.into_iter(), Duration::from_millis(pause)).await;
        assert!(matches!(status, None | Some(408)), "{name}: {status:?}");
        assert_ne!(end, End::Open, "{name}");
        assert!(took < Duration::from_secs(8), "{name}: {took:?}");
    }
    // The second head of a connection has the same time.
    let mut client = stage.h1().await;
    assert_eq!(client.ask(&get(&stage.host, b"")).await.expect("an answer").status, 200);
    let (status, end, took) = drip(&mut client, head.chunks(1).map(<[u8]>::to_vec), Duration::from_millis(50)).await;
    assert!(
        matches!(status, None | Some(408)) && end != End::Open && took < Duration::from_secs(8),
        "{status:?} {end:?} {took:?}"
    );
    assert_eq!(stage.witness.whole_since(mark).len(), 1);
    canary.stop().await.assert_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_after_the_handshake_ends_in_time() {
    let stage = Stage::start(HASTY);
    for alpn in ["http/1.1", "h2"] {
        let config = stage.door.config(&[alpn]);
        let tls = stage.door.open(&stage.host, config, Ipv4Addr::LOCALHOST.into()).await.expect("a handshake");
        let mut client = H1::over(tls);
        client.patience = LONG;
        let began = Instant::now();
        assert_ne!(client.end().await, End::Open, "{alpn}");
        assert!(began.elapsed() < Duration::from_secs(12), "{alpn}: {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_end_in_time_and_not_before() {
    let stage = Stage::start(HASTY);
    let mut client = stage.h1().await;
    assert_eq!(client.ask(&get(&stage.host, b"")).await.expect("an answer").status, 200);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(client.ask(&get(&stage.host, b"")).await.expect("an answer after half the time").status, 200);
    let began = Instant::now();
    client.patience = LONG;
    assert_eq!(client.end().await, End::Goodbye);
    let took = began.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(12), "{took:?}");

    let mut client = H2::open(&stage.door, &stage.host, &[]).await.expect("a handshake");
    client.write(&headers(1, &get_block(&stage.host, "/echo"), true)).await.expect("a request");
    assert_eq!(client.verdict(1).await, Verdict::Status(200, true));
    let began = Instant::now();
    client.patience = LONG;
    let end = loop {
        match client.frame().await {
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    let took = began.elapsed();
    assert_eq!(end, Verdict::Closed);
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(12), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_go_on_or_end() {
    let stage = Stage::start(HASTY);
    let canary = Canary::start(&stage.door, &stage.host).await;
    let counted = format!("POST /echo HTTP/1.1\r\nHost: {}\r\nContent-Length: 100000\r\n\r\n", stage.host).into_bytes();
    let chunked =
        format!("POST /echo HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n", stage.host).into_bytes();
    let stalled = |head: &[u8]| vec![[head, b"5\r\nhello\r\n"].concat()];
    let dripped = |head: &[u8], piece: &[u8]| -> Vec<Vec<u8>> {
        std::iter::once(head.to_vec()).chain(vec![piece.to_vec(); 1000]).collect()
    };
    for (name, pieces, pause) in [
        ("a counted body stalls", stalled(&counted), 100),
        ("a chunked body stalls", stalled(&chunked), 100),
        ("a counted body drips", dripped(&counted, b"x"), 100),
        ("a chunked body drips", dripped(&chunked, b"1\r\nx\r\n"), 200),
    ] {
        let mark = stage.witness.mark();
        let mut client = stage.h1().await;
        let (status, end, took) = drip(&mut client, pieces.into_iter(), Duration::from_millis(pause)).await;
        assert_eq!(status, Some(408), "{name}");
        assert_ne!(end, End::Open, "{name}");
        assert!(took > Duration::from_secs(1) && took < Duration::from_secs(12), "{name}: {took:?}");
        assert_eq!(stage.witness.whole_since(mark), [], "{name}");
    }
    // Slow, and fast enough.
    let mut client = stage.h1().await;
    client
        .send(format!("POST /echo HTTP/1.1\r\nHost: {}\r\nContent-Length: 6000\r\n\r\n", stage.host).as_bytes())
        .await;
    for _ in 0..30 {
        client.send(&[b'x'; 200]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let reply = client.reply("POST").await.expect("an answer");
    assert_eq!((reply.status, reply.body.len()), (200, 6000));
    canary.stop().await.assert_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_are_cut() {
    let stage = Stage::start(HASTY);
    let canary = Canary::start(&stage.door, &stage.host).await;
    let mark = stage.witness.mark();
    let mut client = stage.h1().await;
    let target = "/big/200000000";
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", stage.host).as_bytes()).await;
    let cut = stage.witness.wait(mark, What::Cut, target, LONG).await;
    assert!(cut.is_some(), "the worker still writes to nobody");
    let reply = client.reply("GET").await;
    assert!(!matches!(&reply, Ok(reply) if reply.whole), "a cut answer is not whole");

    // Slow, but it reads: it gets all.
    let mut client = stage.h1().await;
    client
        .send(format!("GET /big/30000000 HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", stage.host).as_bytes())
        .await;
    let mut had = 0;
    while client.more().await.is_ok() {
        if client.left().len() > had + (4 << 20) {
            had = client.left().len();
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    }
    assert!(client.left().len() > 30_000_000, "a slow reader got {} bytes", client.left().len());
    canary.stop().await.assert_well();
}

/// The frames until the connection ends, and how long that took; `None`: it did not.
async fn h2_end(client: &mut H2) -> Option<Duration> {
    let began = Instant::now();
    client.patience = LONG;
    while began.elapsed() < LONG {
        match client.frame().await {
            Ok(_) => {}
            Err(Verdict::Closed) => return Some(began.elapsed()),
            Err(_) => return None,
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefaces_and_header_blocks_end_in_time() {
    let stage = Stage::start(HASTY);
    let canary = Canary::start(&stage.door, &stage.host).await;
    for (name, bytes, pause) in [
        ("half a preface", PREFACE[..12].to_vec(), 0),
        ("a preface in drips", PREFACE[..23].to_vec(), 400),
        ("a preface without settings", PREFACE.to_vec(), 0),
        ("half of the settings", [PREFACE, &settings(&[(4, 65_535)])[..10]].concat(), 0),
    ] {
        let mut tls = stage.door.h2(&stage.host).await.expect("a handshake");
        let began = Instant::now();
        let (mut reader, mut writer) = tokio::io::split(&mut tls);
        let dripping = async {
            for byte in bytes {
                if writer.write_all(&[byte]).await.is_err() || writer.flush().await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            std::future::pending::<()>().await;
        };
        let reading = async {
            let mut buffer = [0; 4096];
            while let Ok(1..) = reader.read(&mut buffer).await {}
        };
        tokio::select! {
            () = dripping => {}
            () = reading => {}
            () = tokio::time::sleep(LONG) => panic!("{name}: still open"),
        }
        assert!(began.elapsed() < Duration::from_secs(12), "{name}: {:?}", began.elapsed());
    }
    let mark = stage.witness.mark();
    // A header block without its end, silent and dripping.
    for pieces in [0, 300] {
        let mut client = H2::open(&stage.door, &stage.host, &[]).await.expect("a handshake");
        client.write(&frame(kind::HEADERS, 1, 1, &get_block(&stage.host, "/echo"))).await.expect("the beginning");
        let began = Instant::now();
        for _ in 0..pieces {
            let piece = frame(kind::CONTINUATION, 0, 1, &literal(b"x", b"y"));
            if client.write(&piece).await.is_err() || began.elapsed() > LONG {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(h2_end(&mut client).await.is_some(), "{pieces} pieces: still open");
        assert!(began.elapsed() < Duration::from_secs(16), "{pieces} pieces: {:?}", began.elapsed());
    }
    assert_eq!(stage.witness.since(mark), []);
    canary.stop().await.assert_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_go_on_or_end() {
    let stage = Stage::start(HASTY);
    let canary = Canary::start(&stage.door, &stage.host).await;
    let mark = stage.witness.mark();
    let upload = block(&[
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", stage.host.as_bytes()),
        (b":path", b"/echo"),
    ]);
    for (name, drips) in [("a stalled body", 0), ("a dripped body", 200)] {
        let mut client = H2::open(&stage.door, &stage.host, &[]).await.expect("a handshake");
        client.write(&[headers(1, &upload, false), data(1, b"hello", false)].concat()).await.expect("the beginning");
        let began = Instant::now();
        client.patience = Duration::from_millis(100);
        let mut answered = false;
        for _ in 0..drips {
            answered |= client.frame().await.is_ok_and(|frame| frame.stream == 1 && frame.kind != kind::WINDOW_UPDATE);
            if answered || client.write(&data(1, b"x", false)).await.is_err() {
                break;
            }
        }
        client.patience = LONG;
        if !answered {
            let verdict = client.verdict(1).await;
            assert!(
                matches!(verdict, Verdict::Status(408, _) | Verdict::Reset(_) | Verdict::Goaway(_) | Verdict::Closed),
                "{name}: {verdict:?}"
            );
        }
        assert!(began.elapsed() < Duration::from_secs(12), "{name}: {:?}", began.elapsed());
    }
    assert_eq!(stage.witness.whole_since(mark), []);

    // An open window, and nobody who reads the socket.
    let mut deaf = H2::open(&stage.door, &stage.host, &[(4, 0x7fff_ffff)]).await.expect("a handshake");
    deaf.write(&harness::hostile::frames::window(0, 0x7fff_0000)).await.expect("a window");
    deaf.write(&headers(1, &get_block(&stage.host, "/big/200000000"), true)).await.expect("a request");
    let cut = stage.witness.wait(mark, What::Cut, "/big/200000000", LONG).await;
    assert!(cut.is_some(), "the worker still writes to nobody");
    canary.stop().await.assert_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_slow_clients_hurts_nobody_and_is_gone_in_time() {
    let stage = Stage::start(HASTY);
    let canary = Canary::start(&stage.door, &stage.host).await;
    let mut silent = Vec::new();
    for _ in 0..500 {
        silent.push(stage.door.tcp(Ipv4Addr::LOCALHOST.into()).await.expect("a connection"));
    }
    let mut halves = Vec::new();
    for _ in 0..200 {
        let mut client = stage.h1().await;
        client.send(b"GET / HTTP/1.1\r\nHost: ").await;
        client.patience = LONG;
        halves.push(client);
    }
    for mut client in halves {
        assert_ne!(client.end().await, End::Open, "half a head is cut");
    }
    for mut tcp in silent {
        assert!(hung_up(&mut tcp, b"", Duration::ZERO).await.is_some(), "silence is cut");
    }
    canary.stop().await.assert_well();
}
