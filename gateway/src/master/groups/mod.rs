//! Control groups: one for each tenant, a leaf in it for each generation, one for the roles, one for ourselves.
//!
//! ```text
//! landlord.service          delegated to us
//! ├─ master, or main        ourselves, and what an older landlord has started
//! ├─ roles                  proxies, log, acme
//! └─ t-NAME                 the limits of tenant NAME
//!    └─ gN                  all processes of its generation N
//! ```
//!
//! Where nothing is delegated there are none: limits of processes (setrlimit(2)) do what they can, and what belongs to a
//! generation is found in `/proc`.

mod limits;
mod pressure;
mod tree;

use std::{collections::HashSet, io, os::fd::OwnedFd};

use tokio::sync::mpsc;

use super::event::Event;
use crate::{
    machine::Now,
    model::{GenerationId, Limits, Tenant, TenantName},
    sys::{
        self,
        cgroup::{GroupError, Watch},
        process::Exit,
    },
    wire::ProcessLimits,
};
pub(super) use tree::TENANT;
use tree::{ROLES, Tree, end, leaf, missing};

/// What the kernel is to end before anything of the machine's own (`oom_score_adj`).
const WORKERS_FIRST: u32 = 300;

/// The groups of this house; a sentence instead where there are none.
pub(super) struct Groups {
    tree: Result<Tree, String>,
    /// Bytes that this machine has.
    memory: u64,
}

impl Groups {
    /// Takes what is delegated to us. Nobody is limited yet.
    pub(super) fn open() -> Self {
        let memory = sys::machine::memory().unwrap_or(u64::MAX);
        let tree = sys::cgroup::settle().map(|(unit, controllers)| Tree::new(unit, controllers));
        let tree = tree.map_err(|error| {
            if !matches!(error, GroupError::NoUnit) {
                tracing::warn!(%error, "no control groups: tenants share what the unit has");
            }
            let closed = matches!(error, GroupError::Closed(..));
            // A program that followed another in place has that one's view of the file system.
            let advice = if closed { ": `systemctl restart landlord` takes over a changed unit" } else { "" };
            format!("{error}{advice}")
        });
        Self { tree, memory }
    }

    /// Tells the loop what the kernel tells of them.
    pub(super) fn listen(&self, events: mpsc::UnboundedSender<Event>) {
        let Some(alarm) = self.tree.as_ref().ok().and_then(|tree| tree.alarm.clone()) else { return };
        tokio::task::spawn_local(async move {
            if let Err(error) = alarm.tell(|watch| events.send(Event::Pressed(watch)).is_ok()).await {
                tracing::error!(%error, "what the kernel ends for want of memory is not told any more");
            }
        });
    }

    /// How tenants are kept within their limits here.
    ///
    /// # Errors
    /// They are not, or not within all of them: why, and what to do.
    pub(super) fn wall(&self) -> Result<String, String> {
        let tree = self
            .tree
            .as_ref()
            .map_err(|why| format!("{why}. Only each process by itself is limited, in its memory"))?;
        match missing(tree.controllers) {
            None => Ok("memory, processor and processes of each are limited in a control group of its own".into()),
            Some(missing) => Err(format!("cgroup v2 does not divide {missing} on this machine")),
        }
    }

    /// What a process is limited by itself, because no group does it: memory, and processes where the user is the tenant's
    /// alone (`users` counts them wherever they are).
    pub(super) fn process_limits(&self, spec: &Tenant, identity: Option<(u32, u32)>) -> ProcessLimits {
        let divided = self.tree.as_ref().map(|tree| tree.controllers).unwrap_or_default();
        let alone = identity.is_some() && spec.user.is_none();
        ProcessLimits {
            memory: spec.limits.memory.filter(|_| !divided.memory),
            processes: spec.limits.processes.filter(|_| !divided.pids && alone),
            nice: spec.limits.nice,
            oom_score_adj: WORKERS_FIRST,
        }
    }

    /// A generation's leaf, made, with the tenant's limits written anew: what a process writes "0" to in order to enter it.
    /// `None`: there are no groups.
    ///
    /// # Errors
    /// A sentence for a person: the leaf cannot be made. A limit that the kernel does not take is told, and is no error.
    pub(super) fn enter(&mut self, spec: &Tenant, generation: GenerationId) -> Result<Option<OwnedFd>, String> {
        let Ok(tree) = &mut self.tree else { return Ok(None) };
        let group = tree.tenant(&spec.name);
        let leaf = group.child(&leaf(generation));
        let failed = |error: io::Error| format!("its control group {}: {error}", leaf.path().display());
        group.make().map_err(failed)?;
        limits::write(&group, &spec.limits, self.memory);
        tree.watch(&spec.name);
        leaf.make().map_err(failed)?;
        leaf.entrance().map(Some).map_err(failed)
    }

    /// Limits that were changed hold at once, for who lives there.
    pub(super) fn limit(&mut self, spec: &Tenant) {
        let Ok(tree) = &mut self.tree else { return };
        let group = tree.tenant(&spec.name);
        if group.exists() {
            limits::write(&group, &spec.limits, self.memory);
            tree.watch(&spec.name);
        }
    }

