//! Certificates: where they come from, and whether the files that this needs can be used.

use std::{env, fs, io, os::unix::fs::MetadataExt, path::Path};

use super::{Finding, Level, Subject};
use crate::{
    model::{Acme, Dns, DnsSetting, Gateway, SecretFile, TlsProvider},
    sys::{
        files::{self, ReadError},
        identity,
    },
};

/// A secret is a line or a few.
const SECRET_BYTES: u64 = 64 << 10;

pub(super) fn examine(subject: &Subject, findings: &mut Vec<Finding>) {
    let Some(gateway) = &subject.gateway else { return };
    match gateway.tls {
        TlsProvider::Local => findings.push(local(gateway)),
        TlsProvider::Files => findings.push(folder(gateway.certificates.as_deref())),
        TlsProvider::Acme => {
            findings.push(authority(&gateway.acme, gateway.dns.as_ref()));
            findings.extend(gateway.acme.root.as_deref().map(root));
            findings.extend(secrets(gateway).map(|(key, secret)| self::secret(&key, secret)));
            findings.extend(program(gateway.dns.as_ref()));
        }
    }
}

fn local(gateway: &Gateway) -> Finding {
    let found = format!("landlord is its own authority, for {}", gateway.zone);
    let finding = Finding::ok("certificates", found, "no browser knows it, before it is told to trust it");
    if gateway.zone.as_str() == "localhost" || gateway.zone.as_str().ends_with(".localhost") {
        finding.but(Level::Note, "sudo landlord trust --install")
    } else {
        finding.but(Level::Note, "sudo landlord trust --install, or [tls] provider = \"acme\" in landlord.toml")
    }
}

fn folder(folder: Option<&Path>) -> Finding {
    let name = "certificates";
    let Some(folder) = folder else {
        return Finding::ok(name, "from files, and no folder is named", "landlord does not start with it")
            .but(Level::Problem, "[tls] folder in landlord.toml");
    };
    match fs::read_dir(folder) {
        Ok(_) => Finding::ok(name, format!("from files in {}", folder.display()), "what is changed there is taken up"),
        Err(error) => unread(name, &format!("from files in {}", folder.display()), &error),
    }
}

fn authority(acme: &Acme, dns: Option<&Dns>) -> Finding {
    let writer = dns.map_or("nobody", |dns| dns.provider.as_str());
    let found = format!("from {}, with records by {writer}", acme.directory);
    if acme.directory == Acme::STAGING {
        return Finding::ok("certificates", found, "this is Let's Encrypt's staging environment: no browser trusts it")
            .but(Level::Warning, "remove `staging` in landlord.toml when all is well");
    }
    let finding = Finding::ok("certificates", found, "ordered and renewed by itself; `landlord certs` shows them");
    if acme.contact.is_empty() {
        return finding.but(Level::Note, "[acme] contact = \"mailto:…\", where the authority writes to");
    }
    finding
}

fn root(path: &Path) -> Finding {
    let name = "acme.root";
    match fs::read_to_string(path) {
        Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => {
            Finding::ok(name, path.display().to_string(), "the ACME server is believed by these roots")
        }
        Ok(_) => {
            Finding::ok(name, format!("{}: no certificate in it", path.display()), "the ACME server is not believed")
                .but(Level::Problem, "a file of roots in PEM")
        }
        Err(error) => unread(name, &path.display().to_string(), &error),
    }
}

/// Every secret that the settings name, and its key.
fn secrets(gateway: &Gateway) -> impl Iterator<Item = (String, &SecretFile)> {
    let account = gateway.acme.eab.iter().map(|eab| ("acme.eab_key_file".to_owned(), &eab.key_file));
    let settings = gateway.dns.iter().flat_map(|dns| &dns.settings);
    account.chain(settings.filter_map(|(name, setting)| match setting {
        DnsSetting::Secret(file) => Some((format!("dns.{name}_file"), file)),
        DnsSetting::Plain(_) => None,
    }))
}

