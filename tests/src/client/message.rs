//! What a visitor receives.

use serde::de::DeserializeOwned;

use super::{ClientError, Result};

/// A status line and its fields, in the order and spelling in which they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// `HTTP/1.1`
    pub version: String,
    /// The status code.
    pub status: u16,
    /// Every field line.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// Reads a head that ends in an empty line.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let malformed = || ClientError::Malformed(String::from_utf8_lossy(bytes).into_owned());
        let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
        let mut lines = text.strip_suffix("\r\n\r\n").ok_or_else(malformed)?.split("\r\n");
        let status_line = lines.next().ok_or_else(malformed)?;
        let mut words = status_line.splitn(3, ' ');
        let version = words.next().filter(|word| word.starts_with("HTTP/1.")).ok_or_else(malformed)?.to_owned();
        let status = words.next().and_then(|word| word.parse().ok()).ok_or_else(malformed)?;
        let fields = lines
            .map(|line| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned())))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(malformed)?;
        Ok(Self { version, status, fields })
    }

    /// The value of the first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether a list field has this member.
    pub fn lists(&self, name: &str, member: &str) -> bool {
        self.fields
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .any(|(_, value)| value.split(',').any(|word| word.trim().eq_ignore_ascii_case(member)))
    }
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Every field line.
    pub head: Head,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// Fields after the body.
    pub trailers: Vec<(String, String)>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{} with no such JSON ({error}): {:?}", self.status, self.text()))
    }

    /// The value of the first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_keeps_order_and_spelling() {
        let head = Head::parse(b"HTTP/1.1 200 OK\r\nB: 1\r\na:2, Three \r\n\r\n").expect("a head");
        assert_eq!(head.status, 200);
        assert_eq!(head.fields, [("B".into(), "1".into()), ("a".into(), "2, Three".into())]);
        assert!(head.lists("A", "three"));
        assert!(!head.lists("A", "thr"));
    }

    #[test]
    fn what_is_no_head_is_said_so() {
        for bad in [&b"HTTP/2 200\r\n\r\n"[..], b"HTTP/1.1 2x0 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nnocolon\r\n\r\n", b"x"]
        {
            assert!(Head::parse(bad).is_err(), "{bad:?}");
        }
    }
}
