//! One TOML file while it is read: tables that know which keys were asked for, and a list of all that is wrong.

use std::{borrow::Cow, cell::RefCell, ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::place;
use crate::model::{Place, Rejection, TenantName};

/// Errors of one file that are told; more help nobody.
const TOLD: usize = 20;

/// The text of a file and what is wrong with it so far.
pub(super) struct Document<'a> {
    file: &'a Path,
    tenant: Option<&'a TenantName>,
    text: &'a str,
    wrong: RefCell<Vec<(usize, Rejection)>>,
    /// Lines that are not shown.
    unseen: RefCell<Vec<u32>>,
}

/// What is wrong with one value.
#[derive(Debug)]
pub(super) struct Wrong {
    /// Where, if not the whole value.
    pub(super) span: Option<Range<usize>>,
    /// A sentence.
    pub(super) error: String,
    /// The nearest valid value.
    pub(super) hint: Option<String>,
}

impl<T: Into<String>> From<T> for Wrong {
    fn from(error: T) -> Self {
        Self { span: None, error: error.into(), hint: None }
    }
}

/// One value and the dotted name of its key.
pub(super) struct Value<'t> {
    /// `limits.memory`
    pub(super) name: String,
    pub(super) spanned: Spanned<DeValue<'t>>,
}

/// One table, from which keys are taken by name.
pub(super) struct Table<'d, 't> {
    document: &'d Document<'d>,
    /// Its dotted name; empty at the top.
    name: String,
    entries: DeTable<'t>,
    known: Vec<Cow<'static, str>>,
}

/// Reads `bytes` as one file's TOML: `read` takes what it knows from the top table; what it leaves is an error.
///
/// # Errors
/// All that is wrong, in the file's order.
pub(super) fn read<T>(
    file: &Path,
    tenant: Option<&TenantName>,
    bytes: &[u8],
    read: impl FnOnce(&Document<'_>, &mut Table<'_, '_>) -> T,
) -> Result<T, Vec<Rejection>> {
    match read_leniently(file, tenant, bytes, read) {
        (Some(value), wrong) if wrong.is_empty() => Ok(value),
        (_, wrong) => Err(wrong),
    }
}

/// Like [`read`], but what could be read is given beside all that is wrong; nothing only if the file is no TOML.
pub(super) fn read_leniently<T>(
    file: &Path,
    tenant: Option<&TenantName>,
    bytes: &[u8],
    read: impl FnOnce(&Document<'_>, &mut Table<'_, '_>) -> T,
) -> (Option<T>, Vec<Rejection>) {
    let reject = |place, error| vec![Rejection { tenant: tenant.cloned(), place, error, hint: None }];
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        let place = place::of_bad_byte(file, bytes).unwrap_or_else(|| place::whole(file));
        return (None, reject(place, "this is not text: save the file as UTF-8".to_owned()));
    };
    let document = Document { file, tenant, text, wrong: RefCell::default(), unseen: RefCell::default() };
    let entries = match DeTable::parse(text) {
        Ok(entries) => entries.into_inner(),
        Err(error) => {
            let place = place::at(file, text, error.span().map_or(0, |span| span.start));
            return (None, reject(place, format!("this is not TOML: {}", error.message().replace('\n', ", "))));
        }
    };
    let mut top = Table { document: &document, name: String::new(), entries, known: Vec::new() };
    let value = read(&document, &mut top);
    top.finish();
    let (mut wrong, unseen) = (document.wrong.into_inner(), document.unseen.into_inner());
    for (_, rejection) in &mut wrong {
        rejection.place.text.take_if(|_| rejection.place.line.is_some_and(|line| unseen.contains(&line)));
    }
    wrong.sort_by_key(|(offset, _)| *offset);
    let more = wrong.len().saturating_sub(TOLD);
    let mut told: Vec<Rejection> = wrong.into_iter().take(TOLD).map(|(_, rejection)| rejection).collect();
    if more > 0 {
        told.extend(reject(place::whole(file), format!("{more} more things are wrong in this file")));
    }
    (Some(value), told)
}

impl Document<'_> {
    /// Notes that the text at `span` is wrong.
    pub(super) fn reject(&self, span: Range<usize>, error: impl Into<String>, hint: Option<String>) {
        let rejection = Rejection { tenant: self.tenant.cloned(), place: self.place(&span), error: error.into(), hint };
        self.wrong.borrow_mut().push((span.start, rejection));
    }

    /// Notes that what is at `span` is wrong, and that its line is not to be shown: it has a secret in it, or may have.
    pub(super) fn reject_unseen(&self, span: Range<usize>, error: impl Into<String>, hint: Option<String>) {
        self.unseen.borrow_mut().extend(self.place(&span).line);
        self.reject(span, error, hint);
    }

    /// Where `span` is.
    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        place::at(self.file, self.text, span.start)
    }

    /// The top of the file, for what is wrong by its absence.
    pub(super) fn top(&self) -> Range<usize> {
        0..0
    }
}

