//! Fields on their way through: hop-by-hop and spoofable ones out, ours in (RFC 9110 §7.6.1, RFC 7239).
//!
//! The new map is built while copying; nothing is edited in place.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, Entry},
};

/// What we tell a worker of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// The visitor.
    pub(crate) client: SocketAddr,
    /// `Host` for the worker: the configured name alone.
    pub(crate) name: &'a HeaderValue,
    /// As the visitor named it: with our port where it is not 443.
    pub(crate) host: &'a HeaderValue,
    /// Our https port.
    pub(crate) port: u16,
    /// Ours, fresh.
    pub(crate) request_id: &'a HeaderValue,
    /// Whose request it is.
    pub(crate) tenant: &'a str,
    /// A WebSocket handshake that is passed on.
    pub(crate) websocket: bool,
    /// The body's length, where there is a body or the client said 0.
    pub(crate) length: Option<u64>,
    /// There is a body whose length only its end will tell.
    pub(crate) chunked: bool,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_TENANT_ID: HeaderName = HeaderName::from_static("x-tenant-id");
/// The request's own number, told to the worker, the visitor and the log.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const HTTPS: HeaderValue = HeaderValue::from_static("https");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const TE: HeaderValue = HeaderValue::from_static("te");

/// The fields of the request to the worker.
pub(crate) fn request(client: &HeaderMap, facts: &Facts<'_>) -> HeaderMap {
    let listed = Listed::read(client);
    let mut out = HeaderMap::with_capacity(client.len() + 9);
    out.insert(header::HOST, facts.name.clone());
    let mut trailers = false;
    for (name, value) in client {
        if *name == header::TE {
            trailers |= members(value).any(|member| member.eq_ignore_ascii_case("trailers"));
        } else if *name == header::COOKIE && !listed.names(name) {
            cookie(&mut out, value);
        } else if !request_drops(name) && !listed.names(name) {
            out.append(name.clone(), value.clone());
        }
    }
    if facts.websocket {
        out.insert(header::CONNECTION, UPGRADE);
        out.insert(header::UPGRADE, WEBSOCKET);
    } else if trailers {
        out.insert(header::CONNECTION, TE);
        out.insert(header::TE, TRAILERS);
    }
    if let Some(length) = facts.length {
        out.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    } else if facts.chunked {
        // Said outright: without it hyper takes a GET for one that has no body, and drops the body it has.
        out.insert(header::TRANSFER_ENCODING, CHUNKED);
    }
    out.insert(X_FORWARDED_FOR, text(|t| write!(t, "{}", facts.client.ip())));
    out.insert(X_FORWARDED_PROTO, HTTPS);
    out.insert(X_FORWARDED_HOST, facts.host.clone());
    out.insert(X_FORWARDED_PORT, HeaderValue::from(facts.port));
    out.insert(header::FORWARDED, forwarded(facts));
    out.insert(X_REQUEST_ID, facts.request_id.clone());
    out.insert(X_TENANT_ID, text(|t| t.write_str(facts.tenant)));
    out
}

/// The fields of the answer to the visitor.
pub(crate) fn response(worker: &HeaderMap, request_id: &HeaderValue, websocket: bool) -> HeaderMap {
    let listed = Listed::read(worker);
    let mut out = HeaderMap::with_capacity(worker.len() + 2);
    for (name, value) in worker {
        if !hop_by_hop(name) && *name != X_REQUEST_ID && !listed.names(name) {
            out.append(name.clone(), value.clone());
        }
    }
    if websocket {
        out.insert(header::CONNECTION, UPGRADE);
        out.insert(header::UPGRADE, WEBSOCKET);
    }
    out.insert(X_REQUEST_ID, request_id.clone());
    out
}

/// For so many seconds browsers come by https only (RFC 6797 section 6.1.1). Never for subdomains: other companies have
/// those.
pub(crate) fn strict_transport_security(max_age: Duration) -> HeaderValue {
    text(|t| write!(t, "max-age={}", max_age.as_secs()))
}

