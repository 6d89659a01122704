//! `[tls]` and `[acme]`: where certificates come from. `[acme]` and `[dns]` are checked all the same where another provider
//! makes no use of them, so that a change of the provider is one word.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::{Spanned, de::DeValue};

use super::{
    dns,
    document::{Table, Value, Wrong, nearest},
    readers,
};
use crate::model::{Acme, Challenge, Dns, ExternalAccount, Host, SecretFile, TlsProvider};

/// What the tables say, defaults applied.
pub(super) struct Certificates {
    /// `[tls] provider`
    pub(super) tls: TlsProvider,
    /// `[tls] folder`
    pub(super) folder: Option<PathBuf>,
    /// `[acme]`
    pub(super) acme: Acme,
    /// `[dns]`
    pub(super) dns: Option<Dns>,
}

/// Reads `[tls]`, `[acme]` and `[dns]` of `top`, whose paths `absolute` makes absolute.
pub(super) fn read(top: &mut Table<'_, '_>, zone: &Host, absolute: &dyn Fn(&Path) -> PathBuf) -> Certificates {
    let document = top.document();
    let (provider, folder) = top.table("tls").map(|table| tls(table, absolute)).unwrap_or_default();
    let acme = top.table("acme").map(|table| acme(table, absolute)).unwrap_or_default();
    let has_dns = top.has("dns");
    let dns = dns::read(top, absolute);
    let span = provider.as_ref().map_or_else(|| document.top(), Spanned::span);
    let tls = provider.map_or(TlsProvider::Local, Spanned::into_inner);
    if tls == TlsProvider::Acme {
        if let Some(why) = unissued(zone, &acme.directory) {
            document.reject(span.clone(), why, None);
        }
        if !has_dns {
            let error = format!(
                "`tls.provider` = \"acme\" needs [dns]: the certificate of *.{zone} is to be had by DNS alone. \
                 `landlord dns providers` shows who can write its records"
            );
            document.reject(span, error, None);
        }
    }
    Certificates { tls, folder, acme, dns }
}

/// `[tls]`
fn tls(
    mut table: Table<'_, '_>,
    absolute: &dyn Fn(&Path) -> PathBuf,
) -> (Option<Spanned<TlsProvider>>, Option<PathBuf>) {
    let words = [("local", TlsProvider::Local), ("acme", TlsProvider::Acme), ("files", TlsProvider::Files)];
    let provider = table.read_spanned("provider", readers::one_of(&words));
    let has_folder = table.has("folder");
    let folder = table.read_spanned("folder", readers::path);
    let of_files = provider.as_ref().is_some_and(|it| *it.get_ref() == TlsProvider::Files);
    match &provider {
        Some(provider) if of_files && !has_folder => {
            let error = "`tls.provider` = \"files\" needs `tls.folder`, where the certificates are";
            table.document().reject(provider.span(), error, None);
        }
        _ => {}
    }
    if let Some(folder) = folder.as_ref().filter(|_| !of_files) {
        let error = "`tls.folder` is for `tls.provider` = \"files\" alone: remove it, or set the provider";
        table.document().reject(folder.span(), error, None);
    }
    table.finish();
    (provider, folder.filter(|_| of_files).map(|folder| absolute(folder.get_ref())))
}

/// `[acme]`
fn acme(mut table: Table<'_, '_>, absolute: &dyn Fn(&Path) -> PathBuf) -> Acme {
    let document = table.document();
    let base = Acme::default();
    let directory = table.read("directory", |value| url(value));
    let has_directory = directory.is_some();
    let staging = table.read_spanned("staging", readers::flag);
    let is_staging = staging.as_ref().is_some_and(|staging| *staging.get_ref());
    if let Some(staging) = staging.filter(|_| is_staging && has_directory) {
        let error = "`acme.staging` stands for a directory of its own: remove it, or `acme.directory`";
        document.reject(staging.span(), error, None);
    }
    let directory = directory.unwrap_or(if is_staging { Acme::STAGING.to_owned() } else { base.directory });
    let contact = table.read("contact", contact).unwrap_or(base.contact);
    let root = table.read("root", readers::path).map(|path| absolute(&path));
    let challenges = table.read("challenges", challenges).unwrap_or(base.challenges);
    let addresses = table.read("addresses", addresses).unwrap_or(base.addresses);
    let eab = external_account(&mut table, absolute);
    let profile = table.read("profile", profile);
    let propagation_timeout = table
        .read("propagation_timeout", readers::span_of_time(Duration::from_secs(1)))
        .unwrap_or(base.propagation_timeout);
    table.finish();
    Acme { directory, contact, root, challenges, addresses, eab, profile, propagation_timeout }
}

