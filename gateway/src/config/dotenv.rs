//! `.env`: a tenant's secrets, in the grammar that most readers of such files share.
//!
//! `KEY=value` or `export KEY=value`, one a line; `#` begins a comment at the start of a line or after white space.
//! Values: bare (trimmed, backslashes literal), `'…'` (literal), `"…"` (with `\n \t \r \\ \" \$`; any other backslash stays
//! as it is); quoted ones may span lines. `$NAME` and `` `command` `` are never expanded. The last of two equal keys wins.
//!
//! An error shows the key at most: a value may be a secret, and errors reach logs.

mod edit;
mod reader;

use std::{collections::HashMap, path::Path};

pub use edit::{NameError, check_name, set, unset};
use reader::{Assignment, Fault, Reader};

use super::files::{self, ReadError, Trust};
use crate::model::{Place, Rejection};

/// Bytes of one file.
const FILE_CAP: u64 = 1024 * 1024;

/// Names that landlord itself sets for a worker: an error in `.env` and in `[env]`, never an override.
///
/// `DATABASE_URL` is in the contract but not here: landlord gives a default, and a tenant may point its worker at another
/// database.
pub const RESERVED: &[&str] = &[
    "APP_DIR",
    "BRANDING",
    "ENVIRONMENT",
    "FEATURES",
    "HOME",
    "HOST",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "MAX_USERS",
    "PATH",
    "PORT",
    "STORAGE_FILE",
    "TENANT",
    "TENANT_DIR",
    "TENANT_URL",
    "TMPDIR",
    "TZ",
    "USER",
];

/// Reads `text`, the content of `file`; the keys in the order of their first mention.
///
/// # Errors
/// The first line that is none of the grammar's, or sets a name of [`RESERVED`]. The rejection names no tenant and shows no
/// value.
#[allow(clippy::result_large_err, reason = "read once a start")]
pub fn parse(file: &Path, text: &[u8]) -> Result<Vec<(String, String)>, Rejection> {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let reject = |fault: Fault| Rejection {
        tenant: None,
        place: Place {
            file: file.to_owned(),
            line: Some(fault.line),
            column: fault.column,
            text: Some(match fault.key {
                Some(key) => format!("{key}=…"),
                None => "…".to_owned(),
            }),
        },
        error: fault.error,
        hint: None,
    };
    let text = std::str::from_utf8(text).map_err(|error| {
        let before = &text[..error.valid_up_to()];
        reject(Fault {
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count() as u32,
            column: None,
            key: None,
            error: "this line is not UTF-8: save the file as UTF-8".to_owned(),
        })
    })?;
    let mut reader = Reader::new(text);
    let mut values: Vec<(String, String)> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    while let Some(Assignment { key, value, .. }) = reader.assignment().map_err(reject)? {
        match seen.get(&key) {
            Some(&index) => values[index].1 = value,
            None => {
                seen.insert(key.clone(), values.len());
                values.push((key, value));
            }
        }
    }
    Ok(values)
}

/// What is wrong with the `.env` at `file`, if it is there, readable by us, and wrong.
pub fn check(file: &Path) -> Option<Rejection> {
    let place = super::place::whole(file);
    match files::read(file, FILE_CAP, Trust::default()) {
        Ok(text) => parse(file, &text).err(),
        Err(ReadError::NotFound | ReadError::Unreadable(_)) => None,
        Err(why) => Some(Rejection { tenant: None, place, error: why.to_string(), hint: None }),
    }
}

/// Whether `key` can be the name of a setting: a letter or `_`, then letters, digits, `_`, `.` and `-`.
pub(super) fn is_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
