//! Why there is no worker.

use std::{ffi::NulError, io};

/// Why there is no worker, with the exit status that a shell or sysexits.h would give.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: i32,
    pub(super) sentence: String,
}

impl Failure {
    /// The settings are wrong: EX_CONFIG.
    pub(super) fn settings(sentence: impl Into<String>) -> Self {
        Self { status: 78, sentence: sentence.into() }
    }

    /// What is there cannot be used.
    pub(super) fn unusable(sentence: impl Into<String>) -> Self {
        Self { status: 126, sentence: sentence.into() }
    }

    /// The command is not there.
    pub(super) fn not_found(sentence: impl Into<String>) -> Self {
        Self { status: 127, sentence: sentence.into() }
    }

    /// What the kernel refused while becoming the tenant: EX_OSERR.
    pub(super) fn system(what: &str, error: &io::Error) -> Self {
        Self { status: 71, sentence: format!("{what}: {error}") }
    }
}

impl From<NulError> for Failure {
    fn from(_: NulError) -> Self {
        Self::settings("a setting or argument with a NUL byte cannot be given to a program")
    }
}
