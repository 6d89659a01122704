//! What a test wants of its authority before it starts, and the tables of `landlord.toml` that lead to it.

use std::{path::Path, time::Duration};

use super::{Authority, Edition, Zone};

/// The TSIG key that landlord is given.
pub const DNS_KEY_NAME: &str = "landlord";
/// The external account that is known where one is required.
pub const EAB_KID: &str = "kid-1";
/// Its MAC key, base64url.
pub const EAB_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// An authority to be. [`Plan::start`] makes it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) edition: Edition,
    pub(super) validity: Option<Duration>,
    pub(super) nonces_rejected: u8,
    pub(super) authorizations_reused: u8,
    pub(super) external_accounts: bool,
    pub(super) deaf_to_tls: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}

impl Plan {
    /// The older pebble, certificates of five years, nothing that goes wrong, nothing that is reused.
    pub fn new() -> Self {
        Self {
            edition: Edition::Bookworm,
            validity: None,
            nonces_rejected: 0,
            authorizations_reused: 0,
            external_accounts: false,
            deaf_to_tls: false,
        }
    }

    /// Which pebble.
    pub fn edition(self, edition: Edition) -> Self {
        Self { edition, ..self }
    }

    /// How long certificates live; whole seconds.
    pub fn validity(self, validity: Duration) -> Self {
        Self { validity: Some(validity), ..self }
    }

    /// So many good nonces of a hundred are refused.
    pub fn nonces_rejected(self, percent: u8) -> Self {
        Self { nonces_rejected: percent, ..self }
    }

    /// In so many cases of a hundred a name that was validated before need not be validated again.
    pub fn authorizations_reused(self, percent: u8) -> Self {
        Self { authorizations_reused: percent, ..self }
    }

    /// Accounts need [`EAB_KID`] and [`EAB_KEY`].
    pub fn external_accounts(self) -> Self {
        Self { external_accounts: true, ..self }
    }

    /// It looks for TLS-ALPN-01 where nobody listens.
    pub fn deaf_to_tls(self) -> Self {
        Self { deaf_to_tls: true, ..self }
    }

    /// Starts all of it.
    #[track_caller]
    pub fn start(self) -> Authority {
        Authority::start_with(self)
    }

    pub(super) fn acme_table(&self, directory: &str, root: &Path, more: &str) -> String {
        format!(
            "[acme]\ndirectory = {directory:?}\ncontact = \"mailto:ops@example.com\"\nroot = {root:?}\n\
             addresses = [\"127.0.0.1\"]\n{more}\n"
        )
    }

    pub(super) fn dns_table(&self, zone: &Zone) -> String {
        format!(
            "[dns]\nprovider = \"rfc2136\"\nserver = \"{0}\"\nkey_name = {DNS_KEY_NAME:?}\n\
             key_algorithm = \"hmac-sha256\"\nkey_file = {1:?}\nresolvers = [\"{0}\"]\n",
            zone.address(),
            zone.key_file(),
        )
    }
}
