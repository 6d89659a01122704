//! `landlord check`: every error of every file, without a running landlord.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use serde_json::{Value, json};

use super::{exit, out};
use crate::{
    config,
    model::{Gateway, Place, Rejection, TenantName},
};

/// Checks landlord.toml, every tenant's file and, where tenants are no users of their own, every `.env`.
pub(super) fn check(config: Option<&Path>, json: bool) -> ExitCode {
    let (gateway, mut wrong) = config::gateway::load_leniently(config);
    let mut tenants = Vec::new();
    if let Some(gateway) = &gateway {
        tenants = check_tenants(gateway, &mut wrong);
    }
    if json {
        let errors: Vec<Value> = wrong.iter().map(as_json).collect();
        out::line(&json!({ "tenants": tenants, "errors": errors }).to_string());
    } else {
        for rejection in &wrong {
            out::line(&rejection.to_string());
        }
        let verdict = if wrong.is_empty() { "OK: " } else { "" };
        out::line(&format!("{verdict}{}, {}", counted(tenants.len(), "tenant"), counted(wrong.len(), "error")));
    }
    if wrong.is_empty() { exit::DONE } else { exit::CONFIG.into() }
}

/// The tenants that would be let in; what is wrong is added to `wrong`.
fn check_tenants(gateway: &Gateway, wrong: &mut Vec<Rejection>) -> Vec<TenantName> {
    let catalog = match config::tenants::read(gateway, &BTreeMap::new()) {
        Ok(catalog) => catalog,
        Err(why) => {
            let place = Place { file: gateway.tenants.clone(), line: None, column: None, text: None };
            wrong.push(Rejection { tenant: None, place, error: why.to_string(), hint: None });
            return Vec::new();
        }
    };
    wrong.extend(catalog.rejected);
    // Root opens nothing that a tenant's own user could have laid out for it.
    if gateway.users.is_none() || !nix::unistd::geteuid().is_root() {
        for name in catalog.accepted.keys() {
            let file = gateway.state.join("tenants").join(name.as_str()).join(".env");
            wrong.extend(config::dotenv::check(&file).map(|why| Rejection { tenant: Some(name.clone()), ..why }));
        }
    }
    catalog.accepted.into_keys().collect()
}

fn as_json(rejection: &Rejection) -> Value {
    let Place { file, line, column, text } = &rejection.place;
    json!({
        "tenant": rejection.tenant,
        "file": file,
        "line": line,
        "column": column,
        "text": text,
        "error": rejection.error,
        "hint": rejection.hint,
    })
}

fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
