//! DNS for orders: where a challenge's record belongs, writing and removing it, seeing it everywhere, and whether a custom
//! domain points here.

mod ask;
mod caa;
mod exec;
mod locate;
mod look;
mod lookup;
mod providers;
mod visible;
mod writer;

#[cfg(test)]
mod tests;

use std::{net::IpAddr, time::Duration};

use self::{
    lookup::{LookupError, Resolver},
    visible::Everywhere,
    writer::Writer,
};
use crate::{
    model::{Finding, Host},
    wire::{AcmeSettings, Record},
};

/// All that orders need of DNS.
pub(super) struct Dns {
    resolver: Resolver,
    /// `None`: no `[dns] provider`. An error: it cannot work with its settings, which custom domains must not suffer from.
    writer: Option<Result<Writer, String>>,
    everywhere: Everywhere,
    zone: Host,
    directory: String,
    addresses: Vec<IpAddr>,
}

/// Why something about DNS did not go as it should: a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DnsError {
    /// A look-up failed.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// No zone above a name.
    #[error("no zone is found for {0}: is its domain registered and delegated to name servers?")]
    NoZone(String),
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// There is no one to write.
    #[error("no [dns] provider is set: a wildcard certificate needs one that can write {0}")]
    NoProvider(String),
    /// The provider would not.
    #[error("{provider} did not {what} the TXT record {name}: {why}")]
    Provider {
        /// Its name in `[dns]`.
        provider: String,
        /// "write" or "remove"
        what: &'static str,
        /// The record's name.
        name: String,
        /// What it said, and what to do.
        why: String,
    },
    /// It cannot work with its settings.
    #[error("{0}")]
    Unusable(String),
    /// The zone has no name servers that could be asked.
    #[error("zone {0} has no name server that could be asked: {1}")]
    NoServers(String, String),
    /// Not seen everywhere in time.
    #[error("the TXT record {name} was not seen everywhere within {} s: {why}", within.as_secs())]
    Invisible {
        /// The record's name.
        name: String,
        /// What it was given.
        within: Duration,
        /// Which servers do not show it, and what they say instead.
        why: String,
    },
}

impl Dns {
    /// From the role's settings. What is wrong with the provider's is said when a record is to be written.
    pub(super) fn new(settings: &AcmeSettings) -> Self {
        let writer = settings.dns.as_ref().map(|(provider, fields)| Writer::new(provider, fields));
        Self {
            resolver: Resolver::new(settings.resolvers.clone()),
            writer,
            everywhere: Everywhere::new(settings.resolvers.clone(), settings.propagation_timeout),
            zone: settings.zone.clone(),
            directory: settings.directory.clone(),
            addresses: settings.addresses.clone(),
        }
    }

    /// Where the challenge's record for a name of an order (`example.com`, `*.example.com`) must be written: the name after
    /// aliases (RFC 8555 section 8.4), and its zone. Both have their trailing dot.
    ///
    /// # Errors
    /// It could not be looked up, or the aliases lead nowhere; or nobody could write it.
    pub(super) async fn locate(&self, name: &str) -> Result<(String, String), DnsError> {
        // Before a record is noted that could not be removed either.
        self.writer(name)?;
        let (name, zone) = locate::locate(&self.resolver, name).await?;
        Ok((name.to_ascii(), zone.to_ascii()))
    }

    /// Adds a record beside those that are at its name already. Doing it twice is doing it once.
    ///
    /// # Errors
    /// The provider would not, or did not answer.
    pub(super) async fn present(&self, record: &Record) -> Result<(), DnsError> {
        self.writer(&record.name)?.present(record).await
    }

    /// Waits until every authoritative server of the zone, or every one of `[dns] resolvers`, shows the record.
    ///
    /// # Errors
    /// One did not within the time that is set: which, and what it says instead.
    pub(super) async fn wait_visible(&self, record: &Record, progress: &mut dyn FnMut(String)) -> Result<(), DnsError> {
        self.everywhere.wait(&self.resolver, record, progress).await
    }

    /// Removes this one record. That it is not there is no error.
    ///
    /// # Errors
    /// The provider would not, or did not answer.
    pub(super) async fn remove(&self, record: &Record) -> Result<(), DnsError> {
        self.writer(&record.name)?.remove(record).await
    }

    /// Whether a custom domain points here, and its CAA records allow the authority.
    pub(super) async fn look(&self, host: &Host) -> Finding {
        look::look(
            &self.resolver,
            host,
            &look::Here { zone: &self.zone, addresses: &self.addresses, directory: &self.directory },
        )
        .await
    }

    fn writer(&self, name: &str) -> Result<&Writer, DnsError> {
        let writer = self.writer.as_ref().ok_or_else(|| DnsError::NoProvider(name.to_owned()))?;
        writer.as_ref().map_err(|why| DnsError::Unusable(why.clone()))
    }
}
