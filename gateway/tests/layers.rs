//! Dependencies point one way: `model ← config, machine`; `sys ← wire`; all ← roles ← `cli`. Read from the `crate::` edges.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each room may use besides itself.
const MAY_USE: [(&str, &[&str]); 12] = [
    ("model", &[]),
    ("config", &["model"]),
    ("machine", &["model"]),
    ("sys", &[]),
    ("wire", &["model", "sys"]),
    ("exec", GROUND),
    ("count", GROUND),
    ("log", GROUND),
    ("proxy", GROUND),
    ("master", GROUND),
    ("acme", GROUND),
    ("cli", &["model", "config", "machine", "sys", "wire", "exec", "count", "log", "proxy", "master", "acme"]),
];
const GROUND: &[&str] = &["model", "config", "machine", "sys", "wire"];

#[test]
fn rooms_use_only_what_is_below_them() {
    let edges = edges();
    assert!(edges.len() >= MAY_USE.len() - 1, "the rooms were not found: {:?}", edges.keys());
    for (room, used) in &edges {
        let allowed = MAY_USE.iter().find(|(name, _)| name == room).map(|(_, allowed)| *allowed);
        let allowed = allowed.unwrap_or_else(|| panic!("{room} is a new room: say in this test what it may use"));
        for other in used {
            assert!(allowed.contains(&other.as_str()), "{room} uses {other}, which is not below it");
        }
    }
}

#[test]
fn unsafe_code_is_on_one_shelf() {
    for file in sources(&source()) {
        let text = fs::read_to_string(&file).expect("a source file");
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        let dangerous = code.filter(|line| line.contains("unsafe {") || line.contains("unsafe fn")).count();
        let shelf = file.starts_with(source().join("sys"));
        assert!(shelf || dangerous == 0, "{} has unsafe code outside sys/", file.display());
    }
}

#[test]
fn main_is_thin() {
    let text = fs::read_to_string(source().join("main.rs")).expect("main.rs");
    assert!(text.lines().count() <= 40, "main.rs dispatches and does nothing else");
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Room → other rooms named after `crate::`, in single paths and in brace lists.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let rooms: BTreeSet<String> = MAY_USE.iter().map(|(room, _)| (*room).to_owned()).collect();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in sources(&source()) {
        let below = file.strip_prefix(source()).expect("below src");
        let Some(room) = below.iter().next().and_then(|first| first.to_str()).filter(|_| below.iter().count() > 1)
        else {
            continue;
        };
        let used = edges.entry(room.to_owned()).or_default();
        let text = fs::read_to_string(&file).expect("a source file");
        let code: String =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        for after in code.split("crate::").skip(1) {
            for name in first_names(after) {
                if name != room && rooms.contains(&name) {
                    used.insert(name);
                }
            }
        }
    }
    edges
}

/// The first segments of what follows `crate::`: one, or each at the top level of a brace list.
fn first_names(after: &str) -> Vec<String> {
    let word =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(list) = after.strip_prefix('{') else { return vec![word(after)] };
    let (mut names, mut depth, mut item) = (Vec::new(), 0, String::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(word(&std::mem::take(&mut item))),
            _ => {}
        }
        if c != ',' || depth > 0 {
            item.push(c);
        }
    }
    names.push(word(&item));
    names
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a source folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
