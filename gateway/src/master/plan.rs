//! What a worker is started with: argv and environment of the worker contract.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::model::{App, Gateway, Listen, Tenant};

/// Where a generation listens, as its worker is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// `127.0.0.1:port`
    Port(u16),
    /// A unix socket, fd 3 of the worker.
    Unix(PathBuf),
}

/// The folder of a tenant.
pub(super) fn folder(gateway: &Gateway, tenant: &Tenant) -> PathBuf {
    gateway.state.join("tenants").join(tenant.name.as_str())
}

/// The environment of the worker contract, whole; `[env]` and `.env` come on top and may not change it.
pub(super) fn environment(gateway: &Gateway, tenant: &Tenant, place: &Place) -> BTreeMap<String, String> {
    let folder = folder(gateway, tenant).to_string_lossy().into_owned();
    let https_port = gateway.listen.https.first().map_or(443, std::net::SocketAddr::port);
    let mut env = BTreeMap::from([
        ("LANDLORD".into(), "1".into()),
        ("TENANT".into(), tenant.name.to_string()),
        ("TENANT_DIR".into(), folder.clone()),
        ("TENANT_URL".into(), tenant.url(https_port)),
        ("COMPANY".into(), tenant.company.clone()),
        ("ENVIRONMENT".into(), tenant.environment.0.clone()),
        ("FEATURES".into(), tenant.features.join(",")),
        ("BRANDING".into(), branding(tenant)),
        ("DATABASE_URL".into(), "sqlite:instance/app.db".into()),
        ("HOME".into(), folder.clone()),
        ("USER".into(), tenant.name.to_string()),
        ("TMPDIR".into(), format!("{folder}/tmp")),
        ("PATH".into(), search_path(gateway)),
        ("TZ".into(), "UTC".into()),
        ("STORAGE_FILE".into(), super::storage::path(&gateway.state, &tenant.name).to_string_lossy().into_owned()),
    ]);
    if let Place::Port(port) = place {
        env.insert("HOST".into(), "127.0.0.1".into());
        env.insert("PORT".into(), port.to_string());
    }
    if let Some(max) = tenant.max_users {
        env.insert("MAX_USERS".into(), max.to_string());
    }
    if let Some(root) = &tenant.app.root {
        env.insert("APP_DIR".into(), root.to_string_lossy().into_owned());
    }
    env
}

/// `[branding]` as JSON, the company's name filled in.
fn branding(tenant: &Tenant) -> String {
    let mut branding = tenant.branding.clone();
    branding.company_name.get_or_insert_with(|| tenant.company.clone());
    serde_json::to_string(&branding).unwrap_or_else(|_| "{}".into())
}

/// On a laptop the developer's own PATH (their Python, their Node); where tenants may have users of their own, the system's.
fn search_path(gateway: &Gateway) -> String {
    let apart = gateway.users.is_some() && crate::sys::identity::is_root();
    let inherited = std::env::var("PATH").ok().filter(|path| !apart && !path.is_empty());
    inherited.unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into())
}

/// `command` with `${NAME}` expanded from the contract's environment, its program found beside landlord where it is there.
pub(super) fn argv(gateway: &Gateway, app: &App, command: &[String], env: &BTreeMap<String, String>) -> Vec<String> {
    let mut argv: Vec<String> = command.iter().map(|word| expand(word, env)).collect();
    if let Some(program) = argv.first_mut() {
        *program = locate(gateway, app, program);
    }
    argv
}

/// `${NAME}` of the contract; any other `$` stays as it is, because no shell is meant.
fn expand(word: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let known = from.find('}').and_then(|end| Some((env.get(&from[2..end])?, end)));
        match known {
            Some((value, end)) => {
                out.push_str(value);
                rest = &from[end + 1..];
            }
            None => {
                out.push_str("${");
                rest = &from[2..];
            }
        }
    }
    out + rest
}

/// A plain name is looked for beside the landlord binary (the shim looks through PATH); a relative path with a slash is
/// below the app's root, else beside `landlord.toml`.
fn locate(gateway: &Gateway, app: &App, program: &str) -> String {
    let found = if !program.contains('/') {
        std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(program))).filter(|beside| beside.is_file())
    } else if Path::new(program).is_absolute() {
        None
    } else {
        let beside = gateway.file.as_deref().and_then(Path::parent).map(Path::to_path_buf);
        app.root.clone().or(beside).or_else(|| std::env::current_dir().ok()).map(|base| base.join(program))
    };
    found.map_or_else(|| program.to_owned(), |path| path.to_string_lossy().into_owned())
}

/// Whether the shim is to hand the socket down as fd 3.
pub(super) fn hands_socket(app: &App) -> bool {
    matches!(app.listen, Listen::Inherit | Listen::Unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_contract_is_expanded() {
        let env = BTreeMap::from([("PORT".to_owned(), "20001".to_owned())]);
        for (word, expected) in [
            ("${PORT}", "20001"),
            ("0:${PORT}/x", "0:20001/x"),
            ("$PORT ${HOME} ${", "$PORT ${HOME} ${"),
            ("${PORT}${PORT}", "2000120001"),
        ] {
            assert_eq!(expand(word, &env), expected);
        }
    }
}
