//! The walls that a tenant's processes are started within, and what they are worth on this machine.

use std::path::{Path, PathBuf};

use super::{plan::Place, storage};
use crate::{
    model::{Gateway, Listen, Tenant},
    sys::{landlock, machine, procfs, seccomp},
    wire::{Wall, Walls},
};

/// What `[sandbox]` asks for, with what only the master knows; `None`: nothing.
pub(super) fn walls(gateway: &Gateway, tenant: &Tenant, place: &Place) -> Option<Walls> {
    let sandbox = &tenant.sandbox;
    let bind = match place {
        Place::Port(port) if tenant.app.listen == Listen::Port => Some(*port),
        _ => None,
    };
    (sandbox.filesystem || sandbox.syscalls).then(|| Walls {
        filesystem: sandbox.filesystem,
        syscalls: sandbox.syscalls,
        code: tenant.app.root.iter().cloned().collect(),
        closed: closed(gateway),
        told: storage::path(&gateway.state, &tenant.name).parent().map(Path::to_path_buf),
        read: sandbox.read.clone(),
        write: sandbox.write.clone(),
        bind,
        egress: sandbox.egress.clone(),
        namespaces: sandbox.namespaces,
    })
}

/// For what landlord itself does in a tenant's folder, as the tenant: whatever the tenant may have besides, this needs none.
pub(super) fn own_folder() -> Walls {
    Walls { filesystem: true, syscalls: true, ..Walls::default() }
}

/// Other tenants' folders and settings: on a laptop they often lie beside the code.
fn closed(gateway: &Gateway) -> Vec<PathBuf> {
    let own: [Option<&Path>; 5] = [
        Some(&gateway.state),
        Some(&gateway.run),
        Some(&gateway.tenants),
        gateway.file.as_deref(),
        gateway.certificates.as_deref(),
    ];
    own.into_iter().flatten().map(Path::to_path_buf).collect()
}

/// `files`: Landlock.
pub(super) fn files() -> Wall {
    let abi = machine::landlock_abi().unwrap_or(0);
    let lacks: Vec<_> = landlock::lacks(abi).map(|(what, kernel)| format!("{what} (Linux {kernel})")).collect();
    let wall = |holds, note: String| Wall { name: "files".into(), holds, note };
    if abi == 0 {
        return wall(
            false,
            "this kernel has no Landlock: files are kept apart by users and modes alone; add landlock to lsm= on its command line".into(),
        );
    }
    let mut note =
        format!("Landlock, version {abi}: each tenant has its own folder, its code and the system's libraries");
    if !lacks.is_empty() {
        note += &format!("; not on this kernel: {}", lacks.join(", "));
    }
    if !may_hide() {
        note += "; the names of other processes can be seen in /proc, because hiding them takes root's rights";
    }
    wall(true, note)
}

/// `syscalls`: seccomp.
pub(super) fn syscalls() -> Wall {
    let holds = seccomp::is_there();
    let note = if holds {
        "seccomp: mounting, tracing, kernel modules, keyrings, new namespaces and the like are refused"
    } else {
        "this kernel has no filters of system calls (CONFIG_SECCOMP_FILTER), or what is around landlord refuses them"
    };
    Wall { name: "syscalls".into(), holds, note: note.into() }
}

fn may_hide() -> bool {
    procfs::hides_others().unwrap_or(false) || procfs::may_hide_others()
}
