//! `landlord.toml`: the gateway's own settings, with every default applied and every path absolute.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::Spanned;

use super::{
    apps, bounds, certificates,
    document::{self, Document, Table, nearest},
    files::{self, Trust},
    limits, place, readers, sandbox, sections, sockets,
};
use crate::model::{App, AppName, Deploy, Gateway, Health, Host, Limits, Rejection, Sandbox, Sleep};

/// Where the file is looked for when nobody names one.
pub const SYSTEM_FILE: &str = "/etc/landlord/landlord.toml";

/// Bytes of the file.
const FILE_CAP: u64 = 1024 * 1024;

/// Reads the file that the operator named, else [`SYSTEM_FILE`] if there is one, else gives a laptop's defaults, relative
/// to the current folder.
///
/// # Errors
/// All that is wrong in the file, in its order.
pub fn load(explicit: Option<&Path>) -> Result<Gateway, Vec<Rejection>> {
    match load_leniently(explicit) {
        (Some(gateway), wrong) if wrong.is_empty() => Ok(gateway),
        (_, wrong) => Err(wrong),
    }
}

/// Like [`load`], but gives what could be read beside all that is wrong: enough to find a running landlord's folders, or to
/// go on checking. Nothing only if there is no TOML to read.
pub fn load_leniently(explicit: Option<&Path>) -> (Option<Gateway>, Vec<Rejection>) {
    let folder = env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    load_from(explicit, Path::new(SYSTEM_FILE), &folder)
}

fn load_from(explicit: Option<&Path>, system: &Path, current: &Path) -> (Option<Gateway>, Vec<Rejection>) {
    let file = match explicit {
        Some(file) => current.join(file),
        None if system.exists() => system.to_owned(),
        None => return parse(None, false, current, b""),
    };
    match files::read(&file, FILE_CAP, Trust { follow: true, owner: None }) {
        Ok(bytes) => parse(Some(&file), file == system, file.parent().unwrap_or(Path::new("/")), &bytes),
        Err(why) => {
            let error = why.to_string();
            (None, vec![Rejection { tenant: None, place: place::whole(&file), error, hint: None }])
        }
    }
}

/// Reads the text of `file`, whose relative paths are relative to `folder`; without a file, the laptop's defaults.
fn parse(file: Option<&Path>, is_system: bool, folder: &Path, bytes: &[u8]) -> (Option<Gateway>, Vec<Rejection>) {
    let named = file.unwrap_or(Path::new("landlord.toml"));
    document::read_leniently(named, None, bytes, |document, table| {
        Surroundings { file, is_system, folder }.gateway(document, table)
    })
}

/// Where a file lies, from which some defaults follow.
struct Surroundings<'a> {
    file: Option<&'a Path>,
    is_system: bool,
    folder: &'a Path,
}

impl Surroundings<'_> {
    fn gateway(&self, document: &Document<'_>, table: &mut Table<'_, '_>) -> Gateway {
        let zone = table.read("zone", |value| Ok(readers::host(&readers::text(value)?)?)).unwrap_or_else(localhost);
        let tenants = self.path(table, "tenants", "tenants.d");
        let state = self.path(table, "state", if self.is_system { "/var/lib/landlord" } else { ".landlord" });
        let run = if self.is_system { PathBuf::from("/run/landlord") } else { state.join("run") };
        let run = table.read("run", readers::path).map_or(run, |path| self.absolute(&path));

        let listen = sockets::listen(table.table("listen"), self.file.is_none() || zone == localhost());
        let ports = table.table("ports").map_or(sockets::PORTS, |table| sockets::ports(table, &listen));
        let (users, users_written) = sockets::users(table);
        let certificates = certificates::read(table, &zone, &|path| self.absolute(path));
        let http = table.table("http").map(bounds::http).unwrap_or_default();
        let defaults = table.table("defaults").map(|table| Defaults::read(table, self.folder)).unwrap_or_default();
        let max_running = table.read("max_running", readers::or_none(readers::count(1..=1_000_000))).flatten();
        let Defaults { limits, health, deploy, sleep, sandbox, hsts } = defaults;

        let bundled = bundled_name();
        let mut all = BTreeMap::from([(bundled.clone(), apps::bundled(bundled.clone()))]);
        if let Some(tables) = table.table("apps") {
            apps::read(
                tables,
                &mut all,
                self.folder,
                &apps::Base { health: &health, deploy: &deploy, sandbox: &sandbox },
            );
        }
        let app = match table.read_spanned("app", readers::app_name) {
            Some(app) => declared(app, &all, document),
            None => bundled,
        };
        let (log_file_bytes, log_files) = table.table("logs").map_or(bounds::LOGS, bounds::logs);
        let ballast = table.table("disk").map_or(bounds::BALLAST, bounds::disk);
        Gateway {
            file: self.file.map(Path::to_owned),
            zone,
            tenants,
            state,
            run,
            app,
            listen,
            ports,
            users,
            users_written,
            tls: certificates.tls,
            certificates: certificates.folder,
            acme: certificates.acme,
            dns: certificates.dns,
            http,
            limits,
            health,
            deploy,
            sleep,
            sandbox,
            max_running,
            hsts,
            apps: all,
            ballast,
            log_file_bytes,
            log_files,
        }
    }

    fn path(&self, table: &mut Table<'_, '_>, key: &'static str, default: &str) -> PathBuf {
        let path = table.read(key, readers::path).unwrap_or_else(|| PathBuf::from(default));
        self.absolute(&path)
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        let joined = self.folder.join(path);
        std::path::absolute(&joined).unwrap_or(joined)
    }
}

fn localhost() -> Host {
    "localhost".parse().expect("a host name")
}

fn bundled_name() -> AppName {
    apps::BUNDLED.parse().expect("a label")
}

fn declared(app: Spanned<AppName>, all: &BTreeMap<AppName, App>, document: &Document<'_>) -> AppName {
    let span = app.span();
    let app = app.into_inner();
    if !all.contains_key(&app) {
        let names: Vec<&str> = all.keys().map(AppName::as_str).collect();
        let error = format!("there is no app {:?}: add [apps.{app}], or use one of {}", app.as_str(), names.join(", "));
        document.reject(span, error, nearest(app.as_str(), names.iter().copied()));
        return bundled_name();
    }
    app
}

/// `[defaults.*]`
#[derive(Default)]
struct Defaults {
    limits: Limits,
    health: Health,
    deploy: Deploy,
    sleep: Sleep,
    sandbox: Sandbox,
    hsts: Option<Duration>,
}

impl Defaults {
    fn read(mut table: Table<'_, '_>, folder: &Path) -> Self {
        let built_in = Self::default();
        let read = Self {
            limits: table.table("limits").map_or(built_in.limits.clone(), |it| limits::limits(it, &built_in.limits)),
            health: table.table("health").map_or(built_in.health.clone(), |it| sections::health(it, &built_in.health)),
            deploy: table.table("deploy").map_or(built_in.deploy.clone(), |it| sections::deploy(it, &built_in.deploy)),
            sleep: table.table("sleep").map_or(built_in.sleep.clone(), |it| sections::sleep(it, &built_in.sleep)),
            sandbox: table
                .table("sandbox")
                .map_or(built_in.sandbox.clone(), |it| sandbox::sandbox(it, &built_in.sandbox, folder)),
            hsts: table.table("tls").and_then(|it| sections::tls(it, built_in.hsts)),
        };
        if let Some(table) = table.table("backup") {
            sections::backup(table);
        }
        table.finish();
        read
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests;
