//! How a company looks: the `BRANDING` JSON, checked.

use std::path::{Component, PathBuf};

use serde::Deserialize;

use crate::colour::{Colour, ColourError};

const DEFAULT_PRIMARY: Colour = Colour::rgb(0x2f, 0x5d, 0x8a);

/// A company's looks, every field usable as it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Branding {
    /// The name for people, where one is given.
    pub(crate) company_name: Option<String>,
    /// The main colour.
    pub(crate) primary: Colour,
    /// The logo, where there is one.
    pub(crate) logo: Option<Logo>,
    /// A tax number to print.
    pub(crate) gst_number: Option<String>,
    /// Whom to ask.
    pub(crate) contact: Option<String>,
}

/// Where the logo is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Logo {
    /// Below `files/logo/` of the tenant's folder.
    File(PathBuf),
    /// At another site.
    Url(String),
}

/// Why `BRANDING` is no branding.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrandingError {
    /// Not JSON, or not of this shape.
    #[error("is not the JSON that was expected: {0}")]
    Json(#[from] serde_json::Error),
    /// `primary_color`.
    #[error("primary_color: {0}")]
    Colour(#[from] ColourError),
    /// `logo`.
    #[error("logo: {0:?} is neither a path below files/logo/ nor an https URL")]
    Logo(String),
}

/// As it is written. Keys that are not known yet are a later version's.
#[derive(Deserialize)]
struct Written {
    company_name: Option<String>,
    primary_color: Option<String>,
    logo: Option<String>,
    gst_number: Option<String>,
    contact: Option<String>,
}

impl Branding {
    /// Reads the JSON of `BRANDING`.
    pub(crate) fn parse(json: &str) -> Result<Self, BrandingError> {
        let written: Written = serde_json::from_str(json)?;
        Ok(Self {
            company_name: filled(written.company_name),
            primary: filled(written.primary_color).map_or(Ok(DEFAULT_PRIMARY), |text| text.parse())?,
            logo: filled(written.logo).map(Logo::parse).transpose()?,
            gst_number: filled(written.gst_number),
            contact: filled(written.contact),
        })
    }

    /// What `contact` links to: a mail address, a telephone number or a page.
    pub(crate) fn contact_link(&self) -> Option<String> {
        let contact = self.contact.as_deref()?;
        if contact.starts_with("https://") && !contact.contains(char::is_whitespace) {
            return Some(contact.to_owned());
        }
        let mail = contact.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
        if mail && contact.chars().all(|c| c.is_ascii_alphanumeric() || "@.-_+".contains(c)) {
            return Some(format!("mailto:{contact}"));
        }
        let digits: String = contact.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect();
        let telephone = digits.len() >= 6 && contact.chars().all(|c| c.is_ascii_digit() || "+ -()./".contains(c));
        telephone.then(|| format!("tel:{digits}"))
    }
}

impl Default for Branding {
    fn default() -> Self {
        Self { company_name: None, primary: DEFAULT_PRIMARY, logo: None, gst_number: None, contact: None }
    }
}

impl Logo {
    fn parse(text: String) -> Result<Self, BrandingError> {
        if let Some(rest) = text.strip_prefix("https://") {
            // The host goes into a header (the content security policy), where a `;` would begin a directive of its own.
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let named = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(c));
            return if named { Ok(Self::Url(text)) } else { Err(BrandingError::Logo(text)) };
        }
        let path = PathBuf::from(&text);
        let below = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if below && !text.contains("://") { Ok(Self::File(path)) } else { Err(BrandingError::Logo(text)) }
    }

    /// `https://host` of a logo at another site.
    pub(crate) fn origin(&self) -> Option<&str> {
        let Self::Url(url) = self else { return None };
        let scheme = "https://".len();
        let end = url[scheme..].find(['/', '?', '#']).map_or(url.len(), |at| scheme + at);
        Some(&url[..end])
    }
}

fn filled(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn everything_is_optional() {
        assert_eq!(Branding::parse("{}").unwrap(), Branding::default());
        assert_eq!(Branding::parse(r#"{"company_name":" ","motto":"later"}"#).unwrap(), Branding::default());
    }

    #[test]
    fn a_logo_stays_in_its_folder() {
        let logo = |text: &str| Branding::parse(&format!(r#"{{"logo":"{text}"}}"#)).map(|b| b.logo);
        assert_eq!(logo("a/b.png").unwrap(), Some(Logo::File("a/b.png".into())));
        let url = logo("https://cdn.example.com/x.png?a=1").unwrap().unwrap();
        assert_eq!(url.origin(), Some("https://cdn.example.com"));
        for bad in
            ["../x.png", "/etc/passwd", "a/../../x", "http://a/b.png", "https://", "https://a;b/c", "https://a b/c"]
        {
            assert!(logo(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_contact_is_a_link_where_it_can_be_one() {
        let link = |text: &str| Branding { contact: Some(text.into()), ..Branding::default() }.contact_link();
        assert_eq!(link("help@acme.com").as_deref(), Some("mailto:help@acme.com"));
        assert_eq!(link("+49 (30) 123-456").as_deref(), Some("tel:+4930123456"));
        assert_eq!(link("https://acme.com/help").as_deref(), Some("https://acme.com/help"));
        for plain in ["Ask Jo", "javascript:alert(1)", "a@b.c?subject=x", "room 12"] {
            assert_eq!(link(plain), None, "{plain:?}");
        }
    }
}
