//! All that the files say at one moment: who is let in, and which files are wrong.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Digest, Tenant, TenantName};

/// The accepted tenants and the rejected files, of one reading of `tenants.d/`.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Each tenant that is let in, with the digest of its settings (`.env` not included).
    pub accepted: BTreeMap<TenantName, (Tenant, Digest)>,
    /// Each file that is wrong. Its tenant, where the file's name gives one, keeps its last good settings.
    pub rejected: Vec<Rejection>,
}

/// One wrong file and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The tenant that the file would be, if its name is a DNS label.
    pub tenant: Option<TenantName>,
    /// Where.
    pub place: Place,
    /// What is wrong and what to do, in a sentence.
    pub error: String,
    /// The nearest valid key or value, if one is near.
    pub hint: Option<String>,
}

/// A place in a file. Lines and columns count from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Line, where one is to blame.
    pub line: Option<u32>,
    /// Column, where one is to blame.
    pub column: Option<u32>,
    /// The line's text, cut at 200 bytes, control characters escaped.
    pub text: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A file's name may hold anything but a slash, what a terminal obeys included.
        for c in self.file.to_string_lossy().chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.error)?;
        if let Some(hint) = &self.hint {
            write!(f, " (did you mean {hint:?}?)")?;
        }
        if let (Some(text), Some(line)) = (&self.place.text, self.place.line) {
            write!(f, "\n{line:>5} | {text}")?;
            // Not below what was cut off.
            if let Some(column) = self.place.column.filter(|column| *column as usize <= text.chars().count() + 1) {
                write!(f, "\n      | {:>width$}", "^", width = column as usize)?;
            }
        }
        Ok(())
    }
}
