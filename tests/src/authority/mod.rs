//! The world outside that certificates need, on loopback: an ACME server ([`Pebble`]), the DNS ([`Zone`]), and between the
//! ACME server and the gateway a [`Front`] that counts what is asked and fails on demand.
//!
//! ```no_run
//! let authority = harness::authority::Authority::start();
//! let landlord = authority.setup().tenant("acme", "").start();
//! landlord.wait_certificate("*.apps.test", "valid");
//! assert_eq!(authority.front().orders("*.apps.test"), 1);
//! ```

mod call;
mod fault;
mod front;
mod lagging;
mod named;
mod pebble;
mod plan;
mod slow;
mod tls;
mod zone;

pub use call::{Call, Kind};
pub use fault::Fault;
pub use front::Front;
pub use lagging::Lagging;
pub use pebble::{Edition, Pebble};
pub use plan::{DNS_KEY_NAME, EAB_KEY, EAB_KID, Plan};
pub use slow::SlowDns;
pub use zone::Zone;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;

use crate::{Landlord, Setup, client::Site, ports::Ports};

/// All of it. Declare it before the gateway: what is dropped last must outlive what asks it.
#[derive(Debug)]
pub struct Authority {
    front: Front,
    pebble: Pebble,
    zone: Zone,
    plan: Plan,
    ports: Arc<Ports>,
    dir: TempDir,
}

impl Authority {
    /// With everything as it is in the best of worlds.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(Plan::new())
    }

    #[track_caller]
    pub(crate) fn start_with(plan: Plan) -> Self {
        let dir = tempfile::Builder::new().prefix("ca-").tempdir().expect("a temporary folder");
        // Programs that landlord starts as somebody else read here.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a folder of ours");
        let ports = Arc::new(Ports::take());
        let mut spare = ports.spare();
        let mut port = || spare.next().expect("a block has spare ports enough");
        let tls = tls::Identity::make(dir.path());
        let zone = Zone::start(dir.path(), port());
        let pebble = Pebble::start(dir.path(), &tls, &plan, &ports, [port(), port()], zone.address());
        let front = Front::start(&tls, port(), pebble.address());
        Self { front, pebble, zone, plan, ports, dir }
    }

    /// Between the gateway and the ACME server.
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// The ACME server.
    pub fn pebble(&self) -> &Pebble {
        &self.pebble
    }

    /// The ACME server, to stop it and to start it again.
    pub fn pebble_mut(&mut self) -> &mut Pebble {
        &mut self.pebble
    }

    /// The DNS.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// A second server of the zones that takes what is new only when it is told to.
    #[track_caller]
    pub fn lagging(&self) -> Lagging {
        Lagging::start(self.dir.path(), self.spare(0), &self.zone)
    }

    /// A server that passes every question on, and the answer only after a while.
    #[track_caller]
    pub fn slow_dns(&self, by: std::time::Duration) -> SlowDns {
        SlowDns::start(self.spare(1), self.zone.address(), by)
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A secret in a file of its own, as landlord wants it: for nobody else's eyes.
    #[track_caller]
    pub fn secret(&self, name: &str, text: &str) -> PathBuf {
        secret(self.dir(), name, text)
    }

    /// A gateway that gets its certificates here.
    pub fn setup(&self) -> Setup {
        self.setup_with("", &self.plan.dns_table(&self.zone))
    }

    /// The same with more keys in `[acme]` and a `[dns]` table of the test's own.
    pub fn setup_with(&self, acme: &str, dns: &str) -> Setup {
        Setup::new()
            .ports(&self.ports)
            .tables("[tls]\nprovider = \"acme\"\n")
            .tables(&self.plan.acme_table(&self.front.directory(), &self.root(), acme))
            .tables(dns)
    }

    /// The usual `[dns]` table.
    pub fn dns_table(&self) -> String {
        self.plan.dns_table(&self.zone)
    }

    /// What the ACME server's own certificate is signed by.
    pub fn root(&self) -> PathBuf {
        tls::root(self.dir.path())
    }

    /// A site of the gateway, as a visitor opens it who trusts what the ACME server issues.
    #[track_caller]
    pub fn site(&self, landlord: &Landlord, host: &str) -> Site {
        Site::new(landlord.https(), host, &self.pebble.roots())
    }

    /// Ports that nothing of the usual world listens on.
    fn spare(&self, number: usize) -> u16 {
        self.ports.spare().nth(5 + number).expect("a block has spare ports enough")
    }
}

#[track_caller]
fn secret(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).expect("a secret is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
    path
}

impl Drop for Authority {
    #[allow(clippy::print_stderr, reason = "a failing test shows all that was said")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- what was asked of the authority ----\n{}", self.front.told());
            eprintln!("---- pebble ----\n{}", self.pebble.log().text());
            let lines = self.zone.log().lines();
            let updates: Vec<&String> = lines.iter().filter(|line| line.contains("updating zone")).collect();
            eprintln!("---- named ----\n{updates:#?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_answers_and_is_counted_and_fails_on_demand() {
        let authority = Authority::start();
        let front = Site::new(authority.front().address(), "127.0.0.1", &authority.root());
        let directory = front.get("/dir").await.expect("a directory");
        assert!(directory.json::<serde_json::Value>()["newOrder"].as_str().expect("a URL").ends_with("/order-plz"));
        authority.front().break_next(Kind::Directory, 1, Fault::problem(429, "rateLimited", "slower", Some(7)));
        let limited = front.get("/dir").await.expect("an answer");
        assert_eq!((limited.status, limited.field("retry-after")), (429, Some("7")));
        assert_eq!(front.get("/dir").await.expect("an answer").status, 200);
        authority.front().break_all(Kind::Directory, Fault::Cut);
        assert!(front.get("/dir").await.is_err());
        assert_eq!(authority.front().count(Kind::Directory), 4);
    }

    #[test]
    fn a_secondary_has_what_is_new_when_it_catches_up() {
        let authority = Authority::start();
        let zone = authority.zone();
        let lagging = authority.lagging();
        zone.set("shop.test", "A", &["127.0.0.1"]);
        zone.set("x.apps.test", "TXT", &["one", "two"]);
        assert_eq!(zone.look("shop.test", "A"), ["127.0.0.1"]);
        assert!(zone.challenges().len() == 2, "{:?}", zone.challenges());
        assert!(zone::look(lagging.address(), "shop.test", "A").is_empty(), "it lags");
        lagging.catch_up();
        assert_eq!(zone::look(lagging.address(), "shop.test", "A"), ["127.0.0.1"]);
        let slow = authority.slow_dns(std::time::Duration::from_millis(1));
        assert_eq!(zone::look(slow.address(), "shop.test", "A"), ["127.0.0.1"]);
        assert_eq!(slow.asked(), 1);
        zone.remove("shop.test", "A");
        assert!(zone.look("shop.test", "A").is_empty());
    }
}
