//! `landlord dns providers`: who can write challenge records, and by which settings.

use std::process::ExitCode;

use serde::Serialize;

use super::{exit, out};
use crate::model::{DNS_PROVIDERS, DnsField, DnsProvider, DnsValue, dns_provider};

/// A provider in `--json`. Scripts rely on these names.
#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    title: &'a str,
    settings: Vec<ToldField>,
    /// Sets of settings, one of which must be there whole; empty where `required` says all.
    either: Vec<Vec<String>>,
}

#[derive(Serialize)]
struct ToldField {
    key: String,
    required: bool,
    /// Whether it names a file that has the secret.
    secret: bool,
    about: &'static str,
}

/// Lists them, or shows the `[dns]` table that one needs.
pub(super) fn providers(name: Option<&str>, json: bool) -> ExitCode {
    let listed: Vec<&DnsProvider> = match name.map(|name| (name, dns_provider(name))) {
        None => DNS_PROVIDERS.iter().collect(),
        Some((_, Some(provider))) => vec![provider],
        Some((name, None)) => {
            let name = out::harmless(name);
            out::complain(&format!("there is no DNS provider {name}: `landlord dns providers` lists them all"));
            return exit::FAILED;
        }
    };
    if json {
        let told: Vec<Told<'_>> = listed.iter().map(|provider| told(provider)).collect();
        match serde_json::to_string_pretty(&told) {
            Ok(text) => out::line(&text),
            Err(error) => {
                out::complain(&format!("landlord: {error}"));
                return exit::FAILED;
            }
        }
    } else if name.is_some() {
        listed.iter().for_each(|provider| out::raw(example(provider).as_bytes()));
    } else {
        out::raw(table(&listed).as_bytes());
    }
    exit::DONE
}

fn told<'a>(provider: &'a DnsProvider) -> Told<'a> {
    let field = |field: &DnsField| ToldField {
        key: field.key(),
        required: field.required,
        secret: field.secret,
        about: field.about,
    };
    let key = |name: &&str| provider.field(name).map_or_else(|| (*name).to_owned(), DnsField::key);
    Told {
        name: provider.name,
        title: provider.title,
        settings: provider.fields.iter().map(field).collect(),
        either: provider.either.iter().map(|set| set.iter().map(key).collect()).collect(),
    }
}

/// A line each; settings that can be left out in brackets.
fn table(listed: &[&DnsProvider]) -> String {
    let name = listed.iter().map(|provider| provider.name.len()).max().unwrap_or(0);
    let title = listed.iter().map(|provider| provider.title.chars().count()).max().unwrap_or(0);
    let mut text = format!("{:name$}  {:title$}  SETTINGS\n", "NAME", "TITLE");
    for provider in listed {
        let setting = |field: &DnsField| if field.required { field.key() } else { format!("[{}]", field.key()) };
        let settings: Vec<String> = provider.fields.iter().map(setting).collect();
        text += &format!("{:name$}  {:title$}  {}\n", provider.name, provider.title, settings.join(" "));
    }
    text + "\nlandlord dns providers NAME shows what to write into landlord.toml.\n"
}

/// The `[dns]` table of one provider, to be copied.
fn example(provider: &DnsProvider) -> String {
    let first = provider.either.first().copied().unwrap_or_default();
    let mut lines = vec![("", "provider".to_owned(), format!("{:?}", provider.name), provider.title)];
    for field in provider.fields {
        let is_wanted = field.required || first.contains(&field.name);
        let value = match field.takes {
            _ if field.secret => format!("{:?}", format!("{}.secret", field.name)),
            DnsValue::Text => "\"…\"".to_owned(),
            DnsValue::Flag => "true".to_owned(),
            DnsValue::Number => "4".to_owned(),
            DnsValue::Duration => "\"60s\"".to_owned(),
            DnsValue::Server => "\"192.0.2.1:53\"".to_owned(),
            DnsValue::Program => "\"/usr/local/bin/dns-record\"".to_owned(),
            DnsValue::Url => "\"https://dns.example.com\"".to_owned(),
            DnsValue::OneOf(words) => format!("{:?}", words.first().copied().unwrap_or_default()),
        };
        lines.push((if is_wanted { "" } else { "# " }, field.key(), value, field.about));
    }
    let key = lines.iter().map(|(mark, key, ..)| mark.len() + key.len()).max().unwrap_or(0);
    let value = lines.iter().map(|(_, _, value, _)| value.chars().count()).max().unwrap_or(0);
    let mut text = "[dns]\n".to_owned();
    for (mark, name, said, about) in lines {
        text += &format!("{:key$} = {said:value$}  # {about}\n", format!("{mark}{name}"));
    }
    if provider.fields.iter().any(|field| field.secret) {
        text += "\n# A file of a secret has it alone, and nobody but root reads it: install -m 600 /dev/stdin FILE\n";
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::config;

    /// What landlord.toml says with this text in it.
    fn read(text: &str) -> Option<crate::model::Dns> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("landlord.toml");
        std::fs::write(&file, text).unwrap();
        config::gateway::load(Some(&file)).unwrap_or_else(|wrong| panic!("{text}\n{}", wrong[0])).dns
    }

    #[test]
    fn every_example_can_be_copied_as_it_is_and_with_all_that_may_be_left_out() {
        for provider in DNS_PROVIDERS {
            let example = example(provider);
            assert_eq!(read(&example).unwrap().provider, provider.name);
            let whole: String = example.lines().map(|line| format!("{}\n", uncommented(line))).collect();
            assert_eq!(read(&whole).unwrap().settings.len(), provider.fields.len(), "{whole}");
        }
    }

    /// A setting that may be left out, in its place.
    fn uncommented(line: &str) -> &str {
        line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line)
    }

    #[test]
    fn an_example_says_what_each_setting_is() {
        let shown = example(dns_provider("rfc2136").unwrap());
        assert!(shown.starts_with("[dns]\nprovider        = \"rfc2136\"       # DNS UPDATE"), "{shown}");
        assert!(shown.contains("\nkey_file        = \"key.secret\"    # the TSIG key, base64\n"), "{shown}");
        assert!(shown.contains("\n# key_algorithm = \"hmac-sha256\"   # "), "{shown}");
    }

    #[test]
    fn all_are_listed_for_people_and_for_scripts() {
        let listed: Vec<&DnsProvider> = DNS_PROVIDERS.iter().collect();
        let shown = table(&listed);
        assert_eq!(shown.lines().count(), DNS_PROVIDERS.len() + 3);
        assert!(shown.lines().any(|line| line.starts_with("cloudflare ") && line.ends_with("  token_file")), "{shown}");
        let joker = serde_json::to_value(told(dns_provider("joker").unwrap())).unwrap();
        assert_eq!(joker["either"], serde_json::json!([["api_key_file"], ["username", "password_file"]]));
        assert_eq!(joker["settings"][0]["secret"], true);
    }
}