impl<'d, 't> Table<'d, 't> {
    /// The value of `key`, if the file has it.
    pub(super) fn take(&mut self, key: impl Into<Cow<'static, str>>) -> Option<Value<'t>> {
        let key = key.into();
        let taken = self.take_untold(&key);
        self.known.push(key);
        taken
    }

    /// [`Table::take`] of a key that nobody is to be told of as one that could be here.
    pub(super) fn take_untold(&mut self, key: &str) -> Option<Value<'t>> {
        let spanned = self.entries.remove(key)?;
        Some(Value { name: self.name_of(key), spanned })
    }

    /// Whether the file has `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The value of `key` as `reader` reads it; `None` if it is not there or wrong, and then that is noted.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        reader: impl FnOnce(&Value<'t>) -> Result<T, Wrong>,
    ) -> Option<T> {
        let value = self.take(key)?;
        self.judge(&value, reader(&value))
    }

    /// Like [`Table::read`], with the span of the value.
    pub(super) fn read_spanned<T>(
        &mut self,
        key: &'static str,
        reader: impl FnOnce(&Value<'t>) -> Result<T, Wrong>,
    ) -> Option<Spanned<T>> {
        let value = self.take(key)?;
        let span = value.spanned.span();
        Some(Spanned::new(span, self.judge(&value, reader(&value))?))
    }

    /// The table `key`, if the file has it.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Table<'d, 't>> {
        let value = self.take(key)?;
        self.value_as_table(value)
    }

    /// `value` as a table; noted as wrong if it is none.
    pub(super) fn value_as_table(&self, value: Value<'t>) -> Option<Table<'d, 't>> {
        let span = value.spanned.span();
        match value.spanned.into_inner() {
            DeValue::Table(entries) => {
                Some(Table { document: self.document, name: value.name, entries, known: Vec::new() })
            }
            other => {
                let error = format!("`{}` must be a table, but it is {}", value.name, kind(&other));
                self.document.reject(span, error, None);
                None
            }
        }
    }

    /// All that was not taken yet: each key, where it is, and its value.
    pub(super) fn rest(&mut self) -> Vec<(Spanned<Cow<'t, str>>, Value<'t>)> {
        std::mem::take(&mut self.entries)
            .into_iter()
            .map(|(key, spanned)| {
                let name = self.name_of(key.get_ref());
                (key, Value { name, spanned })
            })
            .collect()
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(mut self) {
        for (key, _) in self.rest() {
            let name = key.get_ref().as_ref();
            let place = if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
            let hint = nearest(name, self.known.iter().map(AsRef::as_ref));
            let error = match hint {
                Some(_) => format!("unknown key {name:?}{place}"),
                None => format!("unknown key {name:?}{place}: the keys here are {}", self.known.join(", ")),
            };
            self.document.reject(key.span(), error, hint);
        }
    }

    /// The file that this table is in.
    pub(super) fn document(&self) -> &'d Document<'d> {
        self.document
    }

    /// Notes what is wrong with `value`, if anything.
    pub(super) fn judge<T>(&self, value: &Value<'_>, result: Result<T, Wrong>) -> Option<T> {
        match result {
            Ok(good) => Some(good),
            Err(wrong) => {
                let span = wrong.span.unwrap_or_else(|| value.spanned.span());
                self.document.reject(span, wrong.error, wrong.hint);
                None
            }
        }
    }

    fn name_of(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

/// What a value is, for people.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(true) => "true",
        DeValue::Boolean(false) => "false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The candidate that `text` was probably meant to be.
pub(super) fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    if text.len() > 64 {
        return None;
    }
    let lower = text.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}
