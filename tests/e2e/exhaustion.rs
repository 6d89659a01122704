//! Crowds: more connections than anybody needs, and more than there are descriptors for.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use harness::{
    Setup,
    hostile::{
        canary::Canary,
        case::get,
        door::Tls,
        h1::{End, H1},
        process,
        stage::Stage,
        tell,
    },
};

fn from(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, last))
}

async fn open(stage: &Stage, last: u8) -> std::io::Result<Tls> {
    stage.door.open(&stage.host, stage.door.config(&["http/1.1"]), from(last)).await
}

/// One request on it was answered.
async fn serves(stage: &Stage, client: &mut H1) -> bool {
    client.ask(&get(&stage.host, b"")).await.is_ok_and(|reply| reply.status == 200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_idle_connections_cost_little_and_hurt_nobody() {
    let stage = Stage::start("");
    let canary = Canary::start(&stage.door, &stage.host).await;
    // What the first connections cost once and for all is not the crowd's.
    for _ in 0..50 {
        assert!(serves(&stage, &mut stage.h1().await).await);
    }
    let before = process::resident(stage.proxy()).expect("resident memory");
    let mut crowd = Vec::new();
    for _ in 0..500 {
        let mut client = stage.h1().await;
        assert!(serves(&stage, &mut client).await);
        crowd.push(client);
    }
    let after = process::resident(stage.proxy()).expect("resident memory");
    let each = after.saturating_sub(before) / 500;
    tell(format_args!("{each} bytes resident for each idle connection"));
    // What the compiler has not optimised is larger.
    let most = if cfg!(debug_assertions) { 48 * 1024 } else { 32 * 1024 };
    assert!(each <= most, "{each} bytes for each idle connection");
    for client in &mut crowd {
        assert!(serves(&stage, client).await, "an idle connection still serves");
    }
    canary.stop().await.assert_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_head_holds_little_memory() {
    let stage = Stage::start("");
    for _ in 0..50 {
        assert!(serves(&stage, &mut stage.h1().await).await);
    }
    let before = process::resident(stage.proxy()).expect("resident memory");
    let half = [format!("GET / HTTP/1.1\r\nHost: {}\r\nX: ", stage.host).as_bytes(), &[b'y'; 31 * 1024]].concat();
    let mut crowd = Vec::new();
    for _ in 0..200 {
        let mut client = stage.h1().await;
        client.send(&half).await;
        crowd.push(client);
    }
    stage.sing().await.expect("a good request among them");
    let after = process::resident(stage.proxy()).expect("resident memory");
    let each = after.saturating_sub(before) / 200;
    tell(format_args!("{each} bytes resident for each half head"));
    // What the compiler has not optimised is larger.
    let most = if cfg!(debug_assertions) { 96 * 1024 } else { 64 * 1024 };
    assert!(each <= most, "{each} bytes for each half head");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_has_its_share_and_no_more() {
    let stage = Stage::start("connections_per_address = 20");
    let canary = Canary::start(&stage.door, &stage.host).await;
    let mut mine = Vec::new();
    for _ in 0..40 {
        if let Ok(tls) = open(&stage, 1).await {
            let mut client = H1::over(tls);
            if serves(&stage, &mut client).await {
                mine.push(client);
            }
        }
    }
    assert_eq!(mine.len(), 40, "a newcomer takes the place of its own address's oldest idle connection");
    let mut open_still = 0;
    for client in &mut mine {
        open_still += u32::from(serves(&stage, client).await);
    }
    assert!((1..=20).contains(&open_still), "{open_still} connections serve");
    let mut neighbour = H1::over(open(&stage, 2).await.expect("another address is another share"));
    assert!(serves(&stage, &mut neighbour).await);
    // What is given back can be had again.
    drop(mine);
    let again = async {
        loop {
            if let Ok(tls) = open(&stage, 1).await
                && serves(&stage, &mut H1::over(tls)).await
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("the share is free again");
    canary.stop().await.assert_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_idle_connection_makes_room() {
    let stage = Stage::start("connections = 40");
    let canary = Canary::start(&stage.door, &stage.host).await;
    let mut crowd = Vec::new();
    for number in 0..80 {
        let mut client =
            H1::over(open(&stage, number).await.unwrap_or_else(|why| panic!("connection {number}: {why}")));
        assert!(serves(&stage, &mut client).await, "connection {number}");
        crowd.push(client);
    }
    let newest = crowd.last_mut().expect("a crowd");
    assert!(serves(&stage, newest).await, "the newest stays");
    crowd[0].patience = Duration::from_secs(5);
    assert_ne!(crowd[0].end().await, End::Open, "the oldest made room");
    canary.stop().await.assert_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_accepting_waits_and_does_not_spin() {
    // Nobody of the crowd is idle: none can be closed for another.
    let stage = Stage::of(Setup::new().descriptors(256), "header_timeout = \"60s\"\nhandshake_timeout = \"60s\"");
    let proxy = stage.proxy();
    let mut known = stage.h1().await;
    known.send(&get(&stage.host, b"")[..20]).await;
    // Connections that the kernel takes, and for many of which nobody has a descriptor.
    let mut crowd = Vec::new();
    for _ in 0..400 {
        crowd.push(stage.door.tcp(from(1)).await.expect("the kernel takes it"));
    }
    let used = async {
        while process::descriptors(proxy).expect("its descriptors") < 180 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), used).await.expect("the crowd takes the descriptors");
    let began = process::cpu(proxy).expect("CPU time");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let spent = process::cpu(proxy).expect("CPU time") - began;
    tell(format_args!("{spent:?} of CPU in 3 s without descriptors"));
    assert!(spent < Duration::from_millis(600), "{spent:?} of CPU in 3 s: it spins");
    let used = process::descriptors(proxy).expect("its descriptors");
    tell(format_args!("{used} of 256 descriptors used"));
    assert!(used <= 256 - 40, "descriptors are kept for workers and logs: {used} used");
    known.send(&get(&stage.host, b"")[20..]).await;
    let reply = known.reply("GET").await;
    assert!(matches!(&reply, Ok(reply) if reply.status == 200), "who is in is served: {reply:?}");
    drop(crowd);
    let again = async {
        while stage.sing().await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again).await.expect("it accepts again");
    assert_eq!(stage.proxy(), proxy, "the proxy lives");
    let told = stage.landlord.logs().lines().filter(|line| line.contains("descriptor")).count();
    assert!((1..=5).contains(&told), "told {told} times");
}
