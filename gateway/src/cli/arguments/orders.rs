//! What comes after a verb that has more than one meaning.

use std::path::PathBuf;

use clap::Subcommand;

use super::help;
use crate::model::{Host, TenantName};

/// What is done with a tenant's `.env`; listing, if nothing is said. No parser looks at settings here: its errors would show
/// them.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum EnvOrder {
    /// List the names; values are masked
    #[command(long_about = help::ENV_LIST)]
    List {
        /// Show the values
        #[arg(long)]
        reveal: bool,
        /// A JSON array, one object a setting
        #[arg(long)]
        json: bool,
    },
    /// Set values, and replace the worker without losing a request
    #[command(long_about = help::ENV_SET)]
    Set {
        /// KEY: its value is asked for, or comes on standard input; KEY=VALUE: others can see it
        #[arg(value_name = "KEY", required = true)]
        settings: Vec<String>,
        /// The value of KEY is what is in this file
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
    },
    /// Remove settings, and replace the worker without losing a request
    #[command(long_about = help::ENV_UNSET)]
    Unset {
        /// Their names
        #[arg(value_name = "KEY", required = true)]
        names: Vec<String>,
    },
}

/// What is done about certificates.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CertsOrder {
    /// Order a certificate anew, now, and wait until it is served
    #[command(long_about = help::CERTS_RENEW)]
    Renew {
        /// One of its names: a custom domain, `*.ZONE`, or the zone
        #[arg(value_parser = certificate_name)]
        name: String,
    },
    /// Order certificates and throw them away: whether it would work
    #[command(long_about = help::CERTS_CHECK)]
    Check {
        /// One name of each [else: the zone's certificate, and that of every custom domain]
        #[arg(value_parser = certificate_name)]
        names: Vec<String>,
        /// The ACME directory to ask [else: Let's Encrypt's staging one for Let's Encrypt, or else the settings']
        #[arg(long, value_name = "URL", value_parser = directory)]
        directory: Option<String>,
    },
}

/// What is told about DNS.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum DnsOrder {
    /// List the DNS providers, or show the settings of one
    #[command(long_about = help::DNS_PROVIDERS)]
    Providers {
        /// One of them; all if not given
        name: Option<String>,
        /// A JSON array, one object a provider
        #[arg(long)]
        json: bool,
    },
}

/// What `landlord@NAME.service` is told.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum UnitOrder {
    /// Start the tenant, and wait until it serves, unless landlord itself says so
    Start {
        /// The tenant
        name: TenantName,
    },
    /// Stop the tenant, and remember it, unless landlord itself is stopping
    Stop {
        /// The tenant
        name: TenantName,
    },
}

/// A host, or `*.HOST`, in lower case.
fn certificate_name(text: &str) -> Result<String, String> {
    let (wildcard, host) = text.strip_prefix("*.").map_or(("", text), |host| ("*.", host));
    host.parse::<Host>().map(|host| format!("{wildcard}{host}")).map_err(|why| why.to_string())
}

fn directory(text: &str) -> Result<String, String> {
    let is_url = text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
    if is_url { Ok(text.to_owned()) } else { Err("a directory's address begins with https://".to_owned()) }
}
