//! `[dns]`: who writes challenge records, by the fields that the provider has, and where is looked whether they are there.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use toml::{Spanned, de::DeValue};

use super::{
    certificates::secret_file,
    document::{Table, Value, Wrong, kind, nearest},
    readers,
};
use crate::model::{DNS_PROVIDERS, Dns, DnsField, DnsProvider, DnsSetting, DnsValue, dns_provider};

/// The port of a name server.
const PORT: u16 = 53;

/// `[dns]` of `top`; `None` if there is none, or it names no provider that we have.
pub(super) fn read(top: &mut Table<'_, '_>, absolute: &dyn Fn(&Path) -> PathBuf) -> Option<Dns> {
    let value = top.take("dns")?;
    let span = value.spanned.span();
    let mut table = top.value_as_table(value)?;
    let document = table.document();
    let resolvers = table.read("resolvers", resolvers).unwrap_or_default();
    let has_provider = table.has("provider");
    let Some(provider) = table.read("provider", provider) else {
        if !has_provider {
            let error = "`dns.provider` is missing: `landlord dns providers` shows them all, such as \"rfc2136\"";
            document.reject(span, error, None);
        }
        // Nobody knows what the other keys are to be.
        table.rest();
        return None;
    };
    let mut settings = BTreeMap::new();
    // What was said, right or wrong: it is not missing.
    let mut said = Vec::new();
    for field in provider.fields {
        let key = field.key();
        if table.has(&key) {
            said.push(field.name);
        }
        let setting = table.take(key).and_then(|value| table.judge(&value, setting(&value, field, absolute)));
        settings.extend(setting.map(|setting| (field.name.to_owned(), setting)));
        if let Some(value) = field.secret.then(|| table.take_untold(field.name)).flatten() {
            said.push(field.name);
            document.reject_unseen(value.spanned.span(), in_plain(&value.name, &field.key()), None);
        }
    }
    unknown(&mut table, provider);
    if let Some(error) = missing(provider, &said) {
        document.reject(span, error, None);
    }
    Some(Dns { provider: provider.name.to_owned(), settings, resolvers })
}

/// What is said of a secret in landlord.toml.
pub(super) fn in_plain(name: &str, key: &str) -> String {
    format!(
        "`{name}` is a secret, and landlord.toml is no place for one: put it alone into a file, and name that in `{key}`"
    )
}

fn provider(value: &Value<'_>) -> Result<&'static DnsProvider, Wrong> {
    let text = readers::text(value)?;
    dns_provider(&text).ok_or_else(|| Wrong {
        span: None,
        error: format!("there is no DNS provider {text:?}: `landlord dns providers` shows them all"),
        hint: nearest(&text, DNS_PROVIDERS.iter().map(|provider| provider.name)),
    })
}

fn setting(value: &Value<'_>, field: &DnsField, absolute: &dyn Fn(&Path) -> PathBuf) -> Result<DnsSetting, Wrong> {
    if field.secret {
        return Ok(DnsSetting::Secret(secret_file(readers::some_text(value)?, absolute)));
    }
    let text = match field.takes {
        DnsValue::Text => words(value)?,
        DnsValue::Flag => readers::flag(value)?.to_string(),
        DnsValue::Number => readers::number(0..=u64::from(u32::MAX))(value)?.to_string(),
        DnsValue::Duration => {
            readers::span_of_time(Duration::from_secs(1))(value)?;
            readers::text(value)?.trim().to_owned()
        }
        DnsValue::Server => server(&value.name, &readers::some_text(value)?)?.to_string(),
        DnsValue::Program => program(value)?,
        DnsValue::Url => url(value)?,
        DnsValue::OneOf(words) => {
            let words: Vec<(&'static str, &'static str)> = words.iter().map(|word| (*word, *word)).collect();
            readers::one_of(&words)(value)?.to_owned()
        }
    };
    Ok(DnsSetting::Plain(text))
}

/// Text; an account's number may do without quotes.
fn words(value: &Value<'_>) -> Result<String, Wrong> {
    match value.spanned.get_ref() {
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::String(_) => readers::some_text(value),
        other => Err(format!("`{}` must be text in quotes, but it is {}", value.name, kind(other)).into()),
    }
}

fn program(value: &Value<'_>) -> Result<String, Wrong> {
    let text = readers::some_text(value)?;
    if Path::new(&text).is_absolute() {
        return Ok(text);
    }
    Err(format!("`{}` must be an absolute path, such as \"/usr/local/bin/dns-record\"", value.name).into())
}

fn url(value: &Value<'_>) -> Result<String, Wrong> {
    let text = readers::some_text(value)?;
    let host = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    if host.is_some_and(|host| !host.is_empty()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text);
    }
    Err(format!("`{}` must be an address that begins with https://", value.name).into())
}

