//! One thing that was looked at.

use serde::Serialize;

/// How much it matters. In the order in which they are shown: what matters most is nearest to the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Good to know.
    Note,
    /// Less than there could be.
    Warning,
    /// landlord does not run like this, or not for long.
    Problem,
}

/// What was found. Scripts rely on these names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) name: String,
    /// How much it matters.
    pub(super) level: Level,
    /// What is there.
    pub(super) found: String,
    /// What landlord therefore does, or does not do.
    pub(super) means: String,
    /// One command or setting that gets the rest; nothing where nothing is to be had.
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(name: &str, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self { name: name.to_owned(), level: Level::Ok, found: found.into(), means: means.into(), remedy: None }
    }

    /// The same, as something less good that `remedy` would mend.
    pub(super) fn but(mut self, level: Level, remedy: impl Into<String>) -> Self {
        self.level = level;
        self.remedy = Some(remedy.into());
        self
    }

    /// The same, as something that is good to know and needs no remedy.
    pub(super) fn noted(mut self) -> Self {
        self.level = Level::Note;
        self
    }
}
