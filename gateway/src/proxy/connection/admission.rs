//! Which requests may be forwarded: exactly one authority, the one that the connection was opened for.

use http::{HeaderMap, Method, StatusCode, Uri, header, request};

use super::head;
use crate::{
    model::{Authority, Host, HttpLimits},
    proxy::exchange::Refusal,
};

/// The name asked for is not the one that TLS was opened for (RFC 9110 §15.5.20): browsers then open another connection.
const MISDIRECTED: Refusal = head::refusal(StatusCode::MISDIRECTED_REQUEST, "sni_mismatch");

/// The one authority's host, which is the connection's, or why the request is refused and for which host.
pub(super) fn admit(head: &request::Parts, sni: &Host) -> Result<Host, (Refusal, Option<Host>)> {
    let host = authority(head).map_err(|refusal| (refusal, None))?.host;
    if host == *sni { Ok(host) } else { Err((MISDIRECTED, Some(host))) }
}

/// The one authority of a request whose method and target are of a kind that is served here.
pub(super) fn authority(head: &request::Parts) -> Result<Authority, Refusal> {
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(head::METHOD);
    }
    let path = head.uri.path();
    if !(path.starts_with('/') || path == "*" && head.method == Method::OPTIONS) {
        return Err(head::FRAMING);
    }
    one_authority(&head.uri, &head.headers).ok_or(head::HOST)
}

fn one_authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let mut found: Option<Authority> = match uri.authority() {
        Some(authority) => Some(authority.as_str().parse().ok()?),
        None => None,
    };
    let mut hosts = headers.get_all(header::HOST).iter();
    if let Some(host) = hosts.next() {
        let host: Authority = host.to_str().ok()?.parse().ok()?;
        if found.get_or_insert_with(|| host.clone()) != &host {
            return None;
        }
    }
    if hosts.next().is_some() {
        return None;
    }
    found
}

/// What the guard does for a head of HTTP/1.1, for one of HTTP/2: sizes and names (RFC 9113 §8.2; `h2` does the rest).
pub(super) fn check_h2(head: &request::Parts, limits: &HttpLimits) -> Result<(), Refusal> {
    let target = head.uri.path_and_query().map_or(0, |p| p.as_str().len());
    if target > limits.uri_bytes as usize {
        return Err(head::LONG_TARGET);
    }
    if head.headers.len() > limits.header_count as usize {
        return Err(head::OVERSIZE);
    }
    let underscore = head.headers.keys().any(|name| name.as_str().contains('_'));
    if underscore || head.uri.path_and_query().is_some_and(|p| p.as_str().contains('\\')) {
        return Err(head::refusal(StatusCode::BAD_REQUEST, "h2"));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http::Request;

    use super::*;

    fn parts(method: &str, uri: &str, hosts: &[&str]) -> request::Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn one_authority_that_is_the_connections() {
        let sni: Host = "acme.localhost".parse().unwrap();
        let admitted = [
            parts("GET", "/", &["acme.localhost"]),
            parts("GET", "/", &["ACME.localhost:8443"]),
            parts("GET", "/", &["acme.localhost."]),
            parts("GET", "https://acme.localhost/x", &[]),
            parts("GET", "http://acme.localhost:81/x", &["acme.localhost:81"]),
            parts("OPTIONS", "*", &["acme.localhost"]),
        ];
        for head in admitted {
            assert_eq!(admit(&head, &sni).unwrap().as_str(), "acme.localhost", "{head:?}");
        }
        let refused = [
            (parts("GET", "/", &[]), 400),
            (parts("GET", "/", &["acme.localhost", "acme.localhost"]), 400),
            (parts("GET", "/", &["a@acme.localhost"]), 400),
            (parts("GET", "/", &["acme.localhost:x"]), 400),
            (parts("GET", "https://a@acme.localhost/", &["acme.localhost"]), 400),
            (parts("GET", "https://acme.localhost/", &["beta.localhost"]), 400),
            (parts("GET", "https://acme.localhost:81/", &["acme.localhost"]), 400),
            (parts("GET", "*", &["acme.localhost"]), 400),
            (parts("GET", "/", &["beta.localhost"]), 421),
            (parts("TRACE", "/", &["acme.localhost"]), 405),
            (parts("CONNECT", "acme.localhost:443", &["acme.localhost"]), 405),
        ];
        for (head, status) in refused {
            assert_eq!(admit(&head, &sni).unwrap_err().0.status.as_u16(), status, "{head:?}");
        }
    }
}
