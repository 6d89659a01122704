//! Issued certificates on disk: `<state>/certs/<stem>.pem`, the key and then the chain in one file, so that no instant of a
//! crash could leave one without the other.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{pem, x509};
use crate::{
    model::{Certificate, Subject},
    sys::{self, files::ReadError},
};

/// Bytes of one file; the longest chains have a few certificates of 2 KiB each.
const CAP: u64 = 256 << 10;

/// The folder of them.
#[derive(Clone, Debug)]
pub(in crate::master) struct Chest {
    folder: PathBuf,
}

/// What was found for a subject.
pub(in crate::master) enum Loaded {
    /// One that can be served now.
    Good {
        /// For the proxies, by the subject's names.
        certificate: Certificate,
        /// What it says.
        read: x509::Read,
    },
    /// Nothing.
    Missing,
    /// Something that cannot be served, and why: it was renamed, beside where it was, with a loud line.
    #[allow(dead_code, reason = "the log has told why by now; tests ask here")]
    PutAside(String),
}

impl Chest {
    /// The one in this folder, which is there.
    pub(in crate::master) fn open(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn file(&self, subject: &Subject) -> PathBuf {
        self.folder.join(format!("{}.pem", subject.stem()))
    }

    /// What is kept for this subject. A bad file is put aside and hurts no other; one whose mode lets others in gets its own.
    pub(in crate::master) fn load(&self, subject: &Subject) -> Loaded {
        let file = self.file(subject);
        match sys::files::make_private_file(&file) {
            Ok(true) => {
                tracing::warn!(host = %subject, file = %file.display(), "others could read or write this key: its mode is 0600 now")
            }
            Ok(false) => {}
            Err(ReadError::NotFound) => return Loaded::Missing,
            Err(error) => return put_aside(subject, &file, error.to_string()),
        }
        match read(&file, subject) {
            Ok((certificate, read)) => Loaded::Good { certificate, read },
            Err(reason) => put_aside(subject, &file, reason),
        }
    }

    /// Keeps a new one in the place of the old one: whoever looks, even after a power cut, finds one of the two, whole.
    ///
    /// # Errors
    /// A sentence: it could not be served, or not be written (a full disk); the old one stays.
    pub(in crate::master) fn store(
        &self,
        subject: &Subject,
        chain_pem: &str,
        key_pem: &str,
    ) -> Result<(Certificate, x509::Read), String> {
        let mut text = String::with_capacity(key_pem.len() + chain_pem.len() + 2);
        for part in [key_pem, chain_pem] {
            text.push_str(part.trim_end());
            text.push('\n');
        }
        // Looked at as it will be read.
        let (certificate, read) = understand(&text, subject)?;
        if read.not_after <= Timestamp::now() {
            return Err(format!("it has ended at {} already", read.not_after));
        }
        let file = self.file(subject);
        let written = sys::files::write_atomic(&file, text.as_bytes(), 0o600);
        written.map_err(|error| format!("{}: {error}", file.display()))?;
        Ok((certificate, read))
    }
}

fn read(file: &Path, subject: &Subject) -> Result<(Certificate, x509::Read), String> {
    let bytes = sys::files::read_private(file, CAP).map_err(|error| error.to_string())?;
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    let text = str::from_utf8(&bytes).map_err(|_| "it is no PEM: it is no text".to_owned())?;
    let (certificate, read) = understand(text, subject)?;
    let now = Timestamp::now();
    if read.not_after < now {
        return Err(format!("it has ended at {}", read.not_after));
    }
    // A file from the future says that our clock is behind, and that may be the only thing wrong with the certificate.
    if now < read.not_before && !is_from_the_future(file) {
        return Err(format!("it begins at {} only", read.not_before));
    }
    Ok((certificate, read))
}

fn understand(text: &str, subject: &Subject) -> Result<(Certificate, x509::Read), String> {
    let pem::Pair { key, chain } = pem::pair(text)?;
    let key = key.ok_or("it holds no private key")?;
    let names = subject.names();
    let read = x509::check(&chain, key, &names)?;
    Ok((Certificate { names, chain_pem: chain, key_pem: format!("{key}\n") }, read))
}

fn is_from_the_future(file: &Path) -> bool {
    let written = std::fs::symlink_metadata(file).and_then(|metadata| metadata.modified());
    written.is_ok_and(|written| written > std::time::SystemTime::now())
}

fn put_aside(subject: &Subject, file: &Path, reason: String) -> Loaded {
    match sys::files::put_aside(file, Timestamp::now().as_second()) {
        Ok(aside) => {
            let (file, aside) = (file.display(), aside.display());
            tracing::error!(host = %subject, event = "set_aside", error = reason, %file, %aside, "cert");
        }
        Err(error) => {
            let file = file.display();
            tracing::error!(host = %subject, event = "set_aside", error = reason, %file, failed = %error, "cert");
        }
    }
    Loaded::PutAside(reason)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
