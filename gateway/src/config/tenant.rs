//! One tenant's file: its text to a [`Tenant`], defaults applied (tenant over app over `[defaults]` over built in).

use std::path::Path;

use toml::Spanned;

use super::{
    digest,
    document::{self, Document, Table, Value, Wrong, nearest},
    limits, readers, sandbox, sections,
};
use crate::model::{
    App, AppName, Branding, Digest, Environment, Gateway, Health, Host, Place, Rejection, Tenant, TenantName,
};

/// A tenant whose file is right in itself. Whether its domains are its own is for [`super::hosts`] to say.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) tenant: Tenant,
    pub(super) digest: Digest,
    /// Each custom domain and where the file says so.
    pub(super) domains: Vec<(Host, Place)>,
}

/// Reads the content of `file`.
///
/// # Errors
/// All that is wrong in it.
pub(super) fn read(gateway: &Gateway, name: &TenantName, file: &Path, bytes: &[u8]) -> Result<Draft, Vec<Rejection>> {
    let draft = document::read(file, Some(name), bytes, |document, table| draft(gateway, name, document, table))?;
    draft.ok_or_else(|| {
        let place = super::place::whole(file);
        vec![Rejection {
            tenant: Some(name.clone()),
            place,
            error: format!("the app {:?} is not declared in landlord.toml", gateway.app.as_str()),
            hint: None,
        }]
    })
}

/// `None` only if there is no app to run.
fn draft(gateway: &Gateway, name: &TenantName, document: &Document<'_>, table: &mut Table<'_, '_>) -> Option<Draft> {
    for key in ["path", "host"] {
        if let Some(value) = table.take(key) {
            let error = format!("`{key}` (a tenant under a path prefix) is not supported yet: remove it");
            document.reject(value.spanned.span(), error, None);
        }
    }
    let own_host = gateway.zone.below(name);
    if let Err(why) = &own_host {
        document.reject(document.top(), format!("{name}.{} cannot be a host: {why}", gateway.zone), None);
    }
    let domains = table.read("domains", readers::texts).unwrap_or_default();
    let listed: Vec<String> = domains.iter().map(|text| text.get_ref().to_lowercase()).collect();
    let domains = self::domains(domains, &gateway.zone, own_host.as_ref().ok(), document);
    let mut hosts: Vec<Host> = own_host.into_iter().collect();
    hosts.extend(domains.iter().map(|(host, _)| host.clone()));
    let canonical = table.read("canonical", |value| canonical(value, &hosts, &listed));

    let company = table.read("company", readers::some_text).unwrap_or_else(|| name.to_string());
    let app = match table.read_spanned("app", readers::app_name) {
        Some(wanted) => app(&gateway.apps, &wanted, document).cloned(),
        None => gateway.apps.get(&gateway.app).cloned(),
    };
    let environment = table.read("environment", environment).unwrap_or_else(|| Environment("prod".to_owned()));
    let features = table.read("features", features).unwrap_or_default();
    let max_users = table.read("max_users", readers::count(1..=u32::MAX));
    let suspended = table.read("suspended", readers::flag).unwrap_or(false);
    let mut branding = table.table("branding").map(branding).unwrap_or_default();
    branding.company_name.get_or_insert_with(|| company.clone());

    let base = gateway.limits.clone();
    let limits = table.table("limits").map_or(base.clone(), |table| limits::limits(table, &base));
    let base = app.as_ref().map_or_else(|| gateway.health.clone(), |app| app_health(app, gateway));
    let health = table.table("health").map_or(base.clone(), |table| sections::health(table, &base));
    let base = app.as_ref().and_then(|app| app.deploy_defaults.clone()).unwrap_or_else(|| gateway.deploy.clone());
    let deploy = table.table("deploy").map_or(base.clone(), |table| sections::deploy(table, &base));
    let sleep = table.table("sleep").map_or(gateway.sleep.clone(), |table| sections::sleep(table, &gateway.sleep));
    let base = app.as_ref().and_then(|app| app.sandbox_defaults.clone()).unwrap_or_else(|| gateway.sandbox.clone());
    let folder = &gateway.tenants;
    let sandbox = table.table("sandbox").map_or(base.clone(), |table| sandbox::sandbox(table, &base, folder));
    let user = table.read("user", readers::some_text);
    let hsts = table.table("tls").map_or(gateway.hsts, |table| sections::tls(table, gateway.hsts));
    if let Some(table) = table.table("backup") {
        sections::backup(table);
    }
    let own_env = table.table("env").map(sections::env).unwrap_or_default();

    let app = app?;
    let mut env = app.env.clone();
    env.extend(own_env);
    let tenant = Tenant {
        name: name.clone(),
        company,
        hosts,
        canonical,
        app,
        environment,
        features,
        max_users,
        suspended,
        branding,
        user,
        limits,
        sandbox,
        health,
        deploy,
        sleep,
        hsts,
        env,
    };
    Some(Draft { digest: digest::of(&tenant), tenant, domains })
}

