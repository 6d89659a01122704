//! What the kernel has to tell about groups, as it happens: a process was killed for want of memory, a fork was refused.

use std::{io, os::fd::AsFd, rc::Rc};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use super::Group;
use crate::sys::readiness::{self, Interest};

/// Files that count what happened; the kernel touches them when it does (`memory.events`, `pids.events`).
const COUNTS: [&str; 2] = ["memory.events", "pids.events"];

/// One of a group's files, as the alarm names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watch(WatchDescriptor);

/// Hears of many groups through one descriptor (inotify(7)).
#[derive(Clone, Debug)]
pub struct Alarm {
    inotify: Rc<Inotify>,
}

impl Alarm {
    /// Hears of nobody yet.
    ///
    /// # Errors
    /// The user's inotify instances or descriptors are used up.
    pub fn new() -> io::Result<Self> {
        Ok(Self { inotify: Rc::new(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?) })
    }

    /// Hears of this group too, until it is removed. Gives the names of what it hears of; none where no controller counts.
    pub fn add(&self, group: &Group) -> Vec<Watch> {
        let add =
            |file: &str| self.inotify.add_watch(&group.path().join(file), AddWatchFlags::IN_MODIFY).ok().map(Watch);
        COUNTS.into_iter().filter_map(add).collect()
    }

    /// Tells of every change, for as long as anybody listens. Needs a tokio runtime.
    ///
    /// # Errors
    /// The descriptor cannot be waited for.
    pub async fn tell(self, tell: impl Fn(Watch) -> bool) -> io::Result<()> {
        let ready = readiness::watch(self.inotify.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
        loop {
            let mut ready = ready.readable().await?;
            match self.inotify.read_events() {
                // Of a group that was removed, the kernel says so; nobody asks for that.
                Ok(events) => {
                    let changes = events.iter().filter(|event| event.mask.contains(AddWatchFlags::IN_MODIFY));
                    for change in changes {
                        if !tell(Watch(change.wd)) {
                            return Ok(());
                        }
                    }
                }
                Err(nix::errno::Errno::EAGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
