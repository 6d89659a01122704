//! The counter: a child that counts what is in tenants' folders, and ends.

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::unix::pipe,
    sync::mpsc,
};

use super::super::{
    child::Child,
    event::{Event, Who},
    roles::RoleKind,
};
use crate::{
    machine::Now,
    model::{Gateway, TenantName},
    sys::{
        self,
        spawn::{Program, Spawn},
    },
    wire::{CountOrder, Counted},
};

/// Numbers of its descriptors.
const ORDER_FD: i32 = 3;
const TENANTS_FD: i32 = 4;
const OUT_FD: i32 = 5;
/// Bytes of all that one may say.
const SAYS: u64 = 16 << 20;

/// A counter under way.
#[derive(Debug)]
pub(super) struct Counter {
    pub(super) number: u32,
    pub(super) child: Child,
    /// When it told something last.
    pub(super) heard: Now,
    /// It was killed over its silence.
    pub(super) hung: bool,
}

impl Counter {
    /// Starts the counter of this number. Each of its lines reaches the loop as [`Event::Counted`], and its end as one without.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(
        number: u32,
        names: Vec<TenantName>,
        (gateway, house): (&Gateway, &str),
        events: &mpsc::UnboundedSender<Event>,
        now: Now,
    ) -> std::io::Result<Self> {
        let order = sys::memfd::seal("order", &serde_json::to_vec(&CountOrder { tenants: names })?)?;
        let tenants = std::fs::File::open(gateway.state.join("tenants"))?;
        let (read, write) = sys::spawn::pipe()?;
        let mut args: Vec<std::ffi::OsString> = vec!["count".into()];
        for (name, number) in [("--order", ORDER_FD), ("--tenants", TENANTS_FD), ("--out", OUT_FD)] {
            args.extend([name.into(), number.to_string().into()]);
        }
        // Like the log role it has to do with disks alone, and neither may touch what the other has in memory.
        if let Some((uid, gid)) = RoleKind::Log.identity() {
            args.extend(["--uid".into(), uid.to_string().into(), "--gid".into(), gid.to_string().into()]);
        }
        let mark = house.split_once('=').map(|(name, value)| (name.into(), value.into()));
        let child = sys::spawn::spawn(Spawn {
            program: Program::ThisBinary,
            args,
            env: mark.into_iter().collect(),
            fds: vec![(order, ORDER_FD), (tenants.into(), TENANTS_FD), (write, OUT_FD)],
            stdin_null: true,
            stdout: None,
            stderr: None,
            dir: None,
            die_with_parent: true,
        })?;
        // Its end is seen by the pipe's, after all that it had to say.
        let child = Child::watch(child, Who::Nobody, 0, None, events.clone())?;
        let lines = BufReader::new(pipe::Receiver::from_owned_fd(read)?.take(SAYS)).split(b'\n');
        tokio::task::spawn_local(hear(number, lines, events.clone()));
        Ok(Self { number, child, heard: now, hung: false })
    }
}

async fn hear(
    number: u32,
    mut lines: tokio::io::Split<BufReader<tokio::io::Take<pipe::Receiver>>>,
    events: mpsc::UnboundedSender<Event>,
) {
    // A line that is none of ours ends it: what is still to be said is counted another time.
    while let Ok(Some(line)) = lines.next_segment().await
        && let Ok(counted) = serde_json::from_slice::<Counted>(&line)
    {
        let _ = events.send(Event::Counted(number, Some(counted)));
    }
    let _ = events.send(Event::Counted(number, None));
}
