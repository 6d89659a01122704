//! HTTP/2 that is nothing but a flood: resets, floods of every frame, windows of nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use harness::hostile::{
    canary::Canary,
    flood::{Tally, pour, pour_deaf},
    frames::{
        CALM, H2, Verdict, block, data, frame, get_block, headers, indexed_literal, kind, literal, reset, window,
    },
    process,
    stage::Stage,
    tell,
    witness::What,
};

/// Requests of a flood.
const MANY: usize = 20_000;
/// What the promise allows a flood to cost in memory.
const GROWTH: u64 = 16 << 20;

// ---- Resets ----

fn hanging(stage: &Stage, stream: u32) -> Vec<u8> {
    headers(stream, &get_block(&stage.host, "/echo?flood"), true)
}

fn stream_of(number: usize) -> u32 {
    number as u32 * 2 + 1
}

/// At most a hundred requests of a flood are worked for in vain.
async fn assert_spared(stage: &Stage, mark: usize, tally: &Tally) {
    stage.sing().await.expect("then a good request");
    let reached = stage.witness.since(mark).len();
    tell(format_args!("{tally:?}; {reached} at the worker"));
    assert!(reached <= 100 + tally.answered, "{reached} requests reached the worker, {} were answered", tally.answered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset_in_bulk() {
    let stage = Stage::start("");
    let canary = Canary::start(&stage.door, &stage.host).await;
    let mark = stage.witness.mark();
    let mut client = H2::open(&stage.door, &stage.host, &[]).await.expect("a handshake");
    let pieces: Vec<Vec<u8>> = (0..MANY)
        .collect::<Vec<_>>()
        .chunks(100)
        .map(|numbers| {
            numbers.iter().flat_map(|n| [hanging(&stage, stream_of(*n)), reset(stream_of(*n))].concat()).collect()
        })
        .collect();
    let tally = pour(&mut client, pieces.into_iter(), Duration::from_secs(10)).await;
    assert_spared(&stage, mark, &tally).await;
    assert!(stage.witness.since(mark).len() <= 100, "{} reached the worker", stage.witness.since(mark).len());
    let (last, code) = tally.goaway.expect("a GOAWAY");
    assert_eq!(code, CALM, "{tally:?}");
    assert!(last / 2 <= 1000, "GOAWAY only after stream {last}");
    canary.stop().await.assert_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset_one_by_one() {
    let stage = Stage::start("");
    let mark = stage.witness.mark();
    let mut client = H2::open(&stage.door, &stage.host, &[]).await.expect("a handshake");
    let mut angry = None;
    for number in 0..MANY {
        let stream = stream_of(number);
        let pair = [hanging(&stage, stream), reset(stream)].concat();
        if client.write(&pair).await.is_err() {
            break;
        }
        match client.settle(number as u64).await {
            Ok(_) => {}
            Err(Verdict::Goaway(code)) => {
                angry = Some((number, code));
                break;
            }
            Err(other) => panic!("{other:?} after {number}"),
        }
    }
    let (number, code) = angry.expect("a GOAWAY");
    assert_eq!(code, CALM);
    assert!(number <= 1000, "GOAWAY only after {number}");
    stage.sing().await.expect("then a good request");
    let reached = stage.witness.since(mark).len();
    assert!(reached <= 100, "{reached} requests reached the worker");
}

/// MadeYouReset (CVE-2025-8671): the client makes the server reset what the client asked for.
async fn made_you_reset(name: &str, provoke: impl Fn(u32) -> Vec<u8>) {
    let stage = Stage::start("");
    let canary = Canary::start(&stage.door, &stage.host).await;
    let mark = stage.witness.mark();
    let mut client = H2::open(&stage.door, &stage.host, &[]).await.expect("a handshake");
    let pieces: Vec<Vec<u8>> =
        (0..MANY).map(|number| [hanging(&stage, stream_of(number)), provoke(stream_of(number))].concat()).collect();
    let tally = pour(&mut client, pieces.into_iter(), Duration::from_secs(5)).await;
    tell(format_args!("{name}"));
    assert_spared(&stage, mark, &tally).await;
    if tally.resets > 0 {
        let (last, _) = tally.goaway.unwrap_or_else(|| panic!("{name}: no GOAWAY: {tally:?}"));
        assert!(last / 2 <= 1000, "{name}: GOAWAY only after stream {last}");
    }
    canary.stop().await.assert_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_you_reset_by_a_window_of_nothing() {
    made_you_reset("WINDOW_UPDATE 0", |stream| window(stream, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_you_reset_by_a_window_too_large() {
    made_you_reset("WINDOW_UPDATE overflow", |stream| {
        [window(stream, 0x7fff_ffff), window(stream, 0x7fff_ffff)].concat()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_you_reset_by_data_after_the_end() {
    made_you_reset("DATA after END_STREAM", |stream| data(stream, b"x", false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_you_reset_by_headers_after_the_end() {
    made_you_reset("HEADERS after END_STREAM", |stream| headers(stream, &block(&[(b"x", b"y")]), true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_you_reset_by_a_priority_of_a_wrong_size() {
    made_you_reset("PRIORITY of 4 bytes", |stream| frame(kind::PRIORITY, 0, stream, &[0; 4])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_you_reset_by_a_stream_that_waits_for_itself() {
    made_you_reset("PRIORITY on itself", |stream| {
        frame(kind::PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[1]].concat())
    })
    .await;
}

// ---- Floods ----

/// Pours, while a canary sings and the proxy's memory is watched.
async fn flooded(
    name: &str,
    deaf: bool,
    opening: impl Fn(&Stage) -> Vec<u8>,
    piece: impl Fn(usize) -> Vec<u8>,
    count: usize,
) {
    let stage = Stage::start("");
    let canary = Canary::start(&stage.door, &stage.host).await;
    let proxy = stage.proxy();
    let before = process::resident(proxy).expect("resident memory");
    let watching = Arc::new(AtomicU64::new(0));
    let watched = watching.clone();
    let watch = tokio::spawn(async move {
        loop {
            watched.fetch_max(process::resident(proxy).unwrap_or(0), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    // Whoever is thrown out comes again, for as long as it takes to hurt somebody.
    let (began, mut turns, mut told) = (Instant::now(), 0, String::new());
    while turns < 10 || began.elapsed() < Duration::from_secs(1) {
        let mut client = H2::open(&stage.door, &stage.host, &[]).await.expect("a handshake");
        let pieces = std::iter::once(opening(&stage)).chain((0..count).map(&piece));
        told = if deaf {
            format!("{} pieces written", pour_deaf(&mut client, pieces, Duration::from_secs(3)).await)
        } else {
            format!("{:?}", pour(&mut client, pieces, Duration::from_millis(500)).await)
        };
        turns += 1;
        if began.elapsed() > Duration::from_secs(20) {
            break;
        }
    }
    watch.abort();
    let most = watching.load(Ordering::Relaxed).max(process::resident(proxy).expect("resident memory"));
    tell(format_args!(
        "{name}: {turns} times, at last {told}, in {:?}; resident {} KiB more",
        began.elapsed(),
        most.saturating_sub(before) / 1024
    ));
    canary.stop().await.assert_well();
    assert!(most < before + GROWTH, "{name}: resident memory grew from {before} to {most}");
    assert_eq!(stage.proxy(), proxy, "{name}: the proxy lives");
    stage.sing().await.expect("then a good request");
}

fn open_headers(stage: &Stage) -> Vec<u8> {
    frame(kind::HEADERS, 0, 1, &get_block(&stage.host, "/echo"))
}

fn upload(stage: &Stage) -> Vec<u8> {
    let fields: &[(&[u8], &[u8])] =
        &[(b":method", b"POST"), (b":scheme", b"https"), (b":authority", stage.host.as_bytes()), (b":path", b"/echo")];
    headers(1, &block(fields), false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_continuations() {
    let fields = literal(b"x-flood", &[b'y'; 8000]);
    flooded("CONTINUATION", false, open_headers, |_| frame(kind::CONTINUATION, 0, 1, &fields), 20_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_empty_continuations() {
    flooded("empty CONTINUATION", false, open_headers, |_| frame(kind::CONTINUATION, 0, 1, b"").repeat(100), 2000)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_empty_data() {
    flooded("empty DATA", false, upload, |_| data(1, b"", false).repeat(100), 2000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_settings() {
    flooded(
        "SETTINGS",
        false,
        |_| Vec::new(),
        |n| harness::hostile::frames::settings(&[(4, n as u32 + 65_535)]).repeat(100),
        2000,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_settings_to_a_deaf_client() {
    flooded("SETTINGS, deaf", true, |_| Vec::new(), |_| frame(kind::SETTINGS, 0, 0, b"").repeat(100), 20_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings() {
    flooded("PING", false, |_| Vec::new(), |_| frame(kind::PING, 0, 0, &[7; 8]).repeat(100), 2000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_to_a_deaf_client() {
    flooded("PING, deaf", true, |_| Vec::new(), |_| frame(kind::PING, 0, 0, &[7; 8]).repeat(100), 20_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_priorities() {
    let piece = |n: usize| {
        (0..100).flat_map(|at| frame(kind::PRIORITY, 0, stream_of(n * 100 + at), &[0, 0, 0, 0, 1])).collect()
    };
    flooded("PRIORITY", false, |_| Vec::new(), piece, 2000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_windows() {
    flooded("WINDOW_UPDATE", false, |_| Vec::new(), |_| window(0, 1).repeat(100), 2000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unknown_frames() {
    flooded("unknown frames", false, |_| Vec::new(), |_| frame(0xbe, 0, 0, &[7; 100]).repeat(100), 2000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bomb_of_table_references() {
    // One field of 4,000 bytes into the dynamic table, then 16,000 references of one byte each: 64 MB a frame.
    let mut bomb = indexed_literal(b"x", &[b'y'; 3900]);
    bomb.extend(std::iter::repeat_n(0xbe, 12_000));
    let piece = move |n: usize| {
        let host: &[(&[u8], &[u8])] =
            &[(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"acme.apps.test"), (b":path", b"/bomb")];
        frame(kind::HEADERS, 5, stream_of(n), &[block(host), bomb.clone()].concat())
    };
    flooded("HPACK", false, |_| Vec::new(), piece, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_of_nothing_hoard_nothing_and_are_cut() {
    let stage = Stage::start("write_timeout = \"2s\"");
    let canary = Canary::start(&stage.door, &stage.host).await;
    let proxy = stage.proxy();
    let before = process::resident(proxy).expect("resident memory");
    let mark = stage.witness.mark();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = H2::open(&stage.door, &stage.host, &[(4, 0)]).await.expect("a handshake");
        let many: Vec<u8> =
            (0..25).flat_map(|n| headers(stream_of(n), &get_block(&stage.host, "/big/50000000"), true)).collect();
        client.write(&many).await.expect("the requests");
        clients.push(client);
    }
    // The gateway stops taking what nobody reads: the workers are told so by their cut connections.
    let cut = stage.witness.wait(mark, What::Cut, "/big/50000000", Duration::from_secs(20)).await;
    let most = process::resident(proxy).expect("resident memory");
    tell(format_args!("hoarding: resident {} KiB more", most.saturating_sub(before) / 1024));
    assert!(cut.is_some(), "nothing was cut");
    // 1 MiB each, and what the allocator keeps.
    assert!(most < before + GROWTH, "resident memory grew from {before} to {most}");
    for mut client in clients {
        client.patience = Duration::from_secs(20);
        let verdict = client.verdict(1).await;
        assert!(!matches!(verdict, Verdict::Silence | Verdict::Status(_, true)), "{verdict:?}");
    }
    canary.stop().await.assert_well();
}
