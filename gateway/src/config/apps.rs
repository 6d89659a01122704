//! `[apps.NAME]`: the code that tenants run, the bundled `workspace` among them.

use std::{collections::BTreeMap, ops::Range, path::Path, time::Duration};

use toml::{Spanned, de::DeValue};

use super::{
    document::{Document, Table, Value, Wrong, nearest},
    readers, sandbox, sections,
};
use crate::model::{App, AppName, Deploy, Health, Listen, Sandbox};

/// What `${…}` may name in a command.
const PLACEHOLDERS: [&str; 5] = ["PORT", "HOST", "TENANT", "TENANT_DIR", "APP_DIR"];

/// Signals that may ask a worker to stop.
const SIGNALS: [(&str, &str); 8] = [
    ("SIGTERM", "SIGTERM"),
    ("SIGINT", "SIGINT"),
    ("SIGQUIT", "SIGQUIT"),
    ("SIGHUP", "SIGHUP"),
    ("SIGUSR1", "SIGUSR1"),
    ("SIGUSR2", "SIGUSR2"),
    ("SIGWINCH", "SIGWINCH"),
    ("SIGKILL", "SIGKILL"),
];

/// The bundled app's name.
pub(super) const BUNDLED: &str = "workspace";

/// The bundled worker, as it is when nothing of it is overridden.
pub(super) fn bundled(name: AppName) -> App {
    let words = |words: [&str; 2]| words.map(str::to_owned).to_vec();
    App {
        command: words(["landlord-worker", "serve"]),
        migrate: Some(words(["landlord-worker", "migrate"])),
        health: Some("/healthz".to_owned()),
        listen: Listen::Inherit,
        ..blank(name)
    }
}

/// What apps start from: `[defaults]`.
#[derive(Clone, Copy)]
pub(super) struct Base<'a> {
    pub(super) health: &'a Health,
    pub(super) deploy: &'a Deploy,
    pub(super) sandbox: &'a Sandbox,
}

/// Reads every table below `[apps]` into `apps`.
pub(super) fn read(mut tables: Table<'_, '_>, apps: &mut BTreeMap<AppName, App>, folder: &Path, defaults: &Base<'_>) {
    let document: &Document<'_> = tables.document();
    for (key, value) in tables.rest() {
        let name = match key.get_ref().parse::<AppName>() {
            Ok(name) => name,
            Err(why) => {
                document.reject(key.span(), format!("{:?} cannot be an app's name: {why}", key.get_ref()), None);
                continue;
            }
        };
        if let Some(table) = tables.value_as_table(value) {
            let base = apps.remove(&name);
            let app = App { name: name.clone(), ..app(table, key.span(), base, name.clone(), folder, defaults) };
            apps.insert(name, app);
        }
    }
}

fn app(
    mut table: Table<'_, '_>,
    heading: Range<usize>,
    base: Option<App>,
    name: AppName,
    folder: &Path,
    defaults: &Base<'_>,
) -> App {
    let document: &Document<'_> = table.document();
    let named = name.to_string();
    let has_base = base.is_some();
    let mut app = base.unwrap_or_else(|| blank(name));
    if let Some(root) = table.read("root", readers::path) {
        app.root = std::path::absolute(folder.join(root)).ok();
    }
    let has_root = app.root.is_some();
    let missing = "${APP_DIR} needs `root`, the folder of the app's code: add it";
    let words = |value: &Value<'_>| command(value, has_root.then_some(()).ok_or(missing));
    let says_command = table.has("command");
    let words_of_command = table.read("command", |value| match words(value)? {
        words if words.is_empty() => Err(format!("`{}` is empty: name a program", value.name).into()),
        words => Ok(words),
    });
    match words_of_command {
        Some(words) => app.command = words,
        None if has_base || says_command => {}
        None => {
            let error = format!("the app {named:?} has no command: add command = [\"program\", \"argument\"]");
            document.reject(heading, error, None);
        }
    }
    if let Some(words) = table.read("migrate", words) {
        app.migrate = Some(words).filter(|words| !words.is_empty());
    }
    if let Some(version) = table.read("version", readers::text) {
        app.version = Some(version);
    }
    if let Some(value) = table.take("health") {
        if matches!(value.spanned.get_ref(), DeValue::Table(_)) {
            let base =
                Health { path: app.health.clone().or_else(|| defaults.health.path.clone()), ..defaults.health.clone() };
            if let Some(table) = table.value_as_table(value) {
                let read = sections::health(table, &base);
                app.health = read.path.clone();
                app.health_defaults = Some(read);
            }
        } else if let Some(path) = table.judge(&value, readers::url_path(&value)) {
            app.health = Some(path);
        }
    }
    if let Some(table) = table.table("deploy") {
        app.deploy_defaults = Some(sections::deploy(table, defaults.deploy));
    }
    let listens = [("inherit", Listen::Inherit), ("port", Listen::Port), ("unix", Listen::Unix)];
    if let Some(listen) = table.read("listen", readers::one_of(&listens)) {
        app.listen = listen;
    }
    if let Some(table) = table.table("sandbox") {
        app.sandbox_defaults = Some(sandbox::sandbox(table, defaults.sandbox, folder));
    }
    if let Some(path) = table.read("sleep", readers::url_path) {
        app.sleep = Some(path);
    }
    if let Some(table) = table.table("env") {
        app.env = sections::env(table);
    }
    if let Some(signal) = table.read("stop_signal", signal) {
        app.stop_signal = signal.to_owned();
    }
    if let Some(timeout) = table.read("stop_timeout", readers::span_of_time(Duration::ZERO)) {
        app.stop_timeout = timeout;
    }
    table.finish();
    app
}

