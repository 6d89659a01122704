//! One setting of a provider.

/// One setting of a provider in `[dns]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsField {
    /// Its key; that of a secret is said as `<name>_file`.
    pub name: &'static str,
    /// Whether it is a secret, alone in a file of its own.
    pub secret: bool,
    /// Whether it cannot be left out.
    pub required: bool,
    /// For people: a few words; the default in brackets.
    pub about: &'static str,
    /// What it can be.
    pub takes: DnsValue,
}

/// What one setting can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsValue {
    /// Any words.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number, none below zero.
    Number,
    /// `"60s"`
    Duration,
    /// `ADDRESS:PORT`, on port 53 where none is said.
    Server,
    /// An absolute path.
    Program,
    /// `https://…`, or `http://…` for a machine of one's own.
    Url,
    /// One of these.
    OneOf(&'static [&'static str]),
}

impl DnsField {
    /// Its key in `[dns]`.
    pub fn key(&self) -> String {
        if self.secret { format!("{}_file", self.name) } else { self.name.to_owned() }
    }

    /// The same, and what it can be.
    pub(super) const fn takes(self, takes: DnsValue) -> Self {
        Self { takes, ..self }
    }
}

/// A setting that must be there.
pub(super) const fn required(name: &'static str, about: &'static str) -> DnsField {
    DnsField { name, secret: false, required: true, about, takes: DnsValue::Text }
}

/// A setting that may be left out.
pub(super) const fn optional(name: &'static str, about: &'static str) -> DnsField {
    DnsField { required: false, ..required(name, about) }
}

/// A secret that must be there.
pub(super) const fn secret(name: &'static str, about: &'static str) -> DnsField {
    DnsField { secret: true, ..required(name, about) }
}

/// A secret that may be left out.
pub(super) const fn optional_secret(name: &'static str, about: &'static str) -> DnsField {
    DnsField { required: false, ..secret(name, about) }
}