/// An address and a port, 53 where none is said.
fn server(name: &str, text: &str) -> Result<SocketAddr, Wrong> {
    let bare = || text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let address = text.parse().ok().or_else(|| bare().map(|address| SocketAddr::new(address, PORT)));
    address.filter(|address| address.port() != 0 && !address.ip().is_unspecified()).ok_or_else(|| {
        format!("`{name}` cannot be {text:?}: write the address of a name server, such as \"192.0.2.1:53\"").into()
    })
}

fn resolvers(value: &Value<'_>) -> Result<Vec<SocketAddr>, Wrong> {
    let mut found = Vec::new();
    for text in readers::texts(value)? {
        let span = text.span();
        let wrong = |wrong: Wrong| Wrong { span: Some(span.clone()), ..wrong };
        let address = server(&value.name, text.get_ref()).map_err(wrong)?;
        if found.contains(&address) {
            return Err(wrong(format!("{address} is listed twice").into()));
        }
        found.push(address);
    }
    Ok(found)
}

/// Notes every key that the provider does not have. Such a line is not shown: its value may be a secret.
fn unknown(table: &mut Table<'_, '_>, provider: &DnsProvider) {
    let document = table.document();
    let mut keys: Vec<String> = provider.fields.iter().map(DnsField::key).collect();
    keys.extend(["provider", "resolvers"].map(str::to_owned));
    for (key, _) in table.rest() {
        let (span, name): (_, &Cow<'_, str>) = (Spanned::span(&key), key.get_ref());
        // A setting that is no secret, said as one.
        let bare = name.strip_suffix("_file").filter(|bare| keys.iter().any(|key| key == bare)).map(str::to_owned);
        let hint = bare.or_else(|| nearest(name, keys.iter().map(String::as_str)));
        let error = match hint {
            Some(_) => format!("unknown key {name:?} in [dns]"),
            None => format!("unknown key {name:?} in [dns]: those of {:?} are {}", provider.name, keys.join(", ")),
        };
        document.reject_unseen(span, error, hint);
    }
}

/// What is not `said` and cannot be left out.
fn missing(provider: &DnsProvider, said: &[&str]) -> Option<String> {
    let is_missing = |field: &&DnsField| field.required && !said.contains(&field.name);
    let missing: Vec<&DnsField> = provider.fields.iter().filter(is_missing).collect();
    if !missing.is_empty() {
        let named: Vec<String> = missing.iter().map(|field| format!("`{}` ({})", field.key(), field.about)).collect();
        return Some(format!("the DNS provider {:?} needs {} in [dns]", provider.name, named.join(" and ")));
    }
    let whole = |set: &&[&str]| set.iter().all(|name| said.contains(name));
    if provider.either.is_empty() || provider.either.iter().any(whole) {
        return None;
    }
    let key = |name: &&str| provider.field(name).map_or_else(String::new, |field| format!("`{}`", field.key()));
    let sets = provider.either.iter().map(|set| set.iter().map(key).collect::<Vec<_>>().join(" and "));
    let sets: Vec<String> = sets.collect();
    Some(format!("the DNS provider {:?} needs {} in [dns]", provider.name, sets.join(", or ")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
