//! WebSockets: after the worker's 101 both connections are one tunnel, counted by the gate until it ends.

use std::rc::Rc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::{attempt::or_alarm, flight::Flight, headers::members, journey::Journey};

/// Bytes that a tunnel buffers, each way.
const BUFFER: usize = 64 * 1024;

/// Runs until both sides have ended, one of them broke off, or the gate's deadline for tunnels.
pub(crate) fn tunnel(client: OnUpgrade, worker: OnUpgrade, flight: Flight, mut journey: Journey) {
    flight.upgraded();
    tokio::task::spawn_local(async move {
        let alarm = Rc::clone(&flight.alarm);
        let copied = or_alarm(&alarm, async {
            let (client, worker) = (client.await.map_err(std::io::Error::other)?, worker.await);
            let worker = worker.map_err(std::io::Error::other)?;
            let (mut client, mut worker) = (TokioIo::new(client), TokioIo::new(worker));
            tokio::io::copy_bidirectional_with_sizes(&mut client, &mut worker, BUFFER, BUFFER).await
        });
        match copied.await {
            Ok(Ok((from_client, from_worker))) => {
                journey.note(|record| (record.bytes_in, record.bytes_out) = (from_client, from_worker));
                journey.end();
            }
            Ok(Err(_)) => journey.error("the tunnel broke off"),
            Err(_) => journey.error("cut at the drain deadline"),
        }
        drop(flight);
    });
}

/// Whether a client asks for a WebSocket (RFC 6455 §4.1), on a connection and with a method that can have one.
pub(crate) fn asks_for_websocket(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::GET
        && one(headers, &header::UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(members)
            .any(|member| member.eq_ignore_ascii_case("upgrade"))
        && one(headers, &header::SEC_WEBSOCKET_KEY).is_some_and(|key| key.len() == 24)
        && one(headers, &header::SEC_WEBSOCKET_VERSION).is_some()
        && !headers.contains_key(header::TRANSFER_ENCODING)
        && headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0")
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut all = headers.get_all(name).iter();
    all.next().filter(|_| all.next().is_none())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|&(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn a_websocket_handshake_and_what_is_none() {
        let good = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ];
        assert!(asks_for_websocket(&Method::GET, &map(&good)));
        assert!(!asks_for_websocket(&Method::POST, &map(&good)));
        for missing in 0..good.len() {
            let mut fields = good.to_vec();
            fields.remove(missing);
            assert!(!asks_for_websocket(&Method::GET, &map(&fields)), "without {}", good[missing].0);
        }
        for added in [("upgrade", "h2c"), ("content-length", "3"), ("transfer-encoding", "chunked")] {
            let mut fields = map(&good);
            fields.append(added.0, added.1.parse().unwrap());
            assert!(!asks_for_websocket(&Method::GET, &fields), "{added:?}");
        }
    }
}
