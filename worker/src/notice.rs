//! The notice board's words: a notice, and a draft that has been held to its limits.

use jiff::Timestamp;
use serde::Serialize;

/// Characters of an author's name.
pub(crate) const AUTHOR_MAX: usize = 80;
/// Characters of a notice.
pub(crate) const BODY_MAX: usize = 2000;

/// A notice on the board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Notice {
    /// Its number; newer ones have greater numbers.
    pub(crate) id: i64,
    /// Who wrote it.
    pub(crate) author: String,
    /// What it says; lines end with `\n`.
    pub(crate) body: String,
    /// When, in UTC, to the millisecond.
    pub(crate) created_at: Timestamp,
}

/// A notice that may be put on the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    author: String,
    body: String,
}

/// What is wrong with each field of a draft.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct DraftErrors {
    /// About the author.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) author: Option<String>,
    /// About the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
}

impl Draft {
    /// Trims, unifies line ends, and holds both texts to their limits.
    pub(crate) fn new(author: &str, body: &str) -> Result<Self, DraftErrors> {
        let author = author.trim().to_owned();
        let body = body.replace("\r\n", "\n").replace('\r', "\n").trim().to_owned();
        let errors = DraftErrors {
            author: fault(&author, AUTHOR_MAX, "Your name is missing.", |c| c.is_control()),
            body: fault(&body, BODY_MAX, "The notice is empty.", |c| c.is_control() && c != '\n' && c != '\t'),
        };
        if errors == DraftErrors::default() { Ok(Self { author, body }) } else { Err(errors) }
    }

    /// Who wrote it.
    pub(crate) fn author(&self) -> &str {
        &self.author
    }

    /// What it says.
    pub(crate) fn body(&self) -> &str {
        &self.body
    }
}

fn fault(text: &str, most: usize, missing: &str, forbidden: impl Fn(char) -> bool) -> Option<String> {
    let length = text.chars().count();
    if length == 0 {
        Some(missing.to_owned())
    } else if length > most {
        Some(format!("At most {most} characters; these are {length}."))
    } else if text.contains(forbidden) {
        Some("Control characters are not allowed.".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_draft_is_trimmed_and_unified() {
        let draft = Draft::new("  Jo ", "\r\none\r\ntwo\rthree \n").unwrap();
        assert_eq!((draft.author(), draft.body()), ("Jo", "one\ntwo\nthree"));
    }

    #[test]
    fn limits_count_characters() {
        assert!(Draft::new(&"é".repeat(AUTHOR_MAX), &"é".repeat(BODY_MAX)).is_ok());
        let errors = Draft::new(&"x".repeat(AUTHOR_MAX + 1), &"x".repeat(BODY_MAX + 1)).unwrap_err();
        assert!(errors.author.is_some() && errors.body.is_some());
    }

    #[test]
    fn empty_and_control_characters() {
        assert_eq!(Draft::new(" ", "x").unwrap_err().body, None);
        assert!(Draft::new("a\nb", "x").unwrap_err().author.is_some());
        assert!(Draft::new("a", "x\0").unwrap_err().body.is_some());
        assert!(Draft::new("a", "x\ty\nz").is_ok());
    }
}
