//! Values only: what a tenant, an app and a route *are*. No I/O, no clock, no async.

mod app;
mod catalog;
mod certificate;
mod dns_provider;
mod gateway;
mod host;
mod issuance;
mod limits;
mod name;
mod route;
mod sandbox;
mod storage;
mod tenant;

pub use app::{App, Listen};
pub use catalog::{Catalog, Place, Rejection};
pub use certificate::{Acme, Challenge, Dns, DnsSetting, ExternalAccount, SecretFile, Subject};
pub use dns_provider::{DNS_PROVIDERS, DnsField, DnsProvider, DnsValue, dns_provider};
pub use gateway::{Gateway, HttpLimits, Listeners, PortRange, TlsProvider, UserRange};
pub use host::{Authority, Host, HostError};
pub use issuance::{CertificateState, Failure, FailureKind, Finding, RenewalAnswer};
pub use limits::Limits;
pub use name::{AppName, NameError, TenantName};
pub use route::{
    BackendAddress, BackendRoute, Certificate, CertificateSet, GenerationId, Probe, ProbeOutcome, Rate, RouteTable,
    Serving, TenantRoute,
};
pub use sandbox::Sandbox;
pub use storage::{Fill, Storage};
pub use tenant::{Branding, Deploy, Digest, Environment, Health, Sleep, Strategy, Tenant};
