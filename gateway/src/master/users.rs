//! Who each tenant is, where landlord is root: a user of its own from `[users]`, an account that its file names, or, where
//! nobody but root can reach its folder, one user for all.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::unistd::{Group, User};

use super::{house::House, roles::RoleKind};
use crate::{
    config,
    model::{Catalog, Gateway, Rejection, Tenant, TenantName, UserRange},
    wire::Wall,
};

/// Nobody, and what is no uid at all in 16 bits.
const NOBODY: std::ops::RangeInclusive<u32> = 65_534..=65_535;

/// Uid and gid.
pub(super) type Identity = (u32, u32);

/// Who holds which uid, by the name of a tenant or of a file.
type Claims = BTreeMap<u32, BTreeSet<String>>;

/// How tenants are told apart in this house.
#[derive(Debug, Default)]
pub(super) struct Users {
    /// Whence each tenant has a user of its own.
    own: Option<UserRange>,
    /// Whom tenants are that have none; without any privilege. `None`: landlord is not root, and everybody is who started it.
    pub(super) shared: Option<Identity>,
    /// The folder above the state folder that others cannot pass.
    closed: Option<PathBuf>,
    /// Somebody was refused: looked at again before any file changes.
    pub(super) refused: bool,
    /// Of the look under way, once it was needed.
    claims: Option<Claims>,
}

impl Users {
    /// As `gateway`, whose state folder is there, and the machine have it.
    pub(super) fn of(gateway: &Gateway, root: bool) -> Self {
        if !root {
            return Self::default();
        }
        let closed = closed_folders(&gateway.state);
        let shared = Some(sole_owner(&closed));
        let own = gateway.users.filter(|_| gateway.users_written || closed.is_empty());
        let closed = closed.into_iter().next().map(|(folder, _)| folder);
        Self { own, shared, closed, refused: false, claims: None }
    }

    /// The users that tenants are, each another; `None`: all are one.
    pub(super) fn range(&self) -> Option<UserRange> {
        self.own
    }

    /// Why tenants that could have users of their own have none, and what to do.
    pub(super) fn notice(&self, gateway: &Gateway) -> Option<String> {
        let who = self.shared_by()?;
        let (None, Some(range), Some(folder)) = (&self.own, gateway.users, &self.closed) else { return None };
        Some(format!(
            "all tenants run as {who}, and not as users of their own ({}-{}), because {} is closed to others: run \
             `chmod o+x` on it, or have `state` in landlord.toml elsewhere, and start landlord again",
            range.first,
            range.last,
            folder.display()
        ))
    }

    fn shared_by(&self) -> Option<String> {
        let (uid, _) = self.shared?;
        Some(if uid == 0 { "root without any privilege".to_owned() } else { format!("uid {uid}") })
    }

    /// What `landlord status` tells of it.
    pub(super) fn wall(&self, gateway: &Gateway) -> Wall {
        let (holds, note) = match (self.own, self.shared) {
            (_, None) => (false, "landlord is not root: every tenant runs as the user who started it".to_owned()),
            (Some(range), _) => match self.out_of_reach() {
                None => (true, format!("each tenant is a user of its own, {} to {}", range.first, range.last)),
                Some(sentence) => (false, sentence),
            },
            (None, Some(_)) => {
                let who = self.shared_by().unwrap_or_default();
                let chosen = || format!("landlord.toml says users = \"none\": all tenants run as {who}");
                (false, self.notice(gateway).unwrap_or_else(chosen))
            }
        };
        Wall { name: "users".into(), holds, note }
    }

    /// Forgets what the look before has found: operators move folders too.
    pub(super) fn look_anew(&mut self, gateway: &Gateway) {
        self.claims = None;
        self.refused = false;
        if self.own.is_some() || gateway.users.is_none() {
            self.closed = closed_folder(&gateway.state);
        }
    }

    fn out_of_reach(&self) -> Option<String> {
        let folder = self.closed.as_deref()?;
        Some(format!(
            "a user of its own cannot reach its folder, because {} is closed to others: run `chmod o+x` on it, or have \
             `state` in landlord.toml elsewhere",
            folder.display()
        ))
    }
}

impl House {
    /// Uid and gid of a tenant; `None`: it has none of its own. A uid of `[users]` is on disk when this returns, before the
    /// first file or process of it is made.
    ///
    /// # Errors
    /// A sentence for a person.
    pub(super) fn identify(&mut self, spec: &Tenant) -> Result<Option<Identity>, String> {
        if self.users.shared.is_none() {
            return Ok(None);
        }
        let name = &spec.name;
        if let Some(account) = &spec.user {
            return self.account(name, account).map(Some);
        }
        let Some(range) = self.users.own else { return Ok(None) };
        if let Some(sentence) = self.users.out_of_reach() {
            return Err(format!("{name}: {sentence}"));
        }
        let uid = match self.records.of(name).uid {
            Some(uid) => uid,
            None => {
                let claims = self.claims();
                let taken = |uid: u32| claims.contains_key(&uid) || is_somebody(uid);
                let full = || format!("{name} gets no uid: all of [users] {}-{} are taken", range.first, range.last);
                let uid = (range.first..=range.last).find(|uid| !taken(*uid)).ok_or_else(full)?;
                let lost = |error: io::Error| format!("{name} gets no uid, because none can be written down: {error}");
                self.records.note_uid(name, uid).map_err(lost)?;
                if let Some(claims) = &mut self.users.claims {
                    claims.entry(uid).or_default().insert(name.to_string());
                }
                uid
            }
        };
        Ok(Some((uid, uid)))
    }

