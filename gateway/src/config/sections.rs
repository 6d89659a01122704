//! The tables that `[defaults.*]`, apps and tenants share: what is set wins over the base, the rest is the base's.

use std::{collections::BTreeMap, time::Duration};

use toml::de::DeValue;

use super::{
    document::{Document, Table, Value, Wrong, kind},
    dotenv, readers,
};
use crate::model::{Deploy, Health, Sleep, Strategy};

const MILLISECOND: Duration = Duration::from_millis(1);

/// `[health]`
pub(super) fn health(mut table: Table<'_, '_>, base: &Health) -> Health {
    let health = Health {
        path: table.read("path", readers::url_path).or_else(|| base.path.clone()),
        interval: table.read("interval", readers::span_of_time(100 * MILLISECOND)).unwrap_or(base.interval),
        timeout: table.read("timeout", readers::span_of_time(10 * MILLISECOND)).unwrap_or(base.timeout),
        failures: table.read("failures", readers::count(1..=1000)).unwrap_or(base.failures),
        start_timeout: table
            .read("start_timeout", readers::span_of_time(100 * MILLISECOND))
            .unwrap_or(base.start_timeout),
    };
    table.finish();
    health
}

/// `[deploy]`
pub(super) fn deploy(mut table: Table<'_, '_>, base: &Deploy) -> Deploy {
    let strategies = [("overlap", Strategy::Overlap), ("hold", Strategy::Hold)];
    let any = || readers::span_of_time(Duration::ZERO);
    let deploy = Deploy {
        strategy: table.read("strategy", readers::one_of(&strategies)).or(base.strategy),
        drain_timeout: table.read("drain_timeout", any()).unwrap_or(base.drain_timeout),
        upgrade_timeout: table.read("upgrade_timeout", any()).unwrap_or(base.upgrade_timeout),
        hold_timeout: table.read("hold_timeout", any()).unwrap_or(base.hold_timeout),
    };
    table.finish();
    deploy
}

/// `[sleep]`
pub(super) fn sleep(mut table: Table<'_, '_>, base: &Sleep) -> Sleep {
    let after = table.read("after", |value| match value.spanned.get_ref() {
        DeValue::String(text) if text == "never" => Ok(None),
        _ => readers::span_of_time(Duration::from_secs(1))(value).map(Some),
    });
    table.finish();
    Sleep { after: after.unwrap_or(base.after) }
}

/// `[tls]` of a tenant, and `[defaults.tls]`: how long browsers are told to come by https alone; `None`: they are not told.
pub(super) fn tls(mut table: Table<'_, '_>, base: Option<Duration>) -> Option<Duration> {
    /// Longer than the two years that the browsers' lists ask for.
    const MOST: Duration = Duration::from_secs(3650 * 86_400);
    let hsts = table.read("hsts", |value| match value.spanned.get_ref() {
        DeValue::String(text) if text == "off" => Ok(None),
        DeValue::Boolean(_) | DeValue::Integer(_) => Err("`tls.hsts` is \"off\" or a duration, such as \"1y\"".into()),
        _ => readers::span_of_time_within(Duration::from_secs(1), MOST)(value).map(Some),
    });
    table.finish();
    hsts.unwrap_or(base)
}

/// `[backup]`: held to its types; this version takes no backups.
pub(super) fn backup(mut table: Table<'_, '_>) {
    table.read("schedule", readers::some_text);
    table.read("timezone", readers::some_text);
    table.read("keep", readers::count(1..=100_000));
    table.finish();
}

/// `[env]`: plain settings; numbers and flags become text.
pub(super) fn env(mut table: Table<'_, '_>) -> BTreeMap<String, String> {
    let document: &Document<'_> = table.document();
    let mut settings = BTreeMap::new();
    for (key, value) in table.rest() {
        let name = key.get_ref().as_ref();
        if dotenv::RESERVED.contains(&name) {
            document.reject(key.span(), format!("{name} is set by landlord itself: remove this line"), None);
        } else if !dotenv::is_key(name) {
            let error = format!("{name:?} cannot be the name of a setting: use letters, digits and _");
            document.reject(key.span(), error, None);
        } else if let Some(text) = table.judge(&value, setting(&value)) {
            settings.insert(name.to_owned(), text);
        }
    }
    settings
}

fn setting(value: &Value<'_>) -> Result<String, Wrong> {
    match value.spanned.get_ref() {
        DeValue::String(_) => readers::text(value),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Float(number) => Ok(number.to_string()),
        DeValue::Boolean(flag) => Ok(flag.to_string()),
        other => Err(format!("`{}` must be text in quotes, but it is {}", value.name, kind(other)).into()),
    }
}