/// `eab_kid` and `eab_key_file`: both or none.
fn external_account(table: &mut Table<'_, '_>, absolute: &dyn Fn(&Path) -> PathBuf) -> Option<ExternalAccount> {
    let document = table.document();
    if let Some(value) = table.take_untold("eab_key") {
        document.reject_unseen(value.spanned.span(), dns::in_plain("acme.eab_key", "eab_key_file"), None);
    }
    let (has_kid, has_key) = (table.has("eab_kid"), table.has("eab_key_file"));
    let kid = table.read_spanned("eab_kid", readers::some_text);
    let key = table.read_spanned("eab_key_file", readers::some_text);
    for (one, has_other, missing) in [(&kid, has_key, "eab_key_file"), (&key, has_kid, "eab_kid")] {
        if let Some(one) = one.as_ref().filter(|_| !has_other) {
            let error = format!("an external account has both `acme.eab_kid` and `acme.eab_key_file`: add {missing}");
            document.reject(one.span(), error, None);
        }
    }
    Some(ExternalAccount { kid: kid?.into_inner(), key_file: secret_file(key?.into_inner(), absolute) })
}

/// A secret's file by what was written.
pub(super) fn secret_file(named: String, absolute: &dyn Fn(&Path) -> PathBuf) -> SecretFile {
    let path = absolute(Path::new(&named));
    SecretFile { named, path }
}

/// An https URL of a directory.
fn url(value: &Value<'_>) -> Result<String, Wrong> {
    let text = readers::some_text(value)?;
    if let Some(rest) = text.strip_prefix("http://") {
        return Err(Wrong {
            span: None,
            error: format!("`{}` must begin with https://, which RFC 8555 asks for", value.name),
            hint: Some(format!("https://{rest}")),
        });
    }
    let host = text.strip_prefix("https://").map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    if !host.is_some_and(is_authority) || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        let error = format!("`{}` must be an address such as \"{}\"", value.name, Acme::PRODUCTION);
        return Err(error.into());
    }
    Ok(text)
}

/// A host, or an address, with or without a port; nobody's password.
fn is_authority(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
}

/// One text, or a list of them: `mailto:` URLs.
fn contact(value: &Value<'_>) -> Result<Vec<String>, Wrong> {
    let texts = match value.spanned.get_ref() {
        DeValue::String(_) => vec![Spanned::new(value.spanned.span(), readers::text(value)?)],
        DeValue::Array(_) => readers::texts(value)?,
        _ => return Err(format!("`{}` must be text in quotes, or a list of texts", value.name).into()),
    };
    let mut found = Vec::new();
    for text in texts {
        let (span, text) = (text.span(), text.into_inner());
        let address = text.strip_prefix("mailto:");
        if address.is_some_and(is_mail) {
            found.push(text);
            continue;
        }
        let hint = is_mail(&text).then(|| format!("mailto:{text}"));
        let error = format!("`{}` cannot be {text:?}: write \"mailto:you@example.com\"", value.name);
        return Err(Wrong { span: Some(span), error, hint });
    }
    Ok(found)
}

/// One address without fields, as RFC 8555 section 7.3 allows.
fn is_mail(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b",?:<>\"".contains(&byte));
    plain
        && text
            .split_once('@')
            .is_some_and(|(local, host)| !local.is_empty() && host.contains('.') && host.parse::<Host>().is_ok())
}

