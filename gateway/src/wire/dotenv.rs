//! `landlord env`: what an operator asks of a tenant's `.env`, and what the process that does it, as the tenant, answers.
//!
//! Both travel in memory files that the operator's process has made; the master passes their descriptors on and reads neither.
//! None of these types can be formatted for a log.

use serde::{Deserialize, Serialize};

/// Bytes of either: a `.env` of 1 MiB in which every character is escaped, twice over.
pub const DOTENV_MESSAGE_CAP: usize = 16 << 20;

/// One edit, in a sealed memory file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "edit")]
pub enum DotenvEdit {
    /// Names, and values masked.
    List {
        /// Values too, unmasked.
        reveal: bool,
    },
    /// Sets one after the other, in place where the name is there; comments, order and other lines stay.
    Set {
        /// (name, value)
        settings: Vec<(String, String)>,
    },
    /// Removes their lines.
    Unset {
        /// The names.
        names: Vec<String>,
    },
}

/// What came of it, in an empty memory file that is sealed with this. It stays empty where the process could not become the
/// tenant; the end of the request says why.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum DotenvAnswer {
    /// To `List`.
    Settings {
        /// In the file's order.
        settings: Vec<DotenvSetting>,
    },
    /// To `Set` and `Unset`.
    Written {
        /// Whether the file differs from before.
        changed: bool,
        /// Names that were not there to be removed.
        missing: Vec<String>,
    },
    /// Nothing was changed.
    Refused {
        /// A sentence for a person; never with a value in it.
        reason: String,
    },
}

/// A line of `landlord env NAME list`, as `--json` has it. Scripts rely on these names.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DotenvSetting {
    /// Its name.
    pub name: String,
    /// Its value, where it was asked for.
    pub value: Option<String>,
    /// How long it is, roughly: what was cut short or pasted twice shows.
    pub length: DotenvLength,
}

/// How long a value is, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DotenvLength {
    /// None.
    Empty,
    /// 1 to 7.
    Short,
    /// 8 to 31.
    Medium,
    /// 32 and more.
    Long,
}

impl DotenvLength {
    /// Of `value`.
    pub fn of(value: &str) -> Self {
        match value.chars().count() {
            0 => Self::Empty,
            1..8 => Self::Short,
            8..32 => Self::Medium,
            _ => Self::Long,
        }
    }
}
