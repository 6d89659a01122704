//! Descriptors that must outlive us, by name: what an earlier life left, and what the next one is to find.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use super::roles::Post;
use crate::{
    model::{Gateway, GenerationId, TenantName},
    sys::{self, fdstore},
    wire::ListenerKind,
};

/// The settings that an earlier life had in force, if they were left for this one.
pub fn settings(inherited: &[(String, OwnedFd)]) -> Option<Gateway> {
    inherited.iter().find(|(name, _)| is_past(name))?;
    let (_, sealed) = inherited.iter().find(|(name, _)| name == SETTINGS)?;
    let bytes = sys::memfd::read(sealed.try_clone().ok()?, SETTINGS_BYTES).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Before the name of everything that is ours; sockets of socket units have other names.
const OURS: &str = "ll-";

/// The access log's pipe: its read end.
const ACCESS: &str = "ll-access";
/// The operator socket.
pub(super) const CONTROL: &str = "ll-control";

/// The settings in force, in a sealed memory file: those of the file may be newer, or wrong.
pub(super) const SETTINGS: &str = "ll-settings";
/// Bytes of them.
const SETTINGS_BYTES: usize = 16 << 20;
/// The program that this one was until just now.
pub(super) const PREVIOUS: &str = "ll-previous";
/// Why the program that was to follow could not, in a sealed memory file.
pub(super) const REFUSAL: &str = "ll-refusal";
/// Whoever asked for the upgrade: their connection.
pub(super) const ASKER: &str = "ll-asker";

/// The read end of a tenant's log pipe.
pub(super) fn log(tenant: &TenantName) -> String {
    format!("{OURS}log-{tenant}")
}

/// A generation's listening socket.
pub(super) fn socket(tenant: &TenantName, generation: GenerationId) -> String {
    format!("{OURS}socket-{tenant}-{generation}")
}

/// Our end of the link to a role.
pub(super) fn link(post: Post, attempt: u32) -> String {
    match post {
        Post::Log => format!("{OURS}link-log-{attempt}"),
        Post::Proxy(number) => format!("{OURS}link-proxy-{number}-{attempt}"),
        Post::Acme => format!("{OURS}link-acme-{attempt}"),
    }
}

/// A public listener. A name holds no colon.
pub(super) fn listener(kind: ListenerKind, addr: SocketAddr, core: u32) -> String {
    let kind = match kind {
        ListenerKind::Https => "https",
        ListenerKind::Http => "http",
    };
    format!("{OURS}{kind}-{}-{core}", addr.to_string().replace(':', "_"))
}

/// Whether it is a name of this file's.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(OURS)
}

/// Whether who left it did not end of its own will.
fn is_past(name: &str) -> bool {
    is_ours(name) && !is_listener(name) && name != SETTINGS
}

fn is_listener(name: &str) -> bool {
    name.strip_prefix(OURS).is_some_and(|rest| rest.starts_with("https-") || rest.starts_with("http-"))
}

/// What is kept, and what was.
#[derive(Debug, Default)]
pub(super) struct Vault {
    /// A duplicate of each, for the program that this one may become.
    kept: BTreeMap<String, OwnedFd>,
    inherited: BTreeMap<String, Vec<OwnedFd>>,
}

impl Vault {
    /// With what this life was started with.
    pub(super) fn new(inherited: Vec<(String, OwnedFd)>) -> Self {
        let mut vault = Self::default();
        for (name, fd) in inherited {
            if name.starts_with(OURS) {
                vault.hold(name.clone(), &fd);
            }
            vault.inherited.entry(name).or_default().push(fd);
        }
        vault
    }

    /// Whether an earlier life has left more than its public listeners: it did not end of its own will.
    pub(super) fn has_past(&self) -> bool {
        self.inherited.keys().any(|name| is_past(name))
    }

