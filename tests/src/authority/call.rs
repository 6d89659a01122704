//! What a client asked the ACME server for.

use std::time::Instant;

use serde_json::Value;

/// A resource of the ACME server (RFC 8555 section 7.1, RFC 9773 section 4), by the paths that pebble gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The directory.
    Directory,
    /// newNonce.
    Nonce,
    /// newAccount.
    NewAccount,
    /// An account.
    Account,
    /// newOrder.
    NewOrder,
    /// An order.
    Order,
    /// An authorization.
    Authorization,
    /// A challenge.
    Challenge,
    /// An order's finalize.
    Finalize,
    /// A certificate.
    Certificate,
    /// revokeCert.
    Revoke,
    /// renewalInfo.
    RenewalInfo,
    /// Anything else.
    Other,
}

impl Kind {
    /// Of a request's target.
    pub(super) fn of(target: &str) -> Self {
        let first = target.trim_start_matches('/').split('/').next().unwrap_or_default();
        match first {
            "dir" => Self::Directory,
            "nonce-plz" => Self::Nonce,
            "sign-me-up" => Self::NewAccount,
            "my-account" => Self::Account,
            "order-plz" => Self::NewOrder,
            "my-order" => Self::Order,
            "authZ" => Self::Authorization,
            "chalZ" => Self::Challenge,
            "finalize-order" => Self::Finalize,
            "certZ" => Self::Certificate,
            "revoke-cert" => Self::Revoke,
            _ if target.contains("renewalInfo") => Self::RenewalInfo,
            _ => Self::Other,
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// What for.
    pub kind: Kind,
    /// GET, HEAD or POST.
    pub method: String,
    /// Its path.
    pub path: String,
    /// What was signed, of a POST; `null` of anything else, and of POST-as-GET.
    pub payload: Value,
    /// When it came.
    pub came: Instant,
    /// The answer's status; `None`: not answered, or not yet.
    pub status: Option<u16>,
}

impl Call {
    pub(super) fn new(method: &str, target: &str, body: &[u8]) -> Self {
        Self {
            kind: Kind::of(target),
            method: method.to_owned(),
            path: target.to_owned(),
            payload: payload(body).unwrap_or(Value::Null),
            came: Instant::now(),
            status: None,
        }
    }

    /// The names that an order is for.
    pub fn names(&self) -> Vec<&str> {
        let identifiers = self.payload["identifiers"].as_array().map(Vec::as_slice).unwrap_or_default();
        identifiers.iter().filter_map(|identifier| identifier["value"].as_str()).collect()
    }
}

/// What a JWS in flattened JSON has signed (RFC 7515 section 7.2.2).
fn payload(body: &[u8]) -> Option<Value> {
    let jws: Value = serde_json::from_slice(body).ok()?;
    serde_json::from_slice(&base64url(jws["payload"].as_str()?)?).ok()
}

/// RFC 4648 section 5, without padding.
fn base64url(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut word, mut bits) = (0u32, 0);
    for digit in text.bytes() {
        word = word << 6 | ALPHABET.iter().position(|letter| *letter == digit)? as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_tells_its_names() {
        let payload = "eyJpZGVudGlmaWVycyI6W3sidHlwZSI6ImRucyIsInZhbHVlIjoic2hvcC50ZXN0In1dfQ";
        let body = format!("{{\"protected\":\"\",\"payload\":\"{payload}\",\"signature\":\"\"}}");
        let call = Call::new("POST", "/order-plz", body.as_bytes());
        assert_eq!((call.kind, call.names()), (Kind::NewOrder, vec!["shop.test"]));
    }

    #[test]
    fn a_get_has_signed_nothing() {
        let call = Call::new("GET", "/draft-ietf-acme-ari-03/renewalInfo/x.y", b"");
        assert_eq!((call.kind, call.payload), (Kind::RenewalInfo, Value::Null));
    }
}