/// Trailers without the names that no trailer may have (RFC 9110 §6.5.1), and without those that we vouch for.
pub(crate) fn trailers(trailers: HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(trailers.len());
    for (name, value) in &trailers {
        if !trailer_drops(name) {
            out.append(name.clone(), value.clone());
        }
    }
    out
}

/// The comma-separated members of a value that is text.
pub(crate) fn members(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|member| !member.is_empty())
}

/// Cookie crumbs of HTTP/2 become one line again (RFC 9113 §8.2.3).
fn cookie(out: &mut HeaderMap, crumb: &HeaderValue) {
    match out.entry(header::COOKIE) {
        Entry::Vacant(vacant) => {
            vacant.insert(crumb.clone());
        }
        Entry::Occupied(mut line) => {
            let whole = [line.get().as_bytes(), b"; ", crumb.as_bytes()].concat();
            if let Ok(whole) = HeaderValue::from_bytes(&whole) {
                line.insert(whole);
            }
        }
    }
}

/// The names that a `Connection` field lists, besides the ones that are dropped anyway.
struct Listed(Vec<HeaderName>);

impl Listed {
    fn read(headers: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for value in headers.get_all(header::CONNECTION) {
            for member in members(value) {
                if !["close", "keep-alive", "upgrade", "te"].iter().any(|usual| member.eq_ignore_ascii_case(usual))
                    && let Ok(name) = HeaderName::from_bytes(member.as_bytes())
                {
                    names.push(name);
                }
            }
        }
        Self(names)
    }

    fn names(&self, name: &HeaderName) -> bool {
        !self.0.is_empty() && self.0.contains(name)
    }
}

fn hop_by_hop(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || *name == header::TE
        || name == "keep-alive"
        || name.as_str().starts_with("proxy-")
}

/// Hop-by-hop, or set by us, or trusted by workers because only a gateway sets it.
fn request_drops(name: &HeaderName) -> bool {
    hop_by_hop(name)
        || *name == header::HOST
        || *name == header::CONTENT_LENGTH
        // We answer it ourselves: reading the client's body sends the 100.
        || *name == header::EXPECT
        || name == "http2-settings"
        || spoofable(name)
}

fn spoofable(name: &HeaderName) -> bool {
    let name = name.as_str();
    // CGI-like servers make X_Forwarded_For and X-Forwarded-For the same variable.
    name.starts_with("x-forwarded")
        || name.starts_with("x-landlord")
        || matches!(name, "forwarded" | "x-real-ip" | "x-request-id" | "x-tenant-id")
        || name.contains('_')
}

fn trailer_drops(name: &HeaderName) -> bool {
    hop_by_hop(name)
        || spoofable(name)
        || matches!(
            *name,
            header::HOST
                | header::CONTENT_LENGTH
                | header::CONTENT_TYPE
                | header::CONTENT_ENCODING
                | header::CONTENT_RANGE
                | header::TRAILER
                | header::AUTHORIZATION
                | header::COOKIE
                | header::SET_COOKIE
                | header::CACHE_CONTROL
                | header::EXPECT
                | header::MAX_FORWARDS
                | header::RANGE
                | header::LOCATION
                | header::VARY
                | header::DATE
                | header::AGE
                | header::EXPIRES
                | header::RETRY_AFTER
                | header::WWW_AUTHENTICATE
        )
}

/// `for=…;host=…;proto=https` (RFC 7239 §4, §6: an IPv6 address is bracketed and quoted, a host with a port quoted).
fn forwarded(facts: &Facts<'_>) -> HeaderValue {
    let host = facts.host.to_str().unwrap_or_default();
    let quote = if host.contains(':') { "\"" } else { "" };
    text(|t| {
        match facts.client.ip() {
            IpAddr::V4(ip) => write!(t, "for={ip}")?,
            IpAddr::V6(ip) => write!(t, "for=\"[{ip}]\"")?,
        }
        write!(t, ";host={quote}{host}{quote};proto=https")
    })
}

fn text(write: impl FnOnce(&mut String) -> std::fmt::Result) -> HeaderValue {
    let mut text = String::with_capacity(64);
    // Writing to a String cannot fail, and addresses and host names are visible ASCII.
    let _ = write(&mut text);
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