    /// Every public listener and every other socket that was handed down; names that are not ours are of socket units.
    pub(super) fn take_listeners(&mut self) -> Vec<(String, OwnedFd)> {
        let names: Vec<String> =
            self.inherited.keys().filter(|name| !name.starts_with(OURS) || is_listener(name)).cloned().collect();
        let taken = names.into_iter().filter_map(|name| Some((self.inherited.remove(&name)?, name)));
        taken.flat_map(|(fds, name)| fds.into_iter().map(move |fd| (name.clone(), fd))).collect()
    }

    /// What an earlier life kept under this name; it stays kept.
    pub(super) fn take(&mut self, name: &str) -> Option<OwnedFd> {
        self.inherited.remove(name)?.pop()
    }

    /// The access log's pipe, (read, write): the one that proxies and the log role of an earlier life hold, or a new one.
    ///
    /// # Errors
    /// No pipe can be made.
    pub(super) fn access(&mut self) -> std::io::Result<(OwnedFd, OwnedFd)> {
        if let Some(read) = self.take(ACCESS) {
            let write = fdstore::write_end(&read)?;
            return Ok((read, write));
        }
        let pipe = sys::spawn::pipe()?;
        self.keep(ACCESS.into(), &pipe.0);
        Ok(pipe)
    }

    /// Keeps it for the next life, before it is used. One that cannot be kept is told: a crash would lose it.
    pub(super) fn keep(&mut self, name: String, fd: impl AsFd) {
        if let Err(error) = fdstore::store(&name, &[fd.as_fd()]) {
            tracing::error!(name, %error, "a descriptor would not outlive a crash of landlord");
        }
        self.hold(name, fd);
    }

    /// Keeps it for the program that this one may become; after a crash it is handed down by somebody else, or not needed.
    pub(super) fn hold(&mut self, name: String, fd: impl AsFd) {
        match fd.as_fd().try_clone_to_owned() {
            Ok(copy) => drop(self.kept.insert(name, copy)),
            Err(error) => tracing::error!(name, %error, "a descriptor would not outlive an upgrade of landlord"),
        }
    }

    /// All that is kept.
    pub(super) fn kept(&self) -> BTreeMap<String, BorrowedFd<'_>> {
        self.kept.iter().map(|(name, fd)| (name.clone(), fd.as_fd())).collect()
    }

    /// It is needed no more.
    pub(super) fn forget(&mut self, name: &str) {
        self.inherited.remove(name);
        if self.kept.remove(name).is_some()
            && let Err(error) = fdstore::remove(name)
        {
            tracing::warn!(name, %error, "a descriptor stays in systemd's store");
        }
    }

    /// Forgets what an earlier life left and nobody has taken.
    pub(super) fn forget_untaken(&mut self) {
        for name in self.inherited.keys().cloned().collect::<Vec<_>>() {
            tracing::debug!(name, "an inherited descriptor is of no use");
            self.forget(&name);
        }
    }

    /// The end of the house. The public listeners stay: visitors of a restart wait in their queues. systemd closes them
    /// when the unit is really stopped.
    pub(super) fn close(&mut self) {
        for name in self.kept.keys().filter(|name| !is_listener(name)).cloned().collect::<Vec<_>>() {
            self.forget(&name);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn fd() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn listeners_alone_are_no_past() {
        let https = listener(ListenerKind::Https, "[::]:443".parse().unwrap(), 1);
        assert_eq!(https, "ll-https-[__]_443-1");
        let mut vault =
            Vault::new(vec![(https.clone(), fd()), (https.clone(), fd()), ("landlord.socket".into(), fd())]);
        assert!(!vault.has_past());
        let names: Vec<String> = vault.take_listeners().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["landlord.socket", &https, &https]);

        let mut vault = Vault::new(vec![(https, fd()), (ACCESS.into(), fd())]);
        assert!(vault.has_past());
        assert!(vault.take(ACCESS).is_some() && vault.take(ACCESS).is_none() && vault.take(CONTROL).is_none());
    }
}
