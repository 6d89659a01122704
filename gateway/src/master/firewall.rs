//! Loopback between tenants, kept closed: the table of `sys::firewall` is loaded where we may, and whoever loaded it, whether
//! it holds is asked again and again by a knock. An administrator's `nft flush ruleset` takes it away without a word.
//!
//! As landlord.service we may not touch the rules of the network: `landlord firewall`, before the start, has loaded them. Run by
//! hand as root we load them ourselves, and take them away at the end.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    child::Child,
    event::{Event, Who},
    house::House,
    roles::{PROXY_UID, RoleKind},
    walls::{fails, holds},
};
use crate::{
    model::{Gateway, PortRange, UserRange},
    sys::{
        self,
        firewall::{FirewallError, Table},
        process::Exit,
    },
    wire::Wall,
};

/// No worker is started before the rules are there, or this has passed.
const AT_OPENING: Duration = Duration::from_secs(5);
/// Between two knocks.
const ANEW: Duration = Duration::from_secs(60);

/// What is known of the rules, and what of them is ours.
#[derive(Debug)]
pub(super) struct Firewall {
    verdict: Verdict,
    /// Ranges whose tables this landlord has loaded, in this life or an earlier one: they are removed at a clean end.
    own: Vec<PortRange>,
    /// Where those are written down.
    memory: PathBuf,
    /// An nft under way.
    child: Option<Child>,
    /// Why the rules could not be loaded.
    failure: Option<String>,
    /// That is to take our rules away.
    removing: bool,
    /// A knock is under way.
    knocking: bool,
    /// Something has changed since it began: what it tells counts no more.
    outdated: bool,
    /// The rules were loaded since the last knock: that one must be refused.
    loaded: bool,
    /// When to knock again.
    next: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Unknown,
    Holds,
    Open,
}

impl Firewall {
    /// Of the house that is about to be opened, with the users that tenants are, each another. In a first life the rules are loaded before anything is started; a later one
    /// finds them.
    pub(super) fn open(gateway: &Gateway, users: Option<UserRange>, resumed: bool) -> Self {
        let memory = gateway.run.join("firewall");
        let own = read(&memory);
        let mut firewall = Self {
            verdict: Verdict::Unknown,
            own,
            memory,
            child: None,
            removing: false,
            failure: None,
            knocking: false,
            outdated: false,
            loaded: false,
            next: Instant::now(),
        };
        if users.is_some() && !resumed && sys::firewall::is_permitted() {
            let text = firewall.loading(gateway.ports);
            let done = sys::firewall::run(&text, AT_OPENING);
            firewall.on_loaded(done.map_err(|error| error.to_string()));
        }
        firewall
    }

    /// What nft is to be told so that the table of `ports` is there. It is written down before it is done.
    fn loading(&mut self, ports: PortRange) -> String {
        if !self.own.contains(&ports) {
            self.own.push(ports);
            self.remember();
        }
        table(ports).text()
    }

    fn on_loaded(&mut self, done: Result<(), String>) {
        self.loaded = done.is_ok();
        match done {
            Ok(()) => {
                self.failure = None;
                tracing::info!("loopback between tenants is closed");
            }
            Err(error) => {
                if self.failure.as_ref() != Some(&error) {
                    tracing::warn!(error, "the rules that keep tenants from each other's ports cannot be loaded");
                }
                self.failure = Some(error);
            }
        }
    }

    fn remember(&self) {
        let ranges: Vec<(u16, u16)> = self.own.iter().map(|ports| (ports.first, ports.last)).collect();
        let written = match ranges.is_empty() {
            true => std::fs::remove_file(&self.memory),
            false => serde_json::to_vec(&ranges)
                .map_err(Into::into)
                .and_then(|text| sys::files::write_swiftly(&self.memory, &text, 0o600)),
        };
        match written {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the rules of loopback will not be removed when landlord ends");
            }
            _ => {}
        }
    }

    /// The child under way.
    pub(super) fn child(&self) -> Option<&Child> {
        self.child.as_ref()
    }
}

impl House {
    /// Nobody but the gateway reaches a worker's port.
    pub(super) fn loopback_wall(&self) -> Wall {
        let (name, PortRange { first, last }) = ("loopback", self.gateway.ports);
        if !sys::identity::is_root() {
            return fails(name, "landlord is not root: every worker is the user who started it");
        }
        if self.users.range().is_none() {
            return fails(name, "no worker is a user of its own, so that no rule could tell one from another");
        }
        match (self.firewall.verdict, &self.firewall.failure) {
            (Verdict::Holds, _) => holds(name, format!("only the gateway reaches workers on ports {first} to {last}")),
            (Verdict::Unknown, None) => fails(name, "not looked at yet"),
            (_, Some(failure)) => {
                fails(name, format!("tenants reach each other's ports, {first} to {last}: {failure}"))
            }
            (Verdict::Open, None) => fails(
                name,
                format!("tenants reach each other's ports, {first} to {last}: run `landlord firewall` as root"),
            ),
        }
    }

    /// Knocks when it is time.
    pub(super) fn look_at_loopback(&mut self) {
        if self.firewall.next <= Instant::now() {
            self.knock();
        }
    }

