//! Names that end up in paths, hosts and process titles: a lower-case DNS label and nothing else.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a tenant: the stem of its file in `tenants.d/`, a DNS label (RFC 1035 §2.3.1, RFC 5891 A-labels included).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantName(String);

/// The name of an app: the same grammar as a tenant's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(String);

/// Why a text is no DNS label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing before the dot.
    #[error("a name cannot be empty")]
    Empty,
    /// RFC 1035 gives a label 63 octets.
    #[error("a name has at most 63 characters, this one has {0}")]
    TooLong(usize),
    /// A character outside `a-z`, `0-9` and `-`.
    #[error("{0:?} is not allowed in a name: use a-z, 0-9 and -")]
    Character(char),
    /// A hyphen at either end.
    #[error("a name cannot start or end with a hyphen")]
    Hyphen,
    /// A name the house keeps for itself.
    #[error("{0:?} is reserved for landlord itself")]
    Reserved(String),
}

/// Names that are landlord's own: `console` under the zone, `access` for its access log.
const RESERVED: [&str; 2] = ["access", "console"];

/// Holds `text` to the grammar of one lower-case DNS label.
pub(super) fn check_label(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(odd) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        return Err(NameError::Character(odd));
    }
    if text.len() > 63 {
        return Err(NameError::TooLong(text.len()));
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(NameError::Hyphen);
    }
    Ok(())
}

impl TenantName {
    /// The name as text, fit for a path component and a DNS label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TenantName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        check_label(&text)?;
        if RESERVED.contains(&text.as_str()) {
            return Err(NameError::Reserved(text));
        }
        Ok(Self(text))
    }
}

impl AppName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AppName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        check_label(&text)?;
        Ok(Self(text))
    }
}

macro_rules! text_like {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }
        impl std::str::FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }
    };
}
text_like!(TenantName);
text_like!(AppName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_nothing_else() {
        for good in ["a", "acme", "x1-y2", "xn--bcher-kva", "0"] {
            assert!(good.parse::<TenantName>().is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", "-rf", "a-", "Acme", "a.b", "a/b", "..", "a b", "a\n", "é", "console", long.as_str()] {
            assert!(bad.parse::<TenantName>().is_err(), "{bad:?}");
        }
    }
}
