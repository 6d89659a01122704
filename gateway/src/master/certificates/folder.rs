//! `[tls] provider = "files"`: certificates that somebody else puts into a folder, picked up when they change. What was good
//! once is served until something better comes: a file that is wrong for a moment costs nobody a handshake.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    choice::{Choice, choose},
    sources::{Seen, Whole, sources},
    x509::Read,
};
use crate::model::{Certificate, CertificateSet, Host};

/// The folder, and what was good in it.
pub(in crate::master) struct Folder {
    path: PathBuf,
    /// By the file of its chain.
    kept: BTreeMap<PathBuf, Whole>,
    seen: BTreeMap<PathBuf, Seen>,
    /// Why the newest of a file is not used.
    wrong: BTreeMap<PathBuf, String>,
    /// Why the folder as a whole is not read.
    fault: Option<String>,
    /// What each served last.
    serving: BTreeMap<PathBuf, Vec<String>>,
    uncovered: BTreeSet<Host>,
    /// When one of them begins or ends, and another may be the better one.
    turns: Option<Timestamp>,
}

impl Folder {
    /// The folder at `path`, read once.
    pub(in crate::master) fn open(path: &Path) -> Self {
        let mut folder = Self {
            path: path.to_owned(),
            kept: BTreeMap::new(),
            seen: BTreeMap::new(),
            wrong: BTreeMap::new(),
            fault: None,
            serving: BTreeMap::new(),
            uncovered: BTreeSet::new(),
            turns: None,
        };
        folder.look();
        folder
    }

    /// Reads what has changed since the last look; whether anything has.
    pub(in crate::master) fn look(&mut self) -> bool {
        let found = match sources(&self.path) {
            Ok(found) => found,
            Err(sentence) => {
                let changed = self.fault.as_ref() != Some(&sentence);
                if changed {
                    tracing::error!(event = "refused", error = sentence, action = "kept_previous", "cert");
                }
                self.fault = Some(sentence);
                return changed;
            }
        };
        let turned = self.turns.is_some_and(|turn| turn < Timestamp::now());
        let mut changed = self.fault.take().is_some() || turned;
        let there: BTreeSet<&PathBuf> = found.iter().map(|source| &source.chain).collect();
        for gone in self.seen.keys().filter(|path| !there.contains(path)).cloned().collect::<Vec<_>>() {
            self.seen.remove(&gone);
            self.wrong.remove(&gone);
            changed = true;
            if self.kept.contains_key(&gone) {
                tracing::warn!(file = %gone.display(), event = "gone", "cert");
                self.wrong
                    .insert(gone, "it is gone: what it held is served where nothing else is for its hosts".into());
            }
        }
        for source in &found {
            let seen = source.seen();
            if self.seen.insert(source.chain.clone(), seen) == Some(seen) {
                continue;
            }
            changed = true;
            let file = source.chain.display();
            match source.read() {
                Ok(whole) => {
                    let (names, not_after) = (whole.read.names.join(" "), whole.read.not_after);
                    tracing::info!(%file, event = "loaded", names, %not_after, "cert");
                    self.wrong.remove(&source.chain);
                    self.kept.insert(source.chain.clone(), whole);
                }
                Err(error) => {
                    let action = if self.kept.contains_key(&source.chain) { "kept_previous" } else { "ignored" };
                    tracing::warn!(%file, event = "refused", error, action, "cert");
                    self.wrong.insert(source.chain.clone(), error);
                }
            }
        }
        changed
    }

    /// The certificates of these hosts.
    pub(in crate::master) fn cover<'a>(&mut self, hosts: impl Iterator<Item = &'a Host>) -> CertificateSet {
        let now = Timestamp::now();
        let all = self.kept.iter().map(|(path, whole)| (path.clone(), &whole.read));
        let Choice { chosen, uncovered } = choose(hosts, all, now);
        let missing: Vec<_> = uncovered.difference(&self.uncovered).map(Host::as_str).collect();
        if !missing.is_empty() {
            let folder = self.path.display();
            tracing::warn!(event = "missing", hosts = missing.join(" "), %folder, "cert");
        }
        self.uncovered = uncovered;
        // Of files that are gone, only what still serves is worth keeping.
        let seen = &self.seen;
        self.kept.retain(|path, _| seen.contains_key(path) || chosen.contains_key(path));
        let kept = &self.kept;
        self.wrong.retain(|path, _| seen.contains_key(path) || kept.contains_key(path));
        let dates = self.kept.values().flat_map(|whole| [whole.read.not_before, whole.read.not_after]);
        self.turns = dates.filter(|date| *date >= now).min();
        self.serving = chosen;
        let certificate = |(path, names): (&PathBuf, &Vec<String>)| {
            let whole = self.kept.get(path)?;
            let (chain_pem, key_pem) = (whole.chain_pem.clone(), whole.key_pem.clone());
            Some(Certificate { names: names.clone(), chain_pem, key_pem })
        };
        CertificateSet { certificates: self.serving.iter().filter_map(certificate).collect() }
    }

    /// What is to be said about the whole: faults, files that are wrong, hosts without a certificate.
    pub(in crate::master) fn notice(&self) -> Option<String> {
        let wrong = self.wrong.iter().map(|(file, error)| format!("{}: {error}", file.display()));
        let mut said: Vec<String> = self.fault.iter().cloned().chain(wrong).collect();
        if !self.uncovered.is_empty() {
            let hosts: Vec<_> = self.uncovered.iter().map(Host::as_str).collect();
            said.push(format!("no certificate in {} is for {}", self.path.display(), hosts.join(", ")));
        }
        (!said.is_empty()).then(|| format!("certificates: {}", said.join("; ")))
    }

    /// Each certificate by its file, with the hosts that it serves and what is wrong with a newer one.
    pub(super) fn all(&self) -> impl Iterator<Item = Shown<'_>> {
        self.kept.iter().map(|(path, whole)| Shown {
            read: &whole.read,
            hosts: self.serving.get(path).map_or(&[], Vec::as_slice),
            wrong: self.wrong.get(path).map(String::as_str),
        })
    }

    /// Where to look for changes.
    pub(in crate::master) fn folders(&self) -> Vec<PathBuf> {
        let mut all: BTreeSet<PathBuf> =
            self.seen.keys().filter_map(|file| file.parent()).map(Path::to_owned).collect();
        all.insert(self.path.clone());
        all.into_iter().collect()
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Hosts that no certificate is for.
    pub(super) fn uncovered(&self) -> &BTreeSet<Host> {
        &self.uncovered
    }
}

/// One certificate of the folder, for people.
pub(super) struct Shown<'a> {
    pub(super) read: &'a Read,
    pub(super) hosts: &'a [String],
    pub(super) wrong: Option<&'a str>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
