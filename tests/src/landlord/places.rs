//! Where everything of a gateway is, and how a visitor comes there.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::Landlord;
use crate::{
    client::{Raw, Result as ClientResult, Site},
    ports::Ports,
    small_disk::SmallDisk,
};

impl Landlord {
    /// A tenant's host under the zone.
    pub fn host(&self, tenant: &str) -> String {
        format!("{tenant}.{}", self.zone)
    }

    /// A tenant's site, as a visitor who trusts the house's CA opens it.
    pub fn site(&self, tenant: &str) -> Site {
        self.site_at(&self.host(tenant))
    }

    /// The site at any host name.
    pub fn site_at(&self, host: &str) -> Site {
        Site::new(self.https(), host, &self.ca())
    }

    /// A connection in clear text, to the port that redirects.
    pub async fn plain(&self) -> ClientResult<Raw> {
        Raw::tcp(self.http()).await
    }

    /// Its folder, in which everything of it lies.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `landlord.toml`.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("landlord.toml")
    }

    /// `tenants.d`.
    pub fn tenants(&self) -> PathBuf {
        self.dir.path().join("tenants.d")
    }

    /// `tenants.d/NAME.toml`.
    pub fn tenant_file(&self, name: &str) -> PathBuf {
        self.tenants().join(format!("{name}.toml"))
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.disk.as_ref().map_or_else(|| self.dir.path().join("state"), SmallDisk::path)
    }

    /// A tenant's own folder.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.state().join("tenants").join(name)
    }

    /// The certificate that visitors trust.
    pub fn ca(&self) -> PathBuf {
        self.state().join("certs/local-ca.pem")
    }

    /// Where TLS is.
    pub fn https(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.https()))
    }

    /// Where clear text is.
    pub fn http(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.http()))
    }

    /// The ports that are this test's.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }
}
