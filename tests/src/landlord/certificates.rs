//! Certificates as `landlord certs` tells of them, and their files.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::{Landlord, Ran};
use crate::PATIENCE;

/// Between two looks: each is a program's run.
const GLANCE: Duration = Duration::from_millis(50);

/// One certificate, as scripts see it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Certificate {
    /// `*.zone`, or a host.
    pub name: String,
    /// Every name.
    pub names: Vec<String>,
    /// Whose custom domain it is.
    pub tenant: Option<String>,
    /// `acme files local`
    pub source: String,
    /// `dns waiting ordering valid expiring failed`
    pub state: String,
    /// A sentence for a person.
    pub reason: String,
    /// Who issued it.
    pub issuer: Option<String>,
    /// Hex.
    pub serial: Option<String>,
    /// RFC 3339.
    pub not_before: Option<String>,
    /// RFC 3339.
    pub not_after: Option<String>,
    /// RFC 3339.
    pub next_renewal: Option<String>,
    /// RFC 3339.
    pub next_try: Option<String>,
    /// What went wrong at the last try.
    pub last_error: Option<String>,
    /// RFC 3339.
    pub last_error_at: Option<String>,
    /// Failed tries in a row.
    pub failures: u32,
    /// Seconds.
    pub expires_in_s: Option<i64>,
    /// Whether somebody should look.
    pub alarm: bool,
}

impl Landlord {
    /// What `landlord certs --json` says now.
    #[track_caller]
    pub fn certificates(&self) -> Vec<Certificate> {
        let ran = self.landlord(&["certs", "--json"]).expect(0);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("certs --json wrote {:?}: {error}", ran.stdout))
    }

    /// One of [`Landlord::certificates`].
    #[track_caller]
    pub fn certificate(&self, name: &str) -> Certificate {
        let all = self.certificates();
        all.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("no {name} in {all:#?}")).clone()
    }

    /// Waits until the certificate is in `state`, and tells what it then is.
    #[track_caller]
    pub fn wait_certificate(&self, name: &str, state: &str) -> Certificate {
        self.wait_certificate_for(name, PATIENCE, state, |one| one.state == state)
    }

    /// Waits until `wanted` takes the certificate's entry, at most `bound`.
    #[track_caller]
    pub fn wait_certificate_for(
        &self,
        name: &str,
        bound: Duration,
        what: &str,
        mut wanted: impl FnMut(&Certificate) -> bool,
    ) -> Certificate {
        let found = self.wait_certificates(bound, &format!("{name}: {what}"), |all| {
            all.iter().any(|one| one.name == name && wanted(one))
        });
        found.into_iter().find(|one| one.name == name).expect("the wait found it")
    }

    /// Waits until `wanted` takes all of them, at most `bound`.
    #[track_caller]
    pub fn wait_certificates(
        &self,
        bound: Duration,
        what: &str,
        mut wanted: impl FnMut(&[Certificate]) -> bool,
    ) -> Vec<Certificate> {
        let end = Instant::now() + bound;
        loop {
            let all = self.certificates();
            if wanted(&all) {
                return all;
            }
            assert!(Instant::now() < end, "waited {bound:?} in vain for this: {what}\n{all:#?}");
            std::thread::sleep(GLANCE);
        }
    }

    /// `landlord certs renew NAME`.
    pub fn renew(&self, name: &str) -> Ran {
        self.landlord(&["certs", "renew", name])
    }

    /// Where certificates are.
    pub fn certificates_folder(&self) -> PathBuf {
        self.state().join("certs")
    }

    /// The file of the certificate of one custom domain, or of `*.zone`.
    pub fn certificate_file(&self, name: &str) -> PathBuf {
        self.certificates_folder().join(format!("{}.pem", name.replacen("*.", "_.", 1)))
    }

    /// Every file that was put aside in the folder of certificates.
    pub fn set_aside(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.certificates_folder()) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| name.contains(".bad-")).collect()
    }
}