/// A signal by its full name.
fn signal(value: &Value<'_>) -> Result<&'static str, Wrong> {
    readers::one_of(&SIGNALS)(value).map_err(|wrong| {
        let full = readers::text(value).map(|text| format!("SIG{}", text.to_uppercase()));
        let short = full.ok().filter(|full| SIGNALS.iter().any(|(name, _)| name == full));
        Wrong { hint: wrong.hint.or(short), ..wrong }
    })
}

/// argv: texts whose `${…}` are all known.
fn command(value: &Value<'_>, app_dir: Result<(), &str>) -> Result<Vec<String>, Wrong> {
    if let DeValue::String(line) = value.spanned.get_ref() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let error = format!("`{}` must be a list of words, for there is no shell: write {words:?}", value.name);
        return Err(error.into());
    }
    let words = readers::texts(value)?;
    for word in &words {
        placeholders(word, app_dir)?;
    }
    match words.first() {
        Some(program) if program.get_ref().is_empty() => {
            Err(Wrong { span: Some(program.span()), ..Wrong::from("the program's name is empty") })
        }
        _ => Ok(words.into_iter().map(Spanned::into_inner).collect()),
    }
}

fn placeholders(word: &Spanned<String>, app_dir: Result<(), &str>) -> Result<(), Wrong> {
    let wrong = |error: String, hint| Err(Wrong { span: Some(word.span()), error, hint });
    let mut rest = word.get_ref().as_str();
    while let Some(start) = rest.find("${") {
        rest = &rest[start + 2..];
        let Some(end) = rest.find('}') else {
            return wrong("`${` is never closed by `}`".to_owned(), None);
        };
        let name = &rest[..end];
        if !PLACEHOLDERS.contains(&name) {
            let error = format!(
                "unknown ${{{name}}}: a command may use {}",
                PLACEHOLDERS.map(|p| format!("${{{p}}}")).join(" ")
            );
            return wrong(error, near_placeholder(name).map(|near| format!("${{{near}}}")));
        }
        if let (Err(missing), "APP_DIR") = (app_dir, name) {
            return wrong(missing.to_owned(), None);
        }
        rest = &rest[end + 1..];
    }
    Ok(())
}

fn near_placeholder(name: &str) -> Option<String> {
    let lower = PLACEHOLDERS.map(str::to_lowercase);
    nearest(name, lower.iter().map(String::as_str)).map(|near| near.to_uppercase())
}

/// An app of which only the name is known.
fn blank(name: AppName) -> App {
    App {
        name,
        command: Vec::new(),
        migrate: None,
        root: None,
        version: None,
        health: None,
        listen: Listen::Port,
        env: BTreeMap::new(),
        stop_signal: "SIGTERM".to_owned(),
        stop_timeout: Duration::from_secs(10),
        health_defaults: None,
        deploy_defaults: None,
        sandbox_defaults: None,
        sleep: None,
    }
}
