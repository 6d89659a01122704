//! Whether a request that changes something comes from our own pages (or from no browser at all).

use axum::http::{HeaderMap, header};

/// Judges by `Sec-Fetch-Site`, which every current browser sends over https and to localhost, and else by `Origin`.
/// What sends neither is no browser, and carries no visitor's rights. `site`: the host of our own address.
pub(super) fn is_ours(headers: &HeaderMap, site: Option<&str>) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}"));
    if let Some(fetch) = text("sec-fetch-site") {
        return matches!(fetch, "same-origin" | "none");
    }
    let Some(origin) = text(header::ORIGIN.as_str()) else { return true };
    let Some((_, origin)) = origin.split_once("://") else { return false };
    // The port is left out: the gateway may tell us its name without it, and a name belongs to one company.
    let ours = [text(header::HOST.as_str()), text("x-forwarded-host"), site];
    ours.into_iter().flatten().any(|host| name(host).eq_ignore_ascii_case(name(origin)))
}

/// The name of `name:port` or `[v6]:port`.
fn name(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => name,
        _ => authority,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn ours(fields: &[(&'static str, &'static str)]) -> bool {
        let headers = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        is_ours(&headers, Some("portal.acme.com"))
    }

    #[test]
    fn browsers_say_where_a_request_comes_from() {
        assert!(ours(&[("sec-fetch-site", "same-origin"), ("origin", "https://x")]));
        assert!(ours(&[("sec-fetch-site", "none")]));
        for foreign in ["cross-site", "same-site", ""] {
            assert!(!ours(&[("sec-fetch-site", foreign), ("host", "a"), ("origin", "https://a")]), "{foreign:?}");
        }
    }

    #[test]
    fn an_origin_is_the_name_asked_for() {
        assert!(ours(&[("host", "acme.localhost"), ("origin", "https://acme.localhost:8443")]));
        assert!(ours(&[("host", "[::1]:8000"), ("origin", "http://[::1]:8000")]));
        assert!(ours(&[("host", "10.0.0.1:20000"), ("origin", "https://portal.acme.com")]));
        assert!(!ours(&[("host", "acme.localhost"), ("origin", "https://globex.localhost:8443")]));
        assert!(!ours(&[("host", "acme.localhost"), ("origin", "null")]));
        assert!(ours(&[("host", "acme.localhost")]), "curl");
    }
}
