//! The pages a visitor sees when no worker answers: small, self-contained, never cached, without secrets.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::{exchange::ResponseBody, forward::headers::X_REQUEST_ID};

/// What a page is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page<'a> {
    /// Only a status: bad requests, unknown hosts, broken workers.
    Status(StatusCode),
    /// The worker is starting or restarting and the wait was too long, or too many wait.
    Starting {
        /// For people.
        company: &'a str,
    },
    /// Too many failed starts.
    Failed {
        /// For people.
        company: &'a str,
        /// Seconds until the next attempt.
        retry_after: u32,
    },
    /// Suspended by its file.
    Suspended {
        /// For people.
        company: &'a str,
    },
    /// Stopped by an operator.
    Stopped {
        /// For people.
        company: &'a str,
    },
    /// More requests than the tenant may get.
    TooMany {
        /// For people.
        company: &'a str,
        /// Seconds until one more may come.
        retry_after: u32,
    },
    /// Its turn among the tenant's requests did not come in time.
    Busy {
        /// For people.
        company: &'a str,
    },
    /// Its storage is used up: nothing more can be kept.
    Full {
        /// For people.
        company: &'a str,
    },
}

/// Who asks, as far as it shapes the page.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// HEAD gets no body.
    pub method: &'a Method,
    /// `Accept` chooses HTML or JSON.
    pub headers: &'a HeaderMap,
    /// Shown, so that a visitor can tell it to whoever helps.
    pub request_id: &'a HeaderValue,
}

impl Page<'_> {
    fn status(self) -> StatusCode {
        match self {
            Self::Status(status) => status,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Seconds, where coming back helps.
    fn retry_after(self) -> Option<u32> {
        match self {
            Self::Starting { .. } | Self::Busy { .. } => Some(5),
            Self::Failed { retry_after, .. } | Self::TooMany { retry_after, .. } => Some(retry_after.max(1)),
            Self::Stopped { .. } => Some(300),
            Self::Suspended { .. } => Some(3600),
            Self::Status(StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT | StatusCode::SERVICE_UNAVAILABLE) => {
                Some(5)
            }
            // Room is made by people: when is not known.
            Self::Full { .. } | Self::Status(_) => None,
        }
    }

    /// One word for programs.
    fn word(self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Failed { .. } => "failed",
            Self::Suspended { .. } => "suspended",
            Self::Stopped { .. } => "stopped",
            Self::TooMany { .. } => "too_many_requests",
            Self::Busy { .. } => "busy",
            Self::Full { .. } => "storage_full",
            Self::Status(status) => match status.as_u16() {
                400 => "bad_request",
                404 => "unknown_site",
                405 => "method_not_allowed",
                408 => "too_slow",
                413 => "too_large",
                414 => "address_too_long",
                421 => "misdirected",
                431 => "header_too_large",
                501 => "not_implemented",
                502 => "bad_gateway",
                503 => "unavailable",
                504 => "gateway_timeout",
                505 => "version_not_supported",
                _ => "error",
            },
        }
    }

    /// Heading and explanation.
    fn text(self) -> (String, &'static str) {
        match self {
            Self::Starting { company } => (
                format!("{company} will be back in a moment"),
                "The site is starting. This page tries again by itself; nothing you entered elsewhere is lost.",
            ),
            Self::Failed { company, .. } => (
                format!("{company} is not available right now"),
                "The site did not start and the people who run it have been told. Please try again in a few minutes.",
            ),
            Self::Suspended { company } => {
                (format!("{company} is suspended"), "Its data is kept. Please ask the people who run this site.")
            }
            Self::Stopped { company } => (
                format!("{company} is closed for maintenance"),
                "The site was stopped on purpose and its data is kept. Please try again later.",
            ),
            Self::TooMany { company, .. } => (
                format!("{company} gets too many requests right now"),
                "Please wait a moment and try again. What you sent was not taken in.",
            ),
            Self::Busy { company } => (
                format!("{company} is very busy right now"),
                "Too many others were before you. Please try again in a moment.",
            ),
            Self::Full { company } => (
                format!("{company} has no room left"),
                "The storage of this site is used up, so what you sent was not kept. Reading goes on as ever. Please tell \
                 the people who run this site.",
            ),
            Self::Status(status) => {
                let text = match status.as_u16() {
                    400 => "The request was not well formed.",
                    404 => "There is no site at this address. Please check it for a typing error.",
                    405 => "This way of asking is not allowed here.",
                    408 => "The request took too long to arrive. Please try again.",
                    413 => "What was sent is larger than this site allows.",
                    414 => "The address is too long.",
                    421 => "This connection was opened for another site. Loading the page again mends it.",
                    431 => "The request's header is too large. Deleting this site's cookies often mends it.",
                    501 => "This way of sending is not supported.",
                    502 => "The site broke off while it was answering. Please try again.",
                    503 => "The site is not available right now. Please try again in a moment.",
                    504 => "The site took too long to answer. Please try again.",
                    505 => "This version of HTTP is not supported.",
                    _ => "The request could not be answered.",
                };
                (status.canonical_reason().unwrap_or("Error").to_owned(), text)
            }
        }
    }
}

