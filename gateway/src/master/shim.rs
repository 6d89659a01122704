//! The shim: a child that becomes a tenant, and then does what its plan says.

use std::os::fd::OwnedFd;

use tokio::sync::mpsc;

use super::{
    child::Child,
    event::{Event, Who},
};
use crate::{
    sys::{
        self,
        spawn::{Program, Spawn},
    },
    wire::Plan,
};

/// Numbers of its descriptors, as its plan names them: the socket is 3 by the systemd protocol.
pub(super) const SOCKET_FD: i32 = 3;
const PLAN_FD: i32 = 4;
pub(super) const REPORT_FD: i32 = 5;
pub(super) const GROUP_FD: i32 = 6;

/// Starts it, with stdout and stderr, and with what it has besides plan and report. Its end, and its report, reach the loop as
/// [`Event::Exited`] under these words.
///
/// # Errors
/// A sentence for a person.
pub(super) fn start(
    plan: &Plan,
    mut fds: Vec<(OwnedFd, i32)>,
    [stdout, stderr]: [OwnedFd; 2],
    (who, attempt): (Who, u32),
    events: &mpsc::UnboundedSender<Event>,
) -> Result<Child, String> {
    let failed = |what: &str, e: std::io::Error| format!("{what}: {e}");
    let bytes = serde_json::to_vec(plan).map_err(|e| format!("the plan of its start: {e}"))?;
    let sealed = sys::memfd::seal("plan", &bytes).map_err(|e| failed("the plan of its start", e))?;
    let (report, theirs) = sys::spawn::pipe().map_err(|e| failed("a pipe", e))?;
    fds.extend([(sealed, PLAN_FD), (theirs, REPORT_FD)]);
    let child = sys::spawn::spawn(Spawn {
        program: Program::ThisBinary,
        args: vec!["exec".into(), "--plan".into(), PLAN_FD.to_string().into()],
        env: Vec::new(),
        fds,
        stdin_null: true,
        stdout: Some(stdout),
        stderr: Some(stderr),
        dir: None,
        die_with_parent: plan.die_with_parent,
    })
    .map_err(|e| failed("its process cannot be started", e))?;
    Child::watch(child, who, attempt, Some(report), events.clone()).map_err(|e| failed("its process", e))
}
