//! The pages are whole, and say no less than what landlord reads and does.

use std::{collections::BTreeSet, fs, path::Path};

use super::*;
use crate::config;

/// What nobody would name a key.
const NONSENSE: &str = "no-such-key-anywhere-in-landlord";

#[test]
fn every_verb_has_a_page_and_no_role_has() {
    let names: Vec<String> = all().unwrap().iter().map(Page::file_name).collect();
    for command in Arguments::command().get_subcommands() {
        let page = format!("landlord-{}.1", command.get_name());
        assert_eq!(names.contains(&page), !command.is_hide_set(), "{page} of {names:?}");
    }
    for page in ["landlord-certs-renew.1", "landlord-certs-check.1", "landlord-dns-providers.1"] {
        assert!(names.contains(&page.to_owned()), "{page}");
    }
    for page in ["landlord.1", "landlord.toml.5", "landlord-tenant.5"] {
        assert!(names.contains(&page.to_owned()), "{page}");
    }
}

#[test]
fn the_command_lines_page_has_what_its_help_has() {
    let pages = all().unwrap();
    let landlord = &pages.iter().find(|page| page.file_name() == "landlord.1").unwrap().text;
    for expected in [".SH EXAMPLES\n.TP\n", ".SH FILES\n", "\\fB78\\fR\na file is wrong", "\n.PP\nWith /etc/landlord/"]
    {
        assert!(landlord.contains(expected), "{expected:?} is not in\n{landlord}");
    }
    assert!(landlord.starts_with(".ie"), "what an apostrophe is, once");
    assert_eq!(landlord.matches(".ds Aq").count(), 2);
    for page in pages {
        assert!(!page.text.contains("@VERSION@"), "{}", page.file_name());
        let is_loose = page.section == 1 && page.text.contains("\n\n");
        assert!(!is_loose, "an empty line in {}", page.file_name());
    }
}

/// Asks the readers themselves: what they say of a key that nobody knows lists those that they know.
#[test]
fn every_key_of_every_file_is_on_its_page() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Asked { ask: Box::new(|toml| wrong_in_gateway(folder.path(), toml)) };
    let mut keys = gateway.keys();
    assert!(keys.contains("http.uri_bytes") && keys.contains("defaults.deploy.strategy"), "{keys:?}");
    // The names of apps are anybody's.
    let app = |toml: &str| wrong_in_gateway(folder.path(), &format!("[apps.x]\ncommand = [\"x\"]\n{toml}"));
    let app = Asked { ask: Box::new(app) };
    keys.extend(app.keys_at("apps.x").into_iter().map(|key| key.replacen("apps.x", "apps.NAME", 1)));
    assert!(keys.contains("apps.NAME.stop_timeout"), "{keys:?}");
    let (gateway_page, tenant_page) = (documented(GATEWAY_FILE), documented(TENANT_FILE));
    for key in &keys {
        let tables = ["defaults.", "apps.NAME."];
        let shared = tables.iter().find_map(|table| key.strip_prefix(table)).filter(|rest| rest.contains('.'));
        match shared {
            Some(key) => assert!(tenant_page.contains(key), "{key} of [defaults] is not in landlord-tenant.5"),
            None => assert!(gateway_page.contains(key), "{key} is not in landlord.toml.5: {gateway_page:?}"),
        }
    }
    let tenant = Asked { ask: Box::new(|toml| wrong_in_tenant(folder.path(), toml)) };
    let keys = tenant.keys();
    assert!(keys.contains("branding.logo") && keys.contains("suspended"), "{keys:?}");
    for key in &keys {
        assert!(tenant_page.contains(key), "{key} is not in landlord-tenant.5: {tenant_page:?}");
    }
}

/// Gives a reader a file's text, and tells what it says is wrong.
type Ask<'a> = dyn Fn(&str) -> Vec<String> + 'a;

/// A reader of a file, which is given texts and tells what is wrong with them.
struct Asked<'a> {
    ask: Box<Ask<'a>>,
}

impl Asked<'_> {
    /// Every key, dotted, tables and what is in them.
    fn keys(&self) -> BTreeSet<String> {
        self.below("", &format!("{NONSENSE} = 1\n"))
    }

    fn keys_at(&self, table: &str) -> BTreeSet<String> {
        self.below(table, &format!("{NONSENSE} = 1\n"))
    }

    /// The keys that `toml`, which ends in an unknown one of `table`, makes the reader tell.
    fn below(&self, table: &str, toml: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for wrong in (self.ask)(toml) {
            let Some((unknown, keys)) = wrong.split_once("the keys here are ") else { continue };
            assert!(unknown.contains(NONSENSE), "{wrong}");
            for key in keys.lines().next().unwrap_or_default().split(", ") {
                let dotted = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
                // Deeper, if it is a table; if it is none, nobody lists keys.
                let inner = dotted.strip_prefix("apps.x.").unwrap_or(&dotted);
                found.extend(self.below(&dotted, &format!("{inner}.{NONSENSE} = 1\n")));
                found.insert(dotted);
            }
        }
        found
    }
}

fn wrong_in_gateway(folder: &Path, toml: &str) -> Vec<String> {
    let file = folder.join("landlord.toml");
    fs::write(&file, toml).unwrap();
    let (_, wrong) = config::gateway::load_leniently(Some(&file));
    wrong.iter().map(ToString::to_string).collect()
}

fn wrong_in_tenant(folder: &Path, toml: &str) -> Vec<String> {
    fs::create_dir_all(folder.join("tenants.d")).unwrap();
    fs::write(folder.join("landlord.toml"), "").unwrap();
    fs::write(folder.join("tenants.d/acme.toml"), toml).unwrap();
    let gateway = config::gateway::load(Some(&folder.join("landlord.toml"))).unwrap();
    let catalog = config::tenants::read(&gateway, &Default::default()).unwrap();
    catalog.rejected.iter().map(ToString::to_string).collect()
}

/// The keys that a page explains: the bold first line of each item, below its `[table]`.
fn documented(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let (mut table, mut is_item) = (String::new(), false);
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix(".SS [") {
            table = format!("{}.", heading.trim_end_matches(']'));
            found.insert(heading.trim_end_matches(']').split('.').next().unwrap_or_default().to_owned());
        } else if is_item && line.starts_with(".BR ") {
            let names = line[4..].split('(').next().unwrap_or_default();
            let words = names.split(' ').map(|word| word.trim_matches(['"', ',']));
            found.extend(words.filter(|word| !word.is_empty()).map(|word| format!("{table}{word}")));
        }
        is_item = line == ".TP";
    }
    found
}
