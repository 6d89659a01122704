//! Small files in which the master finds its own words again, or notices that they are not. Each is one JSON object:
//! a version, the words, and a sum over both, so that no file that was torn, flipped or edited is ever believed.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::sys::{self, files::ReadError};

/// The largest that is read, bytes.
const CAP: u64 = 4 << 20;

/// What was found under a name.
#[derive(Debug, PartialEq)]
pub(super) enum Found<T> {
    /// What was written there.
    Good(T),
    /// Nothing.
    Missing,
    /// Something that cannot be believed, and why. It was renamed, beside where it was.
    PutAside(String),
}

/// How long a file is to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasting {
    /// Until the next boot: it is in memory, or as good as.
    UntilBoot,
    /// It is on disk when the write returns.
    ForEver,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    version: u32,
    /// Files of the formats before sums had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sum: Option<String>,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// Writes `record` in format `version`, whole or not at all, for the owner's eyes only.
///
/// # Errors
/// It cannot be written (a full disk): the old file stays.
pub(super) fn write<T: Serialize>(path: &Path, version: u32, record: &T, lasting: Lasting) -> std::io::Result<()> {
    let bytes = encode(version, record)?;
    match lasting {
        Lasting::UntilBoot => sys::files::write_swiftly(path, &bytes, 0o600),
        Lasting::ForEver => sys::files::write_atomic(path, &bytes, 0o600),
    }
}

/// Reads a record of format `version`. What is bad is put aside with a loud line.
pub(super) fn read<T: DeserializeOwned>(path: &Path, version: u32) -> Found<T> {
    read_any(path, |found, record| match found {
        found if found == version => parse(record),
        found => Err(unknown(found, version)),
    })
}

/// Reads a record in whatever format `understand` knows: it is given the version and the words.
pub(super) fn read_any<T>(path: &Path, understand: impl FnOnce(u32, &str) -> Result<T, String>) -> Found<T> {
    let reason = match sys::files::read_private(path, CAP) {
        Ok(bytes) => match decode(&bytes).and_then(|(version, record)| understand(version, record)) {
            Ok(record) => return Found::Good(record),
            Err(reason) => reason,
        },
        Err(ReadError::NotFound) => return Found::Missing,
        Err(error) => error.to_string(),
    };
    put_aside(path, &reason);
    Found::PutAside(reason)
}

/// The words as what they mean.
///
/// # Errors
/// A sentence for a person.
pub(super) fn parse<T: DeserializeOwned>(record: &str) -> Result<T, String> {
    serde_json::from_str(record).map_err(|e| e.to_string())
}

/// The sentence about a file from another time.
pub(super) fn unknown(found: u32, known: u32) -> String {
    format!("its version is {found}, this landlord knows {known}")
}

fn put_aside(path: &Path, reason: &str) {
    match sys::files::put_aside(path, jiff::Timestamp::now().as_second()) {
        Ok(aside) => {
            let (file, aside) = (path.display(), aside.display());
            tracing::error!(%file, %aside, reason, "a bad state file is put aside");
        }
        Err(error) => tracing::error!(file = %path.display(), reason, %error, "a bad state file cannot be put aside"),
    }
}

fn encode<T: Serialize>(version: u32, record: &T) -> std::io::Result<Vec<u8>> {
    let record = serde_json::value::to_raw_value(record)?;
    let sum = Some(sum(version, record.get()));
    Ok(serde_json::to_vec(&Envelope { version, sum, record: &record })?)
}

/// The version and the words. Format 1 had no sum.
fn decode(bytes: &[u8]) -> Result<(u32, &str), String> {
    let Envelope { version, sum: told, record } = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    match told {
        Some(told) if told == sum(version, record.get()) => Ok((version, record.get())),
        None if version == 1 => Ok((version, record.get())),
        _ => Err("its sum is wrong: it was changed after it was written".into()),
    }
}

/// SHA-256 in hex of the version and the very bytes of the record.
fn sum(version: u32, record: &str) -> String {
    let digest = digest(&SHA256, format!("{version} {record}").as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
