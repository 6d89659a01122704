//! Colours that people can read: a hex colour, and the shades of it that keep the contrast of WCAG 2.2 (1.4.3, AA).

use std::{fmt, str::FromStr};

/// Least contrast of text against what is behind it.
const READABLE: f64 = 4.5;

/// An sRGB colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colour([u8; 3]);

/// Why a text is no colour.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no colour: write #rgb or #rrggbb")]
pub(crate) struct ColourError(String);

impl Colour {
    /// Black.
    pub(crate) const BLACK: Self = Self([0, 0, 0]);
    /// White.
    pub(crate) const WHITE: Self = Self([255, 255, 255]);

    /// From a literal.
    pub(crate) const fn rgb(r: u8, g: u8, b: u8) -> Self {
        Self([r, g, b])
    }

    /// Black or white, whichever reads better on this colour. One of the two always has a contrast of 4.5 or more.
    pub(crate) fn ink(self) -> Self {
        if self.contrast(Self::WHITE) >= self.contrast(Self::BLACK) { Self::WHITE } else { Self::BLACK }
    }

    /// This colour, moved towards black or white as far as it must to be readable on `paper`.
    pub(crate) fn readable_on(self, paper: Self) -> Self {
        let ink = paper.ink();
        (0..=20)
            .map(|step| self.mix(ink, f64::from(step) / 20.0))
            .find(|c| c.contrast(paper) >= READABLE)
            .unwrap_or(ink)
    }

    /// The contrast ratio of two colours, 1 to 21.
    pub(crate) fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    fn luminance(self) -> f64 {
        let [r, g, b] = self.0.map(|byte| {
            let c = f64::from(byte) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    fn mix(self, other: Self, share: f64) -> Self {
        let mut mixed = [0; 3];
        for (to, (from, towards)) in mixed.iter_mut().zip(self.0.into_iter().zip(other.0)) {
            // Between two bytes, so it is a byte.
            *to = (f64::from(from) * (1.0 - share) + f64::from(towards) * share).round() as u8;
        }
        Self(mixed)
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [r, g, b] = self.0;
        write!(f, "#{r:02x}{g:02x}{b:02x}")
    }
}

impl FromStr for Colour {
    type Err = ColourError;

    fn from_str(text: &str) -> Result<Self, ColourError> {
        let wrong = || ColourError(text.chars().take(40).collect());
        let hex = text.strip_prefix('#').ok_or_else(wrong)?;
        let digits: Vec<u8> =
            hex.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>().ok_or_else(wrong)?;
        match digits[..] {
            [r, g, b] => Ok(Self([r * 17, g * 17, b * 17])),
            [r, r2, g, g2, b, b2] => Ok(Self([r * 16 + r2, g * 16 + g2, b * 16 + b2])),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn reads_short_and_long_hex() {
        assert_eq!("#0af".parse::<Colour>().unwrap().to_string(), "#00aaff");
        assert_eq!("#0A2f9C".parse::<Colour>().unwrap().to_string(), "#0a2f9c");
        for bad in ["", "#", "red", "#12", "#12345", "#12345g", "123456", "#1234567", "#éé", "#fff;}"] {
            assert!(bad.parse::<Colour>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_colour_has_readable_text() {
        let dark = Colour::rgb(0x15, 0x17, 0x1c);
        for r in (0..=255).step_by(15) {
            for g in (0..=255).step_by(15) {
                for b in (0..=255).step_by(15) {
                    let colour = Colour::rgb(r, g, b);
                    assert!(colour.contrast(colour.ink()) >= READABLE, "{colour}");
                    for paper in [Colour::WHITE, dark] {
                        assert!(colour.readable_on(paper).contrast(paper) >= READABLE, "{colour} on {paper}");
                    }
                }
            }
        }
    }

    #[test]
    fn contrast_is_that_of_the_standard() {
        assert!((Colour::BLACK.contrast(Colour::WHITE) - 21.0).abs() < 1e-9);
        assert!((Colour::rgb(0x77, 0x77, 0x77).contrast(Colour::WHITE) - 4.48).abs() < 0.01);
    }
}