    /// Takes those who cannot be who their files say they are out of `catalog`, with the reason.
    pub(super) fn vet(&mut self, catalog: &mut Catalog) {
        if self.users.shared.is_none() {
            return;
        }
        let own = self.users.own.is_some();
        let asked: Vec<Tenant> = catalog
            .accepted
            .values()
            .filter(|(spec, _)| spec.user.is_some() || own && self.users.closed.is_some())
            .map(|(spec, _)| spec.clone())
            .collect();
        for spec in asked {
            let Err(error) = self.identify(&spec) else { continue };
            self.users.refused = true;
            catalog.accepted.remove(&spec.name);
            let place = config::tenants::place_of(&self.gateway, &spec.name, "user");
            catalog.rejected.push(Rejection { tenant: Some(spec.name), place, error, hint: None });
        }
    }

    /// The account that a tenant's file names.
    fn account(&mut self, name: &TenantName, account: &str) -> Result<Identity, String> {
        let user = match User::from_name(account) {
            Ok(Some(user)) => user,
            Ok(None) => {
                return Err(format!("there is no user {account} on this machine: `useradd --system {account}`"));
            }
            Err(error) => return Err(format!("the user {account} cannot be looked up: {error}")),
        };
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        if uid == 0 || gid == 0 {
            return Err(format!("{account} is root, or in its group: no tenant is"));
        }
        if RoleKind::UIDS.contains(&uid) || NOBODY.contains(&uid) {
            return Err(format!("{account} (uid {uid}) is no tenant's: it is landlord's own, or nobody's"));
        }
        if let Some(folder) = &self.users.closed {
            return Err(format!(
                "{account} cannot reach its folder, because {} is closed to others: run `chmod o+x` on it, or have `state` \
                 in landlord.toml elsewhere",
                folder.display()
            ));
        }
        match self.claims().get(&uid).and_then(|holders| holders.iter().find(|holder| *holder != name.as_str())) {
            Some(other) => Err(format!("{account} (uid {uid}) is the user of {other}: two tenants cannot share one")),
            None => {
                // The next who asks for it in this look is too late.
                if let Some(claims) = &mut self.users.claims {
                    claims.entry(uid).or_default().insert(name.to_string());
                }
                Ok((uid, gid))
            }
        }
    }

    /// Who holds which uid: by a record, by a folder or a copy that lies there, or by a process.
    fn claims(&mut self) -> &Claims {
        if self.users.claims.is_none() {
            let mut claims = Claims::new();
            let mut claim = |uid: u32, who: &str| {
                claims.entry(uid).or_default().insert(who.to_owned());
            };
            for (name, record) in self.records.all() {
                record.uid.into_iter().for_each(|uid| claim(uid, name.as_str()));
            }
            for (uid, name) in owners(&self.gateway.state) {
                claim(uid, &name);
            }
            for (name, seat) in &self.seats {
                let held = seat.leases.values().filter_map(|lease| lease.identity).chain(seat.identity);
                held.for_each(|(uid, _)| claim(uid, name.as_str()));
            }
            RoleKind::UIDS.for_each(|uid| claim(uid, "landlord itself"));
            claims.remove(&0);
            if let Some((uid, _)) = self.users.shared.filter(|_| self.users.own.is_none()) {
                claims.remove(&uid);
            }
            self.users.claims = Some(claims);
        }
        self.users.claims.get_or_insert_default()
    }
}

/// The owners of folders of tenants and of their copies, with the name that each is under. Only root can make or rename
/// anything here, so nobody can hold a uid that is not theirs.
pub(super) fn owners(state: &Path) -> Vec<(u32, String)> {
    let entries = |folder: &Path| -> Vec<(PathBuf, u32, String)> {
        let entry = |entry: std::fs::DirEntry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            Some((entry.path(), entry.metadata().ok()?.uid(), name))
        };
        std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(entry).collect()
    };
    // `NAME.making` is NAME's too.
    let stem = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let mut found: Vec<_> =
        entries(&state.join("tenants")).into_iter().map(|(_, uid, name)| (uid, stem(&name))).collect();
    for (path, uid, name) in entries(&state.join("backups")) {
        found.push((uid, stem(&name)));
        // Landlord up to 0.3 kept each copy as its owner's, in a folder of root's own.
        if uid == 0 {
            found.extend(entries(&path).into_iter().map(|(_, uid, _)| (uid, stem(&name))));
        }
    }
    found
}

/// Whether somebody of this machine has this number, as a user or as a group. Where nobody can tell, somebody may.
fn is_somebody(uid: u32) -> bool {
    !matches!(User::from_uid(uid.into()), Ok(None)) || !matches!(Group::from_gid(uid.into()), Ok(None))
}

/// The first folder above `state`, from the root on, that a user of their own could not pass.
pub fn closed_folder(state: &Path) -> Option<PathBuf> {
    closed_folders(state).into_iter().next().map(|(folder, _)| folder)
}

/// The folders above `state` that others cannot pass, outermost first, with their owners.
fn closed_folders(state: &Path) -> Vec<(PathBuf, Identity)> {
    let state = state.canonicalize().unwrap_or_else(|_| state.to_owned());
    let mut closed: Vec<_> = state
        .ancestors()
        .skip(1)
        .filter_map(|folder| {
            let found = folder.metadata().ok()?;
            (found.mode() & 0o001 == 0).then(|| (folder.to_owned(), (found.uid(), found.gid())))
        })
        .collect();
    closed.reverse();
    closed
}

/// Who can pass them all without a privilege: their one owner. Root else, which can where no folder is closed.
fn sole_owner(closed: &[(PathBuf, Identity)]) -> Identity {
    match closed {
        [(_, owner), rest @ ..] if rest.iter().all(|(_, other)| other.0 == owner.0) => *owner,
        _ => (0, 0),
    }
}

#[cfg(test)]
#[path = "users/tests.rs"]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
