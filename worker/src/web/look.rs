//! What makes the site the company's own: style sheet, icon, logo.

use std::{
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use axum::{
    extract::State,
    http::{Uri, header},
    response::{IntoResponse, Response},
};

use super::{error::Failure, site::Site};
use crate::{branding::Logo, colour::Colour};

/// The rest of the sheet, which uses the colours.
const SHEET: &str = include_str!("../../templates/style.css");
/// The surfaces of the sheet on which accents read worst: the light page (its cards are lighter) and the dark cards (its
/// page is darker).
const LIGHT: Colour = Colour::rgb(0xf5, 0xf6, 0xf8);
const DARK: Colour = Colour::rgb(0x1d, 0x20, 0x27);

/// Bytes of a logo.
const LOGO_BYTES: u64 = 1024 * 1024;
/// A sheet's address changes with it.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";
/// Pictures change now and then.
const FOR_AN_HOUR: &str = "public, max-age=3600";
/// A picture that is a document (SVG) runs nothing, whoever opens it.
const PICTURE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

/// The style sheet with the company's colours, readable on all surfaces.
pub(super) fn style_sheet(primary: Colour) -> String {
    let (ink, light, dark) = (primary.ink(), primary.readable_on(LIGHT), primary.readable_on(DARK));
    let (light_ink, dark_ink) = (light.ink(), dark.ink());
    format!(
        ":root {{ --primary: {primary}; --primary-ink: {ink}; --accent: {light}; --accent-ink: {light_ink}; }}\n\
         @media (prefers-color-scheme: dark) {{ :root {{ --accent: {dark}; --accent-ink: {dark_ink}; }} }}\n{SHEET}"
    )
}

/// `GET /style.css`
pub(super) async fn style(State(site): State<Arc<Site>>) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, FOR_GOOD)];
    (headers, site.style.css.clone()).into_response()
}

/// `GET /favicon.svg`: the company's initial on its colour.
pub(super) async fn favicon(State(site): State<Arc<Site>>) -> Response {
    let (primary, letter) = (site.settings.branding.primary, site.initial());
    let ink = primary.ink();
    let icon = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 32 32\"><rect width=\"32\" height=\"32\" rx=\"7\" \
         fill=\"{primary}\"/><text x=\"16\" y=\"23\" font-family=\"system-ui,sans-serif\" font-size=\"20\" \
         font-weight=\"700\" text-anchor=\"middle\" fill=\"{ink}\">{letter}</text></svg>"
    );
    picture("image/svg+xml", icon.into_bytes())
}

/// `GET /logo`: the one file below `files/logo/` that the branding names.
pub(super) async fn logo(State(site): State<Arc<Site>>, uri: Uri) -> Response {
    let Some(Logo::File(below)) = &site.settings.branding.logo else {
        return Failure::NotFound.answer(&site, &uri);
    };
    let Some(kind) = kind(below) else { return Failure::NotFound.answer(&site, &uri) };
    let file = site.settings.folder.join("files/logo").join(below);
    let read = tokio::task::spawn_blocking(move || read_picture(&file)).await;
    match read {
        Ok(Ok(bytes)) => picture(kind, bytes),
        _ => Failure::NotFound.answer(&site, &uri),
    }
}

fn picture(kind: &'static str, bytes: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, FOR_AN_HOUR),
        (header::CONTENT_SECURITY_POLICY, PICTURE_POLICY),
    ];
    (headers, bytes).into_response()
}

fn kind(file: &Path) -> Option<&'static str> {
    match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "svg" => Some("image/svg+xml"),
        "png" => Some("image/png"),
        "jpg" | "jpeg" => Some("image/jpeg"),
        "webp" => Some("image/webp"),
        "gif" => Some("image/gif"),
        _ => None,
    }
}

fn read_picture(file: &Path) -> io::Result<Vec<u8>> {
    // Looked at before it is opened: opening a FIFO would wait for ever.
    if !std::fs::metadata(file)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(LOGO_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LOGO_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sheet_has_the_surfaces_that_the_accents_were_made_for() {
        assert!(SHEET.contains(&format!("--paper: {LIGHT};")) && SHEET.contains(&format!("--card: {DARK};")));
    }

    #[test]
    fn the_accents_are_readable_on_pages_and_on_cards() {
        let surfaces = |names: [&str; 2], of: &str| {
            names.map(|name| of.split_once(name).and_then(|(_, rest)| rest[..7].parse::<Colour>().ok()))
        };
        let (light, dark) = SHEET.split_once("@media (prefers-color-scheme: dark)").unwrap_or_default();
        for text in ["#000", "#fff", "#c0392b", "#ffcc00", "#2f5d8a", "#777"] {
            let Ok(primary) = text.parse::<Colour>() else { panic!("{text}") };
            for (accent, sheet) in [(primary.readable_on(LIGHT), light), (primary.readable_on(DARK), dark)] {
                for surface in surfaces(["--paper: ", "--card: "], sheet) {
                    let Some(surface) = surface else { panic!("the sheet has no surfaces") };
                    assert!(accent.contrast(surface) >= 4.5, "{text}: {accent} on {surface}");
                }
            }
        }
    }
}
