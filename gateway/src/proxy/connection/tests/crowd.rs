//! Connections of one address to a tenant with a limit of its own.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::house::{House, rest, until};
use crate::model::HttpLimits;

const GET: &[u8] = b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[test]
fn the_idle_one_makes_room_and_where_none_is_idle_nobody_more_is_let_in() {
    House::with(HttpLimits::default(), async |house: House| {
        house.stand_in.most.set(2);
        let (mut one, mut two) = (house.h1().await, house.h2().await);
        one.write_all(b"GET /wait HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
        while house.stand_in.admitted.get() == 0 {
            tokio::task::yield_now().await;
        }
        let mut three = house.h1().await;
        three.write_all(GET).await.unwrap();
        until(&mut three, "a.test /x").await;
        // HTTP/2, idle, and the one that had to go.
        rest(&mut two).await;
        three.write_all(b"GET /wait HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
        while house.stand_in.admitted.get() < 3 {
            tokio::task::yield_now().await;
        }
        assert!(house.tls("a.test", "http/1.1").await.is_err(), "both are at work");
        let mut other = house.tls("b.test", "http/1.1").await.unwrap();
        other.write_all(b"GET /x HTTP/1.1\r\nHost: b.test\r\n\r\n").await.unwrap();
        until(&mut other, "b.test /x").await;

        // As soon as one of them has its answer, it is the one that makes room.
        house.stand_in.go.notify_one();
        until(&mut one, "at last").await;
        let mut four = house.h1().await;
        four.write_all(GET).await.unwrap();
        until(&mut four, "a.test /x").await;
        rest(&mut one).await;
        house.stand_in.go.notify_one();
        until(&mut three, "at last").await;
        house.until_open(3).await;
    });
}

#[test]
fn an_upgraded_connection_is_counted_until_it_is_closed() {
    House::with(HttpLimits::default(), async |house: House| {
        house.stand_in.most.set(1);
        let mut tunnel = house.h1().await;
        let upgrade = b"GET /upgrade HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        tunnel.write_all(upgrade).await.unwrap();
        until(&mut tunnel, "\r\n\r\n").await;
        tunnel.write_all(b"ping").await.unwrap();
        tunnel.read_exact(&mut [0; 4]).await.unwrap();
        assert!(house.tls("a.test", "http/1.1").await.is_err());
        drop(tunnel);
        house.until_open(0).await;
        assert!(house.tls("a.test", "http/1.1").await.is_ok());
    });
}
