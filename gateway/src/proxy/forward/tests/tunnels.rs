//! WebSockets, through hyper's own server as the connection side uses it.

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;

use super::*;

/// A client's raw connection whose requests go to the forwarder.
fn client(house: &House) -> DuplexStream {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let forwarder = house.forwarder.clone();
    tokio::task::spawn_local(async move {
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let forwarder = forwarder.clone();
            async move {
                let request = request.map(|_| RequestBody::Empty);
                Ok::<_, std::convert::Infallible>(forwarder.forward(admitted(request, Protocol::H1)).await)
            }
        });
        http1::Builder::new().serve_connection(TokioIo::new(server), service).with_upgrades().await
    });
    client
}

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: acme.localhost:8443\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

async fn read_until(client: &mut DuplexStream, text: &str) -> String {
    let mut read = Vec::new();
    while !read.windows(text.len()).any(|w| w == text.as_bytes()) {
        assert!(client.read_buf(&mut read).await.unwrap() > 0, "{text:?} was awaited");
    }
    String::from_utf8(read).unwrap()
}

#[test]
fn a_tunnel_carries_both_ways_half_closes_and_is_counted_until_its_end() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        house.serve(port);
        let mut client = client(&house);
        client.write_all(HANDSHAKE.as_bytes()).await.unwrap();
        let mut line = Line::accept(&listener).await;
        let head = line.head().await.to_ascii_lowercase();
        assert!(head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
        // The first frame may come in one piece with the 101.
        line.say(&format!("{SWITCHED}hello")).await;
        let answer = read_until(&mut client, "hello").await.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 101 ") && answer.contains("sec-websocket-accept:"), "{answer}");
        client.write_all(b"ping").await.unwrap();
        line.until("ping").await;
        assert_eq!(house.forwarder.in_flight(), 1);

        client.shutdown().await.unwrap();
        assert!(!line.more().await, "the client's end is seen");
        line.say("last words").await;
        drop(line);
        read_until(&mut client, "last words").await;
        let record = house.record().await;
        assert_eq!((record.status.as_u16(), record.bytes_in, record.bytes_out), (101, 4, 15));
        assert_eq!(house.forwarder.in_flight(), 0);
    });
}

#[test]
fn a_tunnel_has_a_deadline_of_its_own() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        house.serve(port);
        let mut client = client(&house);
        client.write_all(HANDSHAKE.as_bytes()).await.unwrap();
        let mut line = Line::accept(&listener).await;
        line.head().await;
        line.say(SWITCHED).await;
        read_until(&mut client, "\r\n\r\n").await;
        house.apply(acme(Serving::Hold, vec![at(1, port, false)]));
        let current = house.routes.current();
        let gate = &current.backends().next().unwrap().0.gate;
        gate.cut(false);
        client.write_all(b"still here").await.unwrap();
        line.until("still here").await;
        gate.cut(true);
        assert!(!line.more().await, "cut");
        house.routes.idle().notified().await;
        assert!(gate.is_idle());
        assert_eq!(house.record().await.error, Some("cut at the drain deadline"));
    });
}

#[test]
fn a_worker_that_declines_answers_as_usual_and_no_other_upgrade_passes() {
    core(async {
        let mut house = House::new();
        let (listener, port) = listener().await;
        house.serve(port);
        let mut client = client(&house);
        client.write_all(HANDSHAKE.as_bytes()).await.unwrap();
        let mut line = Line::accept(&listener).await;
        line.head().await;
        line.say("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno").await;
        assert!(read_until(&mut client, "no").await.starts_with("HTTP/1.1 426 "));

        let h2c = "GET / HTTP/1.1\r\nHost: acme.localhost:8443\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                   HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
        client.write_all(h2c.as_bytes()).await.unwrap();
        let head = line.head().await.to_ascii_lowercase();
        assert!(!head.contains("upgrade") && !head.contains("http2-settings"), "{head}");
        line.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        assert!(read_until(&mut client, "ok").await.starts_with("HTTP/1.1 200 "));
    });
}
