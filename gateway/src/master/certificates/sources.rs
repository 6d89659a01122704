//! What lies in the folder of certificates from elsewhere: which files belong together, and who may have written them.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{pem, x509};
use crate::sys::{
    self,
    files::{ReadError, Signature},
};

/// Bytes of one file.
const CAP: u64 = 256 << 10;

/// A chain and its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    /// Where the chain is.
    pub(super) chain: PathBuf,
    /// Where the key is, if not with the chain.
    pub(super) key: Option<PathBuf>,
}

/// What the files of a source look like from outside, those that links lead to.
pub(super) type Seen = [Option<Signature>; 2];

/// A chain and its key that can be served.
pub(super) struct Whole {
    pub(super) chain_pem: String,
    pub(super) key_pem: String,
    pub(super) read: x509::Read,
}

/// Every source of a folder, in the order of names: `*.pem` with both, `NAME.crt`, `.cer` or `.pem` with `NAME.key`, and
/// `NAME/fullchain.pem` with `NAME/privkey.pem`, as certbot has it.
///
/// # Errors
/// A sentence: the folder cannot be read, or is not root's alone.
pub(super) fn sources(folder: &Path) -> Result<Vec<Source>, String> {
    let told = |error: io::Error| format!("{}: {error}", folder.display());
    owned(folder)?;
    let mut endings: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(told)? {
        let path = entry.map_err(told)?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        // A link may lead to either.
        if path.is_dir() {
            let (chain, key) = (path.join("fullchain.pem"), path.join("privkey.pem"));
            if chain.symlink_metadata().is_ok() || key.symlink_metadata().is_ok() {
                found.push(Source { chain, key: Some(key) });
            }
            continue;
        }
        let ending = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
        if ["pem", "crt", "cer", "key"].contains(&ending) {
            endings.entry(path.with_extension("")).or_default().push(ending.to_owned());
        }
    }
    for (name, endings) in endings {
        let has = |ending: &str| endings.iter().any(|it| it == ending);
        let with = |ending: &str| {
            // Not `with_extension`: a name has dots of its own.
            let mut path = name.clone().into_os_string();
            path.push(".");
            path.push(ending);
            PathBuf::from(path)
        };
        let chains: Vec<_> = ["crt", "cer", "pem"].into_iter().filter(|ending| has(ending)).collect();
        let key = has("key").then(|| with("key"));
        if chains.is_empty() {
            found.push(Source { chain: with("crt"), key });
            continue;
        }
        let mut key = key;
        found.extend(chains.into_iter().map(|ending| Source { chain: with(ending), key: key.take() }));
    }
    found.sort();
    Ok(found)
}

impl Source {
    pub(super) fn seen(&self) -> Seen {
        let of = |path: &Path| fs::metadata(path).ok().map(|metadata| Signature::from(&metadata));
        [of(&self.chain), self.key.as_deref().and_then(of)]
    }

    /// Reads both.
    ///
    /// # Errors
    /// A sentence: what cannot be read, or could not be served.
    pub(super) fn read(&self) -> Result<Whole, String> {
        if let Some(folder) = self.chain.parent() {
            owned(folder)?;
        }
        let text = text(&self.chain)?;
        let pair = pem::pair(&text)?;
        let key = match &self.key {
            None => pair.key.ok_or_else(|| {
                let key = self.chain.with_extension("key");
                format!("it holds no private key, and there is no {} beside it", key.display())
            })?,
            Some(file) => &key(file)?,
        };
        let read = x509::check(&pair.chain, key, &[])?;
        Ok(Whole { chain_pem: pair.chain, key_pem: format!("{key}\n"), read })
    }
}

fn key(file: &Path) -> Result<String, String> {
    let text = text(file)?;
    let key = pem::pair(&text)?.key.ok_or_else(|| format!("{} holds no private key", file.display()))?;
    Ok(key.to_owned())
}

fn text(file: &Path) -> Result<String, String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    // The folder is the operator's, and certbot's files are links: what they lead to is read.
    let real = file.canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => told(&ReadError::NotFound),
        _ => told(&error),
    })?;
    owned(&real)?;
    let bytes = sys::files::read_regular(&real, CAP).map_err(|error| told(&error))?;
    String::from_utf8(bytes).map_err(|_| told(&"it is no PEM: it is no text"))
}

/// As root, what others could have written is not read: they would choose what landlord serves, or hold its key.
fn owned(path: &Path) -> Result<(), String> {
    if !sys::identity::is_root() {
        return Ok(());
    }
    let found = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (path, owner) = (path.display(), found.uid());
    if owner != 0 {
        return Err(format!("landlord runs as root, and {path} belongs to uid {owner}: run `chown root` on it"));
    }
    if found.mode() & 0o022 != 0 {
        return Err(format!("landlord runs as root, and {path} can be written by others: run `chmod go-w` on it"));
    }
    Ok(())
}