/// The whole answer.
pub fn answer(page: Page<'_>, asker: &Asker<'_>) -> Response<ResponseBody> {
    let json = prefers_json(asker.headers);
    let body = if json { json_body(page, asker) } else { html(page, asker) };
    let mut response = Response::new(ResponseBody::Full(None));
    *response.status_mut() = page.status();
    let headers = response.headers_mut();
    let kind = if json { "application/json" } else { "text/html; charset=utf-8" };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    if let Some(seconds) = page.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if page.status() == StatusCode::METHOD_NOT_ALLOWED {
        // RFC 9110 §15.5.6 asks for it: what the guard lets pass.
        let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        headers.insert(header::ALLOW, allowed);
    }
    headers.insert(X_REQUEST_ID, asker.request_id.clone());
    if *asker.method != Method::HEAD {
        *response.body_mut() = ResponseBody::Full(Some(Bytes::from(body)));
    }
    response
}

/// 308 to the tenant's canonical address (RFC 9110 §15.4.9: method and body are kept).
pub fn moved(location: &str, request_id: &HeaderValue) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Full(None));
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    response.headers_mut().insert(X_REQUEST_ID, request_id.clone());
    response
}

/// JSON is named in `Accept` before HTML or without it.
fn prefers_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for member in accepted.flat_map(|value| value.split(',')) {
        match member.split(';').next().unwrap_or_default().trim() {
            "text/html" | "application/xhtml+xml" | "text/*" => return false,
            "application/json" => return true,
            kind if kind.ends_with("+json") => return true,
            _ => {}
        }
    }
    false
}

fn json_body(page: Page<'_>, asker: &Asker<'_>) -> String {
    let id = asker.request_id.to_str().unwrap_or_default();
    let body = serde_json::json!({ "error": page.word(), "message": page.text().1, "request_id": id });
    format!("{body}\n")
}

fn html(page: Page<'_>, asker: &Asker<'_>) -> String {
    let (heading, text) = page.text();
    let heading = escape(&heading);
    let id = escape(asker.request_id.to_str().unwrap_or_default());
    let status = page.status().as_u16();
    // Only GET may be repeated by the page itself.
    let refresh = match page {
        Page::Starting { .. } if *asker.method == Method::GET => "<meta http-equiv=\"refresh\" content=\"5\">",
        _ => "",
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">{refresh}\n<title>{heading}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<main>\n<h1>{heading}</h1>\n<p>{text}</p>\n\
         <p class=\"small\">Status {status} · Request <code>{id}</code></p>\n</main>\n</body>\n</html>\n"
    )
}

