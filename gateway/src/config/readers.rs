//! How one value is read: text, numbers, durations, sizes, lists, names.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use toml::{Spanned, de::DeValue};

use super::{
    document::{Value, Wrong, kind, nearest},
    duration, size,
};
use crate::model::{AppName, Host};

/// Text without NUL, which no environment variable can hold.
pub(super) fn text(value: &Value<'_>) -> Result<String, Wrong> {
    match value.spanned.get_ref() {
        DeValue::String(text) => without_nul(&value.name, text),
        other => Err(Wrong {
            span: None,
            error: format!("`{}` must be text in quotes, but it is {}", value.name, kind(other)),
            hint: None,
        }),
    }
}

/// Text that is not blank.
pub(super) fn some_text(value: &Value<'_>) -> Result<String, Wrong> {
    let text = text(value)?;
    if text.trim().is_empty() {
        Err(format!("`{}` is empty: write something or remove it", value.name).into())
    } else {
        Ok(text)
    }
}

/// A list of texts, each with its place.
pub(super) fn texts(value: &Value<'_>) -> Result<Vec<Spanned<String>>, Wrong> {
    let DeValue::Array(items) = value.spanned.get_ref() else {
        let error = match value.spanned.get_ref() {
            DeValue::String(text) => {
                format!("`{}` must be a list, but it is text: write [{:?}]", value.name, text.as_ref())
            }
            other => format!("`{}` must be a list of texts, but it is {}", value.name, kind(other)),
        };
        return Err(error.into());
    };
    items
        .iter()
        .map(|item| match item.get_ref() {
            DeValue::String(text) => Ok(Spanned::new(item.span(), without_nul(&value.name, text)?)),
            other => Err(Wrong {
                span: Some(item.span()),
                error: format!("each of `{}` must be text in quotes, but this is {}", value.name, kind(other)),
                hint: None,
            }),
        })
        .collect()
}

/// `true` or `false`.
pub(super) fn flag(value: &Value<'_>) -> Result<bool, Wrong> {
    match value.spanned.get_ref() {
        DeValue::Boolean(flag) => Ok(*flag),
        other => {
            Err(format!("`{}` must be true or false without quotes, but it is {}", value.name, kind(other)).into())
        }
    }
}

/// A whole number within `range`.
pub(super) fn number(range: RangeInclusive<u64>) -> impl Fn(&Value<'_>) -> Result<u64, Wrong> {
    move |value| {
        let number = match value.spanned.get_ref() {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            DeValue::String(text) if text.parse::<u64>().is_ok() => {
                return Err(format!("`{}` must be a number: write it without quotes", value.name).into());
            }
            other => {
                return Err(format!("`{}` must be a whole number, but it is {}", value.name, kind(other)).into());
            }
        };
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            format!("`{}` must be a number from {} to {}", value.name, range.start(), range.end()).into()
        })
    }
}

/// A whole number within `range`, which the range keeps within 32 bits.
pub(super) fn count(range: RangeInclusive<u32>) -> impl Fn(&Value<'_>) -> Result<u32, Wrong> {
    let number = number(u64::from(*range.start())..=u64::from(*range.end()));
    let most = *range.end();
    move |value| Ok(u32::try_from(number(value)?).unwrap_or(most))
}

/// `"none"` as `None`, or else what `reader` reads.
pub(super) fn or_none<T>(
    reader: impl Fn(&Value<'_>) -> Result<T, Wrong>,
) -> impl Fn(&Value<'_>) -> Result<Option<T>, Wrong> {
    move |value| match value.spanned.get_ref() {
        DeValue::String(text) if text == "none" => Ok(None),
        _ => reader(value).map(Some),
    }
}

/// `"all"` as `None`, or else what `reader` reads.
pub(super) fn or_all<T>(
    reader: impl Fn(&Value<'_>) -> Result<T, Wrong>,
) -> impl Fn(&Value<'_>) -> Result<Option<T>, Wrong> {
    move |value| match value.spanned.get_ref() {
        DeValue::String(text) if text == "all" => Ok(None),
        _ => reader(value).map(Some),
    }
}

/// A duration of at least `least`.
pub(super) fn span_of_time(least: Duration) -> impl Fn(&Value<'_>) -> Result<Duration, Wrong> {
    span_of_time_within(least, duration::LONGEST)
}

/// A duration from `least` to `most`.
pub(super) fn span_of_time_within(least: Duration, most: Duration) -> impl Fn(&Value<'_>) -> Result<Duration, Wrong> {
    move |value| {
        let DeValue::String(text) = value.spanned.get_ref() else {
            return Err(format!(
                "`{}` must be a duration in quotes, such as \"30s\", but it is {}",
                value.name,
                kind(value.spanned.get_ref())
            )
            .into());
        };
        let duration = duration::parse_within(text, most).map_err(|why| format!("`{}`: {why}", value.name))?;
        if duration < least {
            return Err(format!("`{}` must be at least {}", value.name, duration::Display(least)).into());
        }
        Ok(duration)
    }
}

/// A size in bytes of at least `least`: text with a unit, or a plain number.
pub(super) fn bytes(least: u64) -> impl Fn(&Value<'_>) -> Result<u64, Wrong> {
    move |value| {
        let bytes = match value.spanned.get_ref() {
            DeValue::String(text) => size::parse(text).map_err(|why| format!("`{}`: {why}", value.name))?,
            DeValue::Integer(_) => number(0..=i64::MAX as u64)(value)?,
            other => {
                let error = format!("`{}` must be a size, such as \"512M\", but it is {}", value.name, kind(other));
                return Err(error.into());
            }
        };
        if bytes < least {
            return Err(format!("`{}` must be at least {}", value.name, size::Display(least)).into());
        }
        Ok(bytes)
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&Value<'_>) -> Result<T, Wrong> {
    move |value| {
        let text = text(value)?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(*meaning);
        }
        let listed: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        Err(Wrong {
            span: None,
            error: format!("`{}` cannot be {text:?}: it is one of {}", value.name, listed.join(", ")),
            hint: nearest(&text, words.iter().map(|(word, _)| *word)),
        })
    }
}

/// A path; empty ones are wrong.
pub(super) fn path(value: &Value<'_>) -> Result<PathBuf, Wrong> {
    some_text(value).map(PathBuf::from)
}

/// The path of a URL, as a health check asks for it.
pub(super) fn url_path(value: &Value<'_>) -> Result<String, Wrong> {
    let text = text(value)?;
    if !text.starts_with('/') {
        return Err(Wrong {
            span: None,
            error: format!("`{}` must begin with a slash", value.name),
            hint: Some(format!("/{text}")),
        });
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') || text.len() > 1024 {
        return Err(format!("`{}` must be a path of a URL: visible ASCII without spaces and #", value.name).into());
    }
    Ok(text)
}

/// A host name.
pub(super) fn host(text: &str) -> Result<Host, String> {
    text.parse::<Host>().map_err(|why| {
        if text.is_ascii() { why.to_string() } else { format!("{why} (write an international name in its xn-- form)") }
    })
}

/// The name of an app.
pub(super) fn app_name(value: &Value<'_>) -> Result<AppName, Wrong> {
    text(value)?.parse::<AppName>().map_err(|why| format!("`{}`: {why}", value.name).into())
}

fn without_nul(name: &str, text: &str) -> Result<String, Wrong> {
    if text.contains('\0') {
        return Err(format!("`{name}` has a NUL byte, which no worker can be given: remove it").into());
    }
    Ok(text.to_owned())
}
