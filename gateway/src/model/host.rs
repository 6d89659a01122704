//! Host names and the authority of a request (RFC 3986 §3.2, RFC 9110 §7.2).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::name::{NameError, check_label};

/// A registered name in lower case, without a trailing dot: labels of a DNS name, at most 253 octets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(String);

/// Why a text is no host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// One of its labels is none.
    #[error("{0:?} is not a host name: {1}")]
    Label(String, NameError),
    /// RFC 1035 §2.3.4 gives a name 253 printable octets.
    #[error("a host name has at most 253 characters")]
    TooLong,
    /// An address is no name that a certificate or a tenant could have.
    #[error("{0:?} is an address: a host must be a name")]
    Address(String),
    /// The port after the colon is not 0-65535 in plain digits.
    #[error("a bad port")]
    Port,
}

impl Host {
    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name is `zone` itself or below it.
    pub fn is_within(&self, zone: &Host) -> bool {
        self.0 == zone.0
            || (self.0.len() > zone.0.len()
                && self.0.ends_with(&zone.0)
                && self.0.as_bytes()[self.0.len() - zone.0.len() - 1] == b'.')
    }

    /// `label.self`
    pub fn below(&self, label: &super::TenantName) -> Result<Host, HostError> {
        Host::try_from(format!("{label}.{self}"))
    }
}

impl TryFrom<String> for Host {
    type Error = HostError;

    fn try_from(mut text: String) -> Result<Self, HostError> {
        text.make_ascii_lowercase();
        if text.len() > 253 {
            return Err(HostError::TooLong);
        }
        if text.parse::<std::net::IpAddr>().is_ok() || text.starts_with('[') {
            return Err(HostError::Address(text));
        }
        for label in text.split('.') {
            check_label(label).map_err(|why| HostError::Label(text.clone(), why))?;
        }
        // A name whose last label is all digits is read as an IPv4 address by browsers (WHATWG URL §3.5).
        if text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
            return Err(HostError::Address(text));
        }
        Ok(Self(text))
    }
}

impl std::str::FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        Self::try_from(text.to_owned())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Host> for String {
    fn from(host: Host) -> String {
        host.0
    }
}

/// The authority of a request: a host and, if it was named, a port. Userinfo is refused (RFC 9110 §4.2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The name, in lower case.
    pub host: Host,
    /// The port after the colon, if any.
    pub port: Option<u16>,
}

impl std::str::FromStr for Authority {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let (host, port) = match text.split_once(':') {
            None => (text, None),
            Some((host, digits)) => {
                if digits.is_empty() || digits.len() > 5 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(HostError::Port);
                }
                (host, Some(digits.parse().map_err(|_| HostError::Port)?))
            }
        };
        // One trailing dot is the same name, fully qualified.
        let host = host.strip_suffix('.').unwrap_or(host);
        Ok(Self { host: host.parse()?, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        let parsed: Authority = "ACME.localhost:8443".parse().expect("well formed");
        assert_eq!(parsed.host.as_str(), "acme.localhost");
        assert_eq!(parsed.port, Some(8443));
        for bad in
            ["", ":80", "a@b", "a:b", "a:", "a:99999", "a:+1", "a..b", "[::1]", "127.0.0.1", "a_b", "1.2", "a:1:2"]
        {
            assert!(bad.parse::<Authority>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn within_a_zone_is_by_label() {
        let zone: Host = "example.com".parse().expect("host");
        assert!("a.example.com".parse::<Host>().expect("host").is_within(&zone));
        assert!(!"badexample.com".parse::<Host>().expect("host").is_within(&zone));
    }
}
