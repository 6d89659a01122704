//! What every handler works with: the settings, the store, and what was computed from them once.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::http::HeaderValue;

use super::look;
use crate::{branding::Logo, settings::Settings, store::Store};

/// One company's site.
pub(crate) struct Site {
    pub(super) settings: Settings,
    pub(super) store: Arc<dyn Store>,
    pub(super) style: Style,
    content_policy: HeaderValue,
    draining: AtomicBool,
}

/// The style sheet in the company's colours.
pub(super) struct Style {
    pub(super) css: String,
    /// Changes with the sheet, so that a browser may keep a sheet for good.
    pub(super) version: String,
}

impl Site {
    /// Computes what depends on the settings alone.
    pub(crate) fn new(settings: Settings, store: Arc<dyn Store>) -> Self {
        let css = look::style_sheet(settings.branding.primary);
        let mut hasher = DefaultHasher::new();
        css.hash(&mut hasher);
        let version = format!("{:016x}", hasher.finish());
        let images = settings.branding.logo.as_ref().and_then(Logo::origin);
        let images = images.map_or_else(|| "'self'".to_owned(), |origin| format!("'self' {origin}"));
        let policy = format!(
            "default-src 'none'; style-src 'self'; img-src {images}; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'"
        );
        // The logo's origin was held to harmless ASCII when it was read; without it, only the logo is missing.
        let content_policy = HeaderValue::try_from(policy)
            .unwrap_or(HeaderValue::from_static("default-src 'none'; style-src 'self'; form-action 'self'"));
        Self { settings, store, style: Style { css, version }, content_policy, draining: AtomicBool::new(false) }
    }

    /// From now on every answer asks the client to close its connection.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(super) fn is_public(&self) -> bool {
        self.settings.environment.is_public()
    }

    pub(super) fn content_policy(&self) -> HeaderValue {
        self.content_policy.clone()
    }

    /// The host of the site's own address, where it was told.
    pub(super) fn host(&self) -> Option<&str> {
        let (_, rest) = self.settings.url.as_deref()?.split_once("://")?;
        rest.split('/').next()
    }

    /// The address of the logo on a page that has the site's root at `root`.
    pub(super) fn logo(&self, root: &str) -> Option<String> {
        self.settings.branding.logo.as_ref().map(|logo| match logo {
            Logo::File(_) => format!("{root}logo"),
            Logo::Url(url) => url.clone(),
        })
    }

    /// A letter that stands for the company where there is no logo.
    pub(super) fn initial(&self) -> String {
        let letter = self.settings.company().chars().find(|c| c.is_alphanumeric());
        letter.map_or_else(|| "•".to_owned(), |letter| letter.to_uppercase().collect())
    }
}
