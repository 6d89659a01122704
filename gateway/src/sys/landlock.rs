//! landlock(7): what this process and all that it will ever start may open, bind, connect to and signal.
//!
//! What the kernel is too old for is left out and the rest holds. stat(2), chmod(2), chown(2) and sockets with a path are not
//! Landlock's affair: those are kept apart by users and modes.

use std::{
    io,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, PathFdError, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};

/// The newest version of the interface whose rights are asked for: signals and abstract sockets are scoped since. Rights of
/// later ones would take from workers what they have today.
const KNOWN: ABI = ABI::V6;

/// What may be done with a file, or with all below a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Read,
    /// Read and execute.
    Run,
    /// Everything but making devices.
    Write,
    /// Read, write, and ask a device.
    Device,
}

/// A path, and what may be done there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Followed where it is a symlink.
    pub path: PathBuf,
    /// What may be done.
    pub access: Access,
    /// Asked for by name: that it cannot be opened is an error.
    pub needed: bool,
}

impl Grant {
    /// Skipped where it is not there, or not ours to open.
    pub fn new(path: impl Into<PathBuf>, access: Access) -> Self {
        Self { path: path.into(), access, needed: false }
    }

    /// An error where it is not there.
    pub fn needed(path: impl Into<PathBuf>, access: Access) -> Self {
        Self { needed: true, ..Self::new(path, access) }
    }
}

/// TCP ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports<'a> {
    /// The only one that may be bound; `None`: none.
    pub bind: Option<u16>,
    /// Those that may be connected to; `None`: all.
    pub connect: Option<&'a [u16]>,
}

/// Why there is no wall.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// What was asked for by name cannot be opened.
    #[error("{}: {error}", path.display())]
    Path {
        /// As it was asked for.
        path: PathBuf,
        /// Of open(2).
        error: io::Error,
    },
    /// The kernel has Landlock and did not take our rules.
    #[error("the kernel takes no rules for files and ports: {0}")]
    Kernel(#[from] RulesetError),
}

/// What does not hold with this version of the interface (0: none at all), and the kernel that it came with.
pub fn lacks(abi: u32) -> impl Iterator<Item = (&'static str, &'static str)> {
    const SINCE: [(u32, &str, &str); 5] = [
        (1, "files and folders", "5.13"),
        (3, "truncating files", "6.2"),
        (4, "TCP ports", "6.7"),
        (5, "asking devices", "6.10"),
        (6, "signals and abstract sockets", "6.12"),
    ];
    SINCE.into_iter().filter(move |(since, ..)| abi < *since).map(|(_, what, kernel)| (what, kernel))
}

/// From now on `grants` are all of the file system, and `ports` all of TCP; signals and abstract sockets reach only what is
/// started from here. For a process with one thread. On an error the process must end.
pub fn restrict(grants: &[Grant], ports: Ports<'_>) -> Result<(), Wrong> {
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(KNOWN))?.handle_access(AccessNet::BindTcp)?;
    if ports.connect.is_some() {
        rules = rules.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut rules = rules.scope(Scope::Signal | Scope::AbstractUnixSocket)?.create()?;
    for grant in grants {
        rules = add(rules, grant)?;
    }
    let bound = ports.bind.map(|port| NetPort::new(port, AccessNet::BindTcp));
    let connected = ports.connect.into_iter().flatten().map(|port| NetPort::new(*port, AccessNet::ConnectTcp));
    for rule in bound.into_iter().chain(connected) {
        rules = rules.add_rule(rule)?;
    }
    rules.restrict_self()?;
    Ok(())
}

fn add(rules: RulesetCreated, grant: &Grant) -> Result<RulesetCreated, Wrong> {
    match PathFd::new(&grant.path) {
        Ok(opened) => Ok(rules.add_rule(PathBeneath::new(opened, rights(grant.access)))?),
        Err(_) if !grant.needed => Ok(rules),
        Err(error) => Err(Wrong::Path { path: grant.path.clone(), error: why(error, &grant.path) }),
    }
}

fn why(error: PathFdError, path: &Path) -> io::Error {
    match error {
        PathFdError::OpenCall { source, .. } => source,
        _ => io::Error::other(path.display().to_string()),
    }
}

/// A right that is for folders only is dropped by the kernel's interface where the path is a file.
fn rights(access: Access) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    match access {
        Access::Read => read,
        Access::Run => read | AccessFs::Execute,
        Access::Write => AccessFs::from_all(KNOWN) & !(AccessFs::MakeChar | AccessFs::MakeBlock),
        Access::Device => read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_kernel_lacks_more() {
        assert_eq!(lacks(0).count(), 5);
        assert_eq!(lacks(1).next(), Some(("truncating files", "6.2")));
        assert_eq!(lacks(5).collect::<Vec<_>>(), [("signals and abstract sockets", "6.12")]);
        assert_eq!(lacks(7).count(), 0);
    }
}