    /// Tries whether a tenant's user gets through to a port where we listen for this moment.
    pub(super) fn knock(&mut self) {
        let Some(users) = self.users.range() else { return };
        if self.firewall.child.is_some() || self.farewell.has_begun() {
            return;
        }
        if self.firewall.knocking {
            self.firewall.outdated = true;
            return;
        }
        self.firewall.next = Instant::now() + ANEW;
        // With every port taken there is nothing to be tried now, and nobody new to be protected.
        let Some((port, listener)) = self.ports.take(sys::listen::worker_tcp) else { return };
        self.firewall.knocking = true;
        let (events, stranger) = (self.events.clone(), stranger(users));
        tokio::task::spawn_local(async move {
            let refused = sys::firewall::knock(listener, port, Some(stranger)).await;
            let _ = events.send(Event::Knocked { port, refused });
        });
    }

    /// What became of the knock.
    pub(super) fn on_knock(&mut self, port: u16, refused: std::io::Result<bool>) {
        self.ports.release(port);
        self.firewall.knocking = false;
        if std::mem::take(&mut self.firewall.outdated) {
            return self.knock();
        }
        let loaded = std::mem::take(&mut self.firewall.loaded);
        let before = self.firewall.verdict;
        match refused {
            Ok(true) => {
                self.firewall.verdict = Verdict::Holds;
                self.firewall.failure = None;
            }
            Ok(false) => {
                self.firewall.verdict = Verdict::Open;
                if loaded {
                    self.firewall.failure = Some("the rules are loaded, and do not hold".to_owned());
                } else if before == Verdict::Holds {
                    tracing::warn!("the rules that keep tenants from each other's ports are gone");
                } else if before == Verdict::Unknown {
                    tracing::warn!("tenants reach each other's ports: run `landlord firewall` as root");
                }
                if !loaded && sys::firewall::is_permitted() {
                    self.load_firewall();
                }
            }
            // Nothing is known anew: the next knock tells.
            Err(error) => tracing::warn!(%error, "whether tenants reach each other's ports cannot be found out"),
        }
        self.untold |= before != self.firewall.verdict;
    }

    /// The ports may be others now. Tables of ranges of before stay to the end: old generations may have ports there.
    pub(super) fn suit_firewall(&mut self) {
        self.firewall.verdict = Verdict::Unknown;
        self.firewall.failure = None;
        if self.users.range().is_some() && sys::firewall::is_permitted() {
            self.load_firewall();
        } else {
            self.knock();
        }
    }

    fn load_firewall(&mut self) {
        if self.firewall.child.is_some() {
            return;
        }
        let text = self.firewall.loading(self.gateway.ports);
        self.start_nft(&text);
    }

    fn start_nft(&mut self, text: &str) {
        let watched =
            |(child, said): (_, OwnedFd)| Ok(Child::watch(child, Who::Firewall, 0, Some(said), self.events.clone())?);
        match sys::firewall::start(text).and_then(watched) {
            Ok(child) => self.firewall.child = Some(child),
            Err(error) => self.firewall.on_loaded(Err(FirewallError::to_string(&error))),
        }
    }

    /// An nft has ended.
    pub(super) fn on_nft(&mut self, exit: Exit, said: Option<String>) {
        self.firewall.child = None;
        if self.firewall.removing {
            if !exit.success() {
                tracing::warn!(%exit, said, "the rules of loopback are left behind: landlord firewall --remove");
            }
            self.firewall.own.clear();
            return self.firewall.remember();
        }
        let reason = || said.as_deref().map_or_else(|| exit.to_string(), sys::firewall::reason);
        self.firewall.on_loaded(if exit.success() { Ok(()) } else { Err(format!("nft says: {}", reason())) });
        self.untold = true;
        self.knock();
    }

    /// At a clean end: what we have loaded goes, what an administrator has loaded stays. Whether it is done.
    pub(super) fn open_loopback(&mut self) -> bool {
        let ours = !self.firewall.own.is_empty() && sys::firewall::is_permitted();
        if ours && self.firewall.child.is_none() && !self.firewall.removing {
            self.firewall.removing = true;
            let text: String = self.firewall.own.iter().map(|ports| table(*ports).removal()).collect();
            self.start_nft(&text);
        }
        self.firewall.child.is_none()
    }
}

/// A user whom the rules must stop.
fn stranger(users: UserRange) -> u32 {
    let tenants = (users.first..=users.last).rev().find(|uid| !RoleKind::UIDS.contains(uid));
    tenants.unwrap_or(users.last)
}

fn table(ports: PortRange) -> Table {
    Table { first: ports.first, last: ports.last, proxy: PROXY_UID }
}

/// What an earlier life has loaded; a file that is not as we write it is from nobody, and nothing is known.
fn read(memory: &Path) -> Vec<PortRange> {
    let text = std::fs::read(memory).unwrap_or_default();
    let ranges: Vec<(u16, u16)> = serde_json::from_slice(&text).unwrap_or_default();
    ranges.into_iter().map(|(first, last)| PortRange { first, last }).collect()
}