fn challenges(value: &Value<'_>) -> Result<Vec<Challenge>, Wrong> {
    const WORDS: [(&str, Challenge); 2] = [("tls-alpn-01", Challenge::TlsAlpn01), ("http-01", Challenge::Http01)];
    let mut found = Vec::new();
    for text in readers::texts(value)? {
        let (span, text) = (text.span(), text.into_inner());
        let wrong = |error: String, hint| Err(Wrong { span: Some(span.clone()), error, hint });
        let challenge = WORDS.iter().find(|(word, _)| *word == text).map(|(_, challenge)| *challenge);
        match challenge {
            Some(challenge) if found.contains(&challenge) => {
                return wrong(format!("{text:?} is listed twice"), None);
            }
            Some(challenge) => found.push(challenge),
            None if text == "dns-01" => {
                let error = format!(
                    "`{}` are for custom domains, whose DNS is not ours: leave out \"dns-01\", which the zone's own \
                     certificate always uses",
                    value.name
                );
                return wrong(error, None);
            }
            None => {
                let error = format!("there is no challenge {text:?}: write \"tls-alpn-01\" or \"http-01\"");
                return wrong(error, nearest(&text, WORDS.iter().map(|(word, _)| *word)));
            }
        }
    }
    if found.is_empty() {
        return Err(format!("`{}` is empty: name one, or remove it", value.name).into());
    }
    Ok(found)
}

fn addresses(value: &Value<'_>) -> Result<Vec<IpAddr>, Wrong> {
    let mut found = Vec::new();
    for text in readers::texts(value)? {
        let wrong = |error: String| Err(Wrong { span: Some(text.span()), error, hint: None });
        match text.get_ref().parse::<IpAddr>() {
            Err(_) => {
                return wrong(format!("{:?} is no address: write \"203.0.113.7\" or \"2001:db8::7\"", text.get_ref()));
            }
            Ok(address) if address.is_unspecified() => {
                return wrong(format!("no domain can point to {address}: name an address that visitors come to"));
            }
            Ok(address) if found.contains(&address) => return wrong(format!("{address} is listed twice")),
            Ok(address) => found.push(address),
        }
    }
    Ok(found)
}

fn profile(value: &Value<'_>) -> Result<String, Wrong> {
    let text = readers::some_text(value)?;
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text);
    }
    Err(format!("`{}` must be a name that the directory lists: visible ASCII without spaces", value.name).into())
}

/// Why nobody would issue certificates for `zone`; an authority of one's own issues for all but localhost.
fn unissued(zone: &Host, directory: &str) -> Option<String> {
    /// Names that are nobody's (RFC 2606, 6761, 6762, 7686, 8375, 9476, ICANN's resolution of 2024), or that ICANN never gives away.
    const NOBODYS: [&str; 14] = [
        "test",
        "local",
        "internal",
        "invalid",
        "example",
        "onion",
        "alt",
        "home.arpa",
        "lan",
        "home",
        "corp",
        "mail",
        "intranet",
        "private",
    ];
    /// Authorities that the web trusts, and which therefore issue for its names alone.
    const PUBLIC: [&str; 4] = ["letsencrypt.org", "zerossl.com", "pki.goog", "ssl.com"];
    let within = |text: &str, name: &str| {
        text.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    if within(zone.as_str(), "localhost") {
        return Some(format!(
            "`tls.provider` cannot be \"acme\" for the zone {zone}, which is every machine's own name for itself: set \
             `zone` to a domain of yours, or leave out [tls], so that landlord is its own authority"
        ));
    }
    let host = directory.trim_start_matches("https://").split(['/', ':', '?']).next().unwrap_or_default();
    let public = PUBLIC.iter().any(|name| within(host, name));
    let nobodys = !zone.as_str().contains('.') || NOBODYS.iter().any(|name| within(zone.as_str(), name));
    (public && nobodys).then(|| {
        format!(
            "{host} does not issue certificates for the zone {zone}, which is nobody's in public: set `zone` to a domain of \
             yours, `acme.directory` to an authority of your own, or leave out [tls], so that landlord is its own authority"
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
