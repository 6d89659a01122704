//! A gateway with two tenants, whose workers are the hostile one, and the doors and witnesses of both.

use crate::{Landlord, Setup, binaries};

use super::{
    door::Door,
    h1::{H1, Reply},
    witness::Witness,
};

/// Everything that a hostile test needs.
pub struct Stage {
    /// The gateway.
    pub landlord: Landlord,
    /// Its https door.
    pub door: Door,
    /// The host of the tenant `acme`.
    pub host: String,
    /// The host of the tenant `beta`.
    pub other: String,
    /// What reached acme's worker.
    pub witness: Witness,
    /// What reached beta's worker.
    pub other_witness: Witness,
}

impl Stage {
    /// Starts one, with these lines in `[http]`.
    #[track_caller]
    pub fn start(http: &str) -> Self {
        Self::of(Setup::new(), http)
    }

    /// Starts one of this setup.
    #[track_caller]
    pub fn of(setup: Setup, http: &str) -> Self {
        let worker = binaries::program("hostile-worker");
        let landlord = setup
            .default_app("hostile")
            .tables(&format!("[http]\n{http}\n"))
            .tables(&format!("[apps.hostile]\ncommand = [{worker:?}]\nlisten = \"port\"\nhealth = \"/healthz\"\n"))
            .tenant("acme", "")
            .tenant("beta", "")
            .start();
        landlord.wait_state("acme", "running");
        landlord.wait_state("beta", "running");
        Self {
            door: Door::new(landlord.https(), &landlord.ca()).expect("the authority's certificate is there"),
            host: landlord.host("acme"),
            other: landlord.host("beta"),
            witness: Witness::new(landlord.folder("acme")),
            other_witness: Witness::new(landlord.folder("beta")),
            landlord,
        }
    }

    /// The process that faces the visitors.
    #[track_caller]
    pub fn proxy(&self) -> u32 {
        *self.landlord.proxies().first().expect("a proxy runs")
    }

    /// Whether this is acme's configured name, with the gateway's port or without.
    pub fn is_configured(&self, host: &str) -> bool {
        host == self.host || host == format!("{}:{}", self.host, self.door.address.port())
    }

    /// A connection to acme.
    pub async fn h1(&self) -> H1 {
        H1::open(&self.door, &self.host).await.expect("acme's handshake")
    }

    /// One good request on a new connection: whatever happened before, the gateway serves.
    pub async fn sing(&self) -> Result<Reply, String> {
        let mut client = H1::open(&self.door, &self.host).await.map_err(|why| format!("then cannot connect: {why}"))?;
        let request = format!("GET /canary HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.host);
        match client.ask(request.as_bytes()).await {
            Ok(reply) if reply.status == 200 && reply.body == b"hello" => Ok(reply),
            other => Err(format!("then a good request got {other:?}")),
        }
    }
}