    /// A role is in the roles' group from now on.
    pub(super) fn take_in(&self, role: u32) {
        let Ok(tree) = &self.tree else { return };
        match tree.unit.child(ROLES).enter(role) {
            // One that ended at once is told by its end.
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                tracing::warn!(role, %error, "a role cannot be put into its control group");
            }
            _ => {}
        }
    }

    /// Ends everybody in a generation's leaf. `None`: it has none.
    pub(super) fn kill(&self, tenant: &TenantName, generation: GenerationId) -> Option<io::Result<bool>> {
        let tree = self.tree.as_ref().ok()?;
        match tree.tenant(tenant).child(&leaf(generation)).kill() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            result => Some(result),
        }
    }

    /// Whether a process lives in a generation's leaf: not yet, where it was just started, and never, where an older landlord has
    /// started it.
    pub(super) fn holds(&self, tenant: &TenantName, generation: GenerationId, pid: u32) -> bool {
        let Ok(tree) = &self.tree else { return false };
        tree.tenant(tenant).child(&leaf(generation)).processes().is_ok_and(|all| all.contains(&pid))
    }

    /// A generation is closed: its leaf goes.
    pub(super) fn close(&self, tenant: &TenantName, generation: GenerationId) {
        let Ok(tree) = &self.tree else { return };
        let leaf = tree.tenant(tenant).child(&leaf(generation));
        if let Err(error) = leaf.remove() {
            tracing::debug!(%tenant, generation = generation.0, %error, "its control group stays for now");
        }
    }

    /// The tenant is gone.
    pub(super) fn forget(&mut self, tenant: &TenantName) {
        if let Ok(tree) = &mut self.tree {
            tree.remove(tenant.as_str());
        }
    }

    /// Ends whoever lives in a leaf that is not `kept`, and removes what is empty then. Gives where the others live, below the
    /// unit's group.
    pub(super) fn clear(&mut self, kept: &HashSet<(TenantName, GenerationId)>) -> HashSet<String> {
        let Ok(tree) = &mut self.tree else { return HashSet::new() };
        let kept: HashSet<_> =
            kept.iter().map(|(name, generation)| (format!("{TENANT}{name}"), leaf(*generation))).collect();
        for tenant in tree.unit.children().iter().filter(|name| name.starts_with(TENANT)) {
            let group = tree.unit.child(tenant);
            for name in group.children() {
                if !kept.contains(&(tenant.clone(), name.clone())) {
                    end(&group.child(&name));
                }
            }
            if !kept.iter().any(|(of, _)| of == tenant) {
                tree.remove(&tenant[TENANT.len()..]);
            }
        }
        kept.into_iter().map(|(tenant, leaf)| format!("{tenant}/{leaf}")).collect()
    }

    /// Why a process of a tenant has ended so, where the kernel ended it for want of memory. Asked once for each end.
    pub(super) fn out_of_memory(&mut self, name: &TenantName, limits: &Limits, exit: Exit) -> Option<String> {
        let tree = self.tree.as_mut().ok()?;
        // A shell between says it in its exit status.
        let killed = exit.signal == Some(libc::SIGKILL) || exit.code == Some(128 + libc::SIGKILL);
        let grown = killed && tree.pressure.killed(name, &tree.unit.child(&format!("{TENANT}{name}")));
        grown.then(|| format!("out of memory: {}", limits::spoken(limits, self.memory)))
    }

    /// Something was counted; what it was is looked at when it is over.
    pub(super) fn pressed(&mut self, watch: Watch, now: Now) {
        if let Ok(tree) = &mut self.tree {
            tree.pressure.pressed(watch, now);
        }
    }

    /// When it wants to be asked for news.
    pub(super) fn deadline(&self) -> Option<Now> {
        self.tree.as_ref().ok()?.pressure.deadline()
    }

    /// What has become of tenants' processes that are no workers: told in the log.
    pub(super) fn tell<'a>(&mut self, now: Now, limits: impl Fn(&TenantName) -> Option<&'a Limits>) {
        let memory = self.memory;
        let Ok(tree) = &mut self.tree else { return };
        let unit = tree.unit.clone();
        let group = |name: &TenantName| unit.child(&format!("{TENANT}{name}"));
        for (tenant, news) in tree.pressure.news(now, group) {
            let Some(limits) = limits(&tenant) else { continue };
            if news.killed > 0 {
                let (count, limit) = (news.killed, limits::spoken(limits, memory));
                let reason = format!("one of its processes was ended: out of memory: {limit}");
                tracing::warn!(%tenant, event = "oom", count, reason, "worker");
            }
            if news.refused > 0 {
                let (count, most) = (news.refused, limits.processes);
                let reason = "it has as many processes and threads as it may have, and got no more";
                tracing::warn!(%tenant, event = "processes", count, most, reason, "worker");
            }
        }
    }
}