const STYLE: &str = ":root{color-scheme:light dark}\
body{margin:0;min-height:100vh;display:grid;place-items:center;font:17px/1.6 system-ui,sans-serif;\
background:#f6f7f9;color:#1c2430}\
main{max-width:34rem;margin:1.5rem;padding:2rem 2.25rem;border-radius:12px;background:#fff;\
box-shadow:0 1px 3px #0002;overflow-wrap:anywhere}\
h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.25}p{margin:.5rem 0}\
.small{margin-top:1.5rem;font-size:.85rem;color:#5b6675}\
@media(prefers-color-scheme:dark){body{background:#12161c;color:#e7ebf0}main{background:#1b2129}\
.small{color:#9aa6b5}}";

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn ask(page: Page<'_>, method: &Method, accept: Option<&'static str>) -> (Response<ResponseBody>, String) {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        }
        let id = HeaderValue::from_static("id1");
        let mut response = answer(page, &Asker { method, headers: &headers, request_id: &id });
        let body = match response.body_mut() {
            ResponseBody::Full(bytes) => bytes.take().unwrap_or_default(),
            ResponseBody::Worker(_) => panic!("a page has a body of its own"),
        };
        (response, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn a_company_name_is_text_and_never_markup() {
        let company = "<script>alert('x')</script> & \"Söhne\"";
        for page in [
            Page::Starting { company },
            Page::Failed { company, retry_after: 300 },
            Page::Suspended { company },
            Page::Stopped { company },
        ] {
            let (response, body) = ask(page, &Method::GET, None);
            assert_eq!(response.status(), 503);
            assert!(body.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;Söhne&quot;"), "{body}");
            assert!(!body.contains("<script"));
            assert!(response.headers().contains_key("retry-after"));
            assert_eq!(response.headers()["cache-control"], "no-store");
            assert!(body.contains("<code>id1</code>"));
            assert_eq!(response.headers()["content-length"], body.len().to_string().as_str());
        }
    }

    #[test]
    fn who_is_too_many_and_what_finds_no_room_is_told_so() {
        let (response, body) = ask(Page::TooMany { company: "A & B", retry_after: 0 }, &Method::GET, None);
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"1".parse().unwrap()));
        assert!(body.contains("A &amp; B gets too many requests") && body.contains("Status 429"), "{body}");
        let (response, body) = ask(Page::Full { company: "Acme" }, &Method::POST, Some("application/json"));
        assert_eq!(response.status(), 507);
        assert!(!response.headers().contains_key("retry-after"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&body).unwrap()["error"], "storage_full");
        let (response, body) = ask(Page::Busy { company: "Acme" }, &Method::GET, None);
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &"5".parse().unwrap()));
        assert!(body.contains("Acme is very busy"));
    }

    #[test]
    fn json_for_programs_and_html_for_browsers() {
        let page = Page::Failed { company: "Acme", retry_after: 17 };
        let (response, body) = ask(page, &Method::POST, Some("application/json, text/html;q=0.5"));
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["retry-after"], "17");
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&json["error"], &json["request_id"]), (&"failed".into(), &"id1".into()));
        for accept in [None, Some("*/*"), Some("text/html,application/xhtml+xml,*/*;q=0.8")] {
            let (response, _) = ask(page, &Method::GET, accept);
            assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        }
    }

    #[test]
    fn head_gets_the_head_alone() {
        let (response, body) = ask(Page::Status(StatusCode::NOT_FOUND), &Method::HEAD, None);
        assert!(body.is_empty());
        assert_ne!(response.headers()["content-length"], "0");
        assert!(!response.headers().contains_key("retry-after"));
    }

    #[test]
    fn every_status_has_a_page_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for code in [400, 404, 405, 408, 413, 414, 421, 431, 501, 502, 503, 504, 505] {
            let page = Page::Status(StatusCode::from_u16(code).unwrap());
            assert!(seen.insert(page.text().1), "{code}");
            assert_ne!(page.word(), "error", "{code}");
        }
    }
}
