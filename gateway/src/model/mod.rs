//! Values only: what a tenant, an app and a route *are*. No I/O, no clock, no async.

mod app;
mod catalog;
mod gateway;
mod host;
mod name;
mod route;
mod tenant;

pub use app::{App, Listen};
pub use catalog::{Catalog, Place, Rejection};
pub use gateway::{Gateway, HttpLimits, Listeners, PortRange, TlsProvider, UserRange};
pub use host::{Authority, Host, HostError};
pub use name::{AppName, NameError, TenantName};
pub use route::{
    BackendAddress, BackendRoute, Certificate, CertificateSet, GenerationId, Probe, ProbeOutcome, RouteTable, Serving,
    TenantRoute,
};
pub use tenant::{Branding, Deploy, Digest, Environment, Health, Limits, Sleep, Strategy, Tenant};
