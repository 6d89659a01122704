//! The DNS providers that landlord can write challenge records at, and what each must be told.

mod field;
mod list;

pub use field::{DnsField, DnsValue};
pub use list::DNS_PROVIDERS;

/// One provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsProvider {
    /// What `[dns] provider` says.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// What it is told.
    pub fields: &'static [DnsField],
    /// Sets of fields that may be left out alone, but one of which must be there whole. Empty: `required` says all.
    pub either: &'static [&'static [&'static str]],
}

impl DnsProvider {
    const fn new(name: &'static str, title: &'static str, fields: &'static [DnsField]) -> Self {
        Self { name, title, fields, either: &[] }
    }

    const fn either(self, either: &'static [&'static [&'static str]]) -> Self {
        Self { either, ..self }
    }

    /// The field of this name, without `_file`.
    pub fn field(&self, name: &str) -> Option<&'static DnsField> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// The provider of this name.
pub fn dns_provider(name: &str) -> Option<&'static DnsProvider> {
    DNS_PROVIDERS.iter().find(|provider| provider.name == name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn providers_stand_once_and_in_the_order_of_names() {
        assert!(DNS_PROVIDERS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert_eq!(dns_provider("rfc2136").unwrap().field("key").unwrap().key(), "key_file");
        assert!(dns_provider("in_memory").is_none());
    }

    #[test]
    fn keys_of_a_provider_are_its_own() {
        for provider in DNS_PROVIDERS {
            let mut keys: Vec<String> = provider.fields.iter().map(DnsField::key).collect();
            keys.extend(["provider".to_owned(), "resolvers".to_owned()]);
            let count = keys.len();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), count, "{}", provider.name);
            for field in provider.fields {
                // A secret's own key is refused with a sentence, so that it cannot be another's.
                assert!(!field.secret || !keys.contains(&field.name.to_owned()), "{}.{}", provider.name, field.name);
                assert!(field.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
            }
            assert!(provider.fields.iter().any(|field| field.required) || !provider.either.is_empty());
            for name in provider.either.concat() {
                assert!(!provider.field(name).unwrap().required, "{}.{name}", provider.name);
            }
        }
    }
}
