//! What the acme role works with, secrets read from their files: none of them is ever in landlord.toml, a log or an environment.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    model::{DnsSetting, Gateway, SecretFile},
    sys::{self, files::ReadError},
    wire::AcmeSettings,
};

/// A secret is a line; roots are some certificates.
const SECRET_BYTES: u64 = 64 << 10;
const ROOT_BYTES: u64 = 1 << 20;

/// All that the role is told, as the settings and the files are now.
///
/// # Errors
/// A sentence for a person: which file is missing, or is not to be believed.
pub(super) fn gather(gateway: &Gateway) -> Result<AcmeSettings, String> {
    let (acme, credentials) = (&gateway.acme, credentials());
    let read = |what: &str, file: &SecretFile| secret(what, file, credentials.as_deref());
    let eab = match &acme.eab {
        Some(eab) => Some((eab.kid.clone(), read("[acme] eab_key_file", &eab.key_file)?)),
        None => None,
    };
    let dns = match &gateway.dns {
        Some(dns) => {
            let mut settings = BTreeMap::new();
            for (name, setting) in &dns.settings {
                let value = match setting {
                    DnsSetting::Plain(value) => value.clone(),
                    DnsSetting::Secret(file) => read(&format!("[dns] {name}_file"), file)?,
                };
                settings.insert(name.clone(), value);
            }
            Some((dns.provider.clone(), settings))
        }
        None => None,
    };
    Ok(AcmeSettings {
        directory: acme.directory.clone(),
        zone: gateway.zone.clone(),
        contact: acme.contact.clone(),
        root_pem: acme.root.as_deref().map(root).transpose()?,
        eab,
        dns,
        resolvers: gateway.dns.as_ref().map(|dns| dns.resolvers.clone()).unwrap_or_default(),
        addresses: acme.addresses.clone(),
        propagation_timeout: acme.propagation_timeout,
    })
}

/// Where systemd has put the unit's credentials.
fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).filter(|folder| folder.is_absolute())
}

/// The text alone in a file: a credential of its name, or else the file of its path.
fn secret(what: &str, file: &SecretFile, credentials: Option<&Path>) -> Result<String, String> {
    let bare = !file.named.is_empty() && !file.named.contains('/') && !matches!(file.named.as_str(), "." | "..");
    let credential = credentials.filter(|_| bare).map(|folder| folder.join(&file.named));
    let credential = credential.filter(|path| path.symlink_metadata().is_ok());
    let (path, bytes) = match credential {
        // systemd has made it, for us alone; whose it seems to be depends on how.
        Some(path) => {
            (path.clone(), sys::files::read_regular(&path, SECRET_BYTES).map_err(|e| unread(what, &path, &e))?)
        }
        None => {
            let read = sys::files::read_guarded(&file.path, SECRET_BYTES);
            let (bytes, mode) = read.map_err(|e| unread(what, &file.path, &e))?;
            // A padlock that is missing would hurt more than this does, and it has been read by now.
            if mode & 0o077 != 0 {
                let file = file.path.display();
                tracing::warn!(%file, "a secret that others on this machine may read: chmod 600 {file}");
            }
            (file.path.clone(), bytes)
        }
    };
    let text = String::from_utf8(bytes).map_err(|_| format!("{what}: {} is no text", path.display()))?;
    match text.trim() {
        "" => Err(format!("{what}: {} is empty", path.display())),
        text => Ok(text.to_owned()),
    }
}

/// Roots are no secret, but who may write them says who is believed.
fn root(path: &Path) -> Result<String, String> {
    let bytes = sys::files::read_regular(path, ROOT_BYTES).map_err(|e| unread("[acme] root", path, &e))?;
    let text = String::from_utf8(bytes).ok().filter(|text| text.contains("-----BEGIN CERTIFICATE-----"));
    text.ok_or_else(|| format!("[acme] root: {} has no certificate in PEM", path.display()))
}

fn unread(what: &str, path: &Path, error: &ReadError) -> String {
    let hint = match error {
        ReadError::NotPrivate { .. } => ": a secret is for its owner's eyes only (chown root, chmod 600)",
        _ => "",
    };
    format!("{what}: {}: {error}{hint}", path.display())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(folder: &Path, name: &str, text: &str, mode: u32) -> SecretFile {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        SecretFile { named: name.to_owned(), path }
    }

    #[test]
    fn a_secret_is_read_from_its_file_if_it_is_private() {
        let temp = tempfile::tempdir().unwrap();
        let good = file(temp.path(), "tsig.key", " c2VjcmV0\n", 0o600);
        assert_eq!(secret("[dns] key_file", &good, None).unwrap(), "c2VjcmV0");
        let readable = file(temp.path(), "readable.key", "c2VjcmV0", 0o644);
        assert_eq!(secret("[dns] key_file", &readable, None).unwrap(), "c2VjcmV0", "with a warning");
        let open = file(temp.path(), "open.key", "c2VjcmV0", 0o620);
        let error = secret("[dns] key_file", &open, None).unwrap_err();
        assert!(error.contains("open.key") && error.contains("chmod 600"), "{error}");
        let empty = file(temp.path(), "empty.key", "\n", 0o600);
        assert!(secret("[dns] key_file", &empty, None).unwrap_err().contains("is empty"));
        let missing = SecretFile { named: "none".into(), path: temp.path().join("none") };
        assert!(secret("[dns] key_file", &missing, None).unwrap_err().contains("none"));
    }

    #[test]
    fn a_credential_comes_first_where_the_setting_is_a_bare_name() {
        let temp = tempfile::tempdir().unwrap();
        let credentials = tempfile::tempdir().unwrap();
        let named = file(temp.path(), "dns-key", "ours", 0o600);
        file(credentials.path(), "dns-key", "systemd's", 0o440);
        assert_eq!(secret("", &named, Some(credentials.path())).unwrap(), "systemd's");
        let path = SecretFile { named: "./dns-key".into(), ..named.clone() };
        assert_eq!(secret("", &path, Some(credentials.path())).unwrap(), "ours");
        let other = file(temp.path(), "other", "ours", 0o600);
        assert_eq!(secret("", &other, Some(credentials.path())).unwrap(), "ours");
    }
}