/// Looks at a secret's file as landlord itself does, and forgets what is in it.
fn secret(key: &str, secret: &SecretFile) -> Finding {
    let found = secret.path.display().to_string();
    let means = "certificates can be neither ordered nor renewed";
    let refused = |why: String| Finding::ok(key, format!("{found}: {why}"), means);
    match files::read_guarded(&secret.path, SECRET_BYTES) {
        Ok((bytes, _)) if bytes.trim_ascii().is_empty() => {
            refused("empty".to_owned()).but(Level::Problem, "the secret alone in it")
        }
        Ok((_, mode)) if mode & 0o077 != 0 => {
            Finding::ok(key, format!("{found}: its mode is {mode:04o}"), "others may read it")
                .but(Level::Warning, format!("chmod 600 {found}"))
        }
        Ok(_) => Finding::ok(key, found, "its owner's alone"),
        // A credential is there for the service alone, and a shell does not see it.
        Err(error @ ReadError::NotFound) if !secret.named.contains('/') => {
            let credentials = env::var_os("CREDENTIALS_DIRECTORY");
            if credentials.is_some_and(|folder| Path::new(&folder).join(&secret.named).is_file()) {
                return Finding::ok(key, format!("the credential {}", secret.named), "systemd hands it to landlord");
            }
            let remedy = format!(
                "write it there, or LoadCredential={}:… in the unit, which is not seen from here",
                secret.named
            );
            refused(error.to_string()).but(Level::Warning, remedy)
        }
        // Whose file it is, and who may read it, is landlord's user's business.
        Err(error @ (ReadError::NotPrivate { .. } | ReadError::Unreadable(_))) if !is_ours(&secret.path) => {
            Finding { means: "it cannot be looked at from here".to_owned(), ..refused(error.to_string()) }
                .but(Level::Note, "sudo landlord doctor")
        }
        Err(error @ ReadError::NotPrivate { .. }) => {
            let owner = if identity::is_root() { format!("chown root {found} && ") } else { String::new() };
            refused(error.to_string()).but(Level::Problem, format!("{owner}chmod 600 {found}"))
        }
        Err(error) => {
            refused(error.to_string()).but(Level::Problem, "landlord.toml names it: put it there, or name another")
        }
    }
}

/// Whether we can say what landlord would: as root, or where the file is this user's.
fn is_ours(path: &Path) -> bool {
    identity::is_root() || fs::symlink_metadata(path).is_ok_and(|metadata| metadata.uid() == identity::own().0)
}

/// A program of the operator's own, where records are written by one.
fn program(dns: Option<&Dns>) -> Option<Finding> {
    let (DnsSetting::Plain(path), "exec") = (dns?.settings.get("program")?, dns?.provider.as_str()) else {
        return None;
    };
    let name = "dns.program";
    Some(match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.mode() & 0o111 != 0 => {
            Finding::ok(name, path, "it writes the zone's challenge records")
        }
        Ok(_) => Finding::ok(name, format!("{path}: no program"), "no record can be written")
            .but(Level::Problem, format!("chmod +x {path}")),
        Err(error) => unread(name, path, &error),
    })
}

fn unread(name: &str, found: &str, error: &io::Error) -> Finding {
    let finding = Finding::ok(name, format!("{found}: {error}"), "certificates can be neither ordered nor renewed");
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Finding { means: "it cannot be looked at from here".to_owned(), ..finding }
            .but(Level::Note, "sudo landlord doctor");
    }
    finding.but(Level::Problem, "landlord.toml names it: put it there, or name another")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn secret_file(folder: &Path, named: &str) -> SecretFile {
        SecretFile { named: named.to_owned(), path: folder.join(named) }
    }

    #[test]
    fn a_secret_that_others_can_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tsig.key");
        let level = || secret("dns.key_file", &secret_file(folder.path(), "tsig.key"));
        assert_eq!(level().level, Level::Warning, "it may be a credential, which a shell does not see");
        assert_eq!(secret("dns.key_file", &secret_file(folder.path(), "x/tsig.key")).level, Level::Problem);
        fs::write(&file, "c2VjcmV0").unwrap();
        for (mode, expected) in
            [(0o600, Level::Ok), (0o400, Level::Ok), (0o644, Level::Warning), (0o620, Level::Problem)]
        {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let finding = level();
            assert_eq!(finding.level, expected, "{finding:?}");
            assert!(!format!("{finding:?}").contains("c2VjcmV0"));
        }
        fs::write(&file, "").unwrap();
        assert_eq!(level().level, Level::Problem);
    }

    #[test]
    fn an_authoritys_files_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        assert_eq!(root(&file).level, Level::Problem);
        fs::write(&file, "x").unwrap();
        assert_eq!(root(&file).level, Level::Problem);
        fs::write(&file, "-----BEGIN CERTIFICATE-----\n").unwrap();
        assert_eq!(root(&file).level, Level::Ok);
        assert_eq!(super::folder(Some(folder.path())).level, Level::Ok);
        assert_eq!(super::folder(Some(&file)).level, Level::Problem);
        let staging = Acme { directory: Acme::STAGING.to_owned(), ..Acme::default() };
        assert_eq!(authority(&staging, None).level, Level::Warning);
        assert_eq!(authority(&Acme::default(), None).level, Level::Note);
    }

    #[test]
    fn a_program_must_be_one() {
        let dns = |program: &str| Dns {
            provider: "exec".to_owned(),
            settings: [("program".to_owned(), DnsSetting::Plain(program.to_owned()))].into(),
            resolvers: Vec::new(),
        };
        assert_eq!(program(Some(&dns("/bin/sh"))).unwrap().level, Level::Ok);
        assert_eq!(program(Some(&dns("/etc/passwd"))).unwrap().level, Level::Problem);
        assert_eq!(program(Some(&dns("/nowhere"))).unwrap().level, Level::Problem);
        assert_eq!(program(None), None);
    }
}