fn app_health(app: &App, gateway: &Gateway) -> Health {
    let base = app.health_defaults.clone().unwrap_or_else(|| gateway.health.clone());
    Health { path: app.health.clone().or(base.path), ..base }
}

fn app<'g>(
    apps: &'g std::collections::BTreeMap<AppName, App>,
    wanted: &Spanned<AppName>,
    document: &Document<'_>,
) -> Option<&'g App> {
    let found = apps.get(wanted.get_ref());
    if found.is_none() {
        let declared: Vec<&str> = apps.keys().map(AppName::as_str).collect();
        let near = nearest(wanted.get_ref().as_str(), declared.iter().copied());
        let error =
            format!("there is no app {:?}: landlord.toml declares {}", wanted.get_ref().as_str(), declared.join(", "));
        document.reject(wanted.span(), error, near);
    }
    found
}

/// Custom domains: names outside the zone, each once.
fn domains(
    texts: Vec<Spanned<String>>,
    zone: &Host,
    own: Option<&Host>,
    document: &Document<'_>,
) -> Vec<(Host, Place)> {
    let mut domains: Vec<(Host, Place)> = Vec::new();
    for text in texts {
        let span = text.span();
        let error = match readers::host(text.get_ref()) {
            Err(why) => why,
            Ok(host) if Some(&host) == own => format!("{host} is always this tenant's: remove it from `domains`"),
            Ok(host) if host.as_str() == format!("console.{zone}") => {
                format!("{host} is reserved for landlord itself")
            }
            Ok(host) if host.is_within(zone) => {
                format!("{host} lies within the zone {zone}, whose names belong to the tenants of those names alone")
            }
            Ok(host) if domains.iter().any(|(other, _)| *other == host) => format!("{host} is listed twice"),
            Ok(host) => {
                domains.push((host, document.place(&span)));
                continue;
            }
        };
        document.reject(span, error, None);
    }
    domains
}

/// One of `hosts`; what is `listed` but was no domain has been told of already.
fn canonical(value: &Value<'_>, hosts: &[Host], listed: &[String]) -> Result<Host, Wrong> {
    let host = readers::host(&readers::text(value)?)?;
    if hosts.contains(&host) || listed.iter().any(|text| text == host.as_str()) {
        return Ok(host);
    }
    let names: Vec<&str> = hosts.iter().map(Host::as_str).collect();
    Err(Wrong {
        span: None,
        error: format!(
            "`canonical` must be one of this tenant's hosts, which are {}: add {host} to `domains`",
            names.join(", ")
        ),
        hint: nearest(host.as_str(), names.iter().copied()),
    })
}

fn environment(value: &Value<'_>) -> Result<Environment, Wrong> {
    let text = readers::text(value)?;
    // The same grammar as an app's name, which reserves no word.
    match text.parse::<AppName>() {
        Ok(_) => Ok(Environment(text)),
        Err(why) => Err(Wrong {
            span: None,
            error: format!("`environment` cannot be {text:?}: {why}"),
            hint: nearest(&text, ["prod", "dev", "testing"]),
        }),
    }
}

fn features(value: &Value<'_>) -> Result<Vec<String>, Wrong> {
    let mut features: Vec<String> = Vec::new();
    for text in readers::texts(value)? {
        let span = text.span();
        let text = text.into_inner();
        let odd = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "_-.:/".contains(*c)));
        if text.is_empty() || odd.is_some() {
            let error = format!("a feature cannot be {text:?}: use letters, digits and _ - . : /");
            return Err(Wrong { span: Some(span), error, hint: None });
        }
        if !features.contains(&text) {
            features.push(text);
        }
    }
    Ok(features)
}

fn branding(mut table: Table<'_, '_>) -> Branding {
    let branding = Branding {
        company_name: table.read("company_name", readers::some_text),
        primary_color: table.read("primary_color", colour),
        logo: table.read("logo", logo),
        gst_number: table.read("gst_number", readers::text),
        contact: table.read("contact", readers::text),
    };
    table.finish();
    branding
}

fn colour(value: &Value<'_>) -> Result<String, Wrong> {
    let is_hex = |digits: &str| matches!(digits.len(), 3 | 6) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let text = readers::text(value)?;
    match text.strip_prefix('#') {
        Some(digits) if is_hex(digits) => Ok(text),
        _ => Err(Wrong {
            span: None,
            error: format!("`{}` cannot be {text:?}: write a colour as \"#rgb\" or \"#rrggbb\"", value.name),
            hint: is_hex(&text).then(|| format!("#{text}")),
        }),
    }
}

fn logo(value: &Value<'_>) -> Result<String, Wrong> {
    let text = readers::some_text(value)?;
    // The host of an address goes into the page's content security policy.
    let is_address = text.strip_prefix("https://").is_some_and(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
    });
    let is_path = !text.contains("://") && !text.starts_with('/') && !text.split('/').any(|part| part == "..");
    if (is_address || is_path) && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    Err(format!("`{}` must be a path below files/logo/ or an https:// address", value.name).into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
