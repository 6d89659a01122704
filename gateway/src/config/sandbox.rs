//! `[sandbox]`: what a tenant's processes may touch besides what every worker needs.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::{
    document::{Table, Value, Wrong},
    readers,
};
use crate::model::Sandbox;

/// `[sandbox]`: paths are added to the base's, relative ones are relative to `folder`; the rest wins over the base.
pub(super) fn sandbox(mut table: Table<'_, '_>, base: &Sandbox, folder: &Path) -> Sandbox {
    let more = |base: &[PathBuf], read: Option<Vec<PathBuf>>| {
        let mut paths = base.to_vec();
        for path in read.into_iter().flatten().map(|path| folder.join(path)) {
            let path = std::path::absolute(&path).unwrap_or(path);
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths
    };
    let sandbox = Sandbox {
        filesystem: table
            .read("filesystem", readers::one_of(&[("closed", true), ("open", false)]))
            .unwrap_or(base.filesystem),
        syscalls: table
            .read("syscalls", readers::one_of(&[("filtered", true), ("open", false)]))
            .unwrap_or(base.syscalls),
        read: more(&base.read, table.read("read", paths)),
        write: more(&base.write, table.read("write", paths)),
        egress: table.read("egress", readers::or_all(ports)).unwrap_or_else(|| base.egress.clone()),
        namespaces: table.read("namespaces", readers::flag).unwrap_or(base.namespaces),
    };
    table.finish();
    sandbox
}

fn paths(value: &Value<'_>) -> Result<Vec<PathBuf>, Wrong> {
    let texts = readers::texts(value)?;
    match texts.iter().find(|text| text.get_ref().trim().is_empty()) {
        Some(empty) => Err(Wrong { span: Some(empty.span()), ..Wrong::from("this path is empty") }),
        None => Ok(texts.into_iter().map(|text| text.into_inner().into()).collect()),
    }
}

/// A list of TCP ports, as numbers or as text.
fn ports(value: &Value<'_>) -> Result<Vec<u16>, Wrong> {
    let wrong = || format!("`{}` must be a list of TCP ports, such as [\"443\", \"5432\"]", value.name);
    let DeValue::Array(items) = value.spanned.get_ref() else { return Err(wrong().into()) };
    let mut ports = Vec::new();
    for item in items {
        let port = match item.get_ref() {
            DeValue::String(text) => text.parse().ok(),
            DeValue::Integer(number) => number.as_str().parse().ok(),
            _ => None,
        };
        let port = port.filter(|port: &u16| *port > 0);
        ports.push(port.ok_or_else(|| Wrong { span: Some(item.span()), ..Wrong::from(wrong()) })?);
    }
    Ok(ports)
}
