//! `landlord env`: an operator's edit of a tenant's `.env` is carried to a process that is the tenant, one at a time for each
//! tenant. What is in the memory files that travel with it, nobody here looks at.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    os::fd::OwnedFd,
    path::PathBuf,
    time::Duration,
};

use tokio::sync::mpsc;

use super::{
    child::Child,
    control::Replies,
    enclosure,
    event::{Event, Who},
    folder::ROOMS,
    house::House,
    plan,
    seat::Seat,
    shim::{self, GROUP_FD, REPORT_FD},
};
use crate::{
    machine::{Now, tenant::State},
    model::{Gateway, TenantName},
    sys::{self, files::Signature, process::Exit},
    wire::{Estate, Job, Plan, ProcessLimits},
};

/// Numbers of the shim's further descriptors.
const EDIT_FD: i32 = 7;
const ANSWER_FD: i32 = 8;
/// A file of at most 1 MiB is written in less, unless somebody stops the process.
const PATIENCE: Duration = Duration::from_secs(30);

/// Edits under way, and those that wait for their turn.
#[derive(Default)]
pub(super) struct Edits {
    running: BTreeMap<TenantName, Edit>,
    waiting: VecDeque<(TenantName, Asked)>,
    /// Done, and to be deployed together with those that wait.
    done: BTreeMap<TenantName, Vec<Replies>>,
    count: u32,
}

struct Edit {
    child: Child,
    /// Told apart from one before that was given up.
    number: u32,
    overdue: Now,
    /// The file as it was.
    before: Option<Signature>,
    replies: Replies,
}

struct Asked {
    edit: OwnedFd,
    answer: OwnedFd,
    replies: Replies,
}

impl Edits {
    /// When the first is to be given up.
    pub(super) fn deadline(&self) -> Option<Now> {
        self.running.values().map(|edit| edit.overdue).min()
    }

    /// Their processes.
    pub(super) fn children(&self) -> impl Iterator<Item = &Child> {
        self.running.values().map(|edit| &edit.child)
    }

    /// The next one of this tenant that somebody still waits for.
    fn next(&mut self, name: &TenantName) -> Option<Asked> {
        self.waiting.retain(|(_, asked)| asked.replies.is_there());
        let at = self.waiting.iter().position(|(waiting, _)| waiting == name)?;
        self.waiting.remove(at).map(|(_, asked)| asked)
    }
}

impl House {
    /// An operator's edit, with the two memory files that belong to it.
    pub(super) fn edit_dotenv(&mut self, name: TenantName, fds: Vec<OwnedFd>, replies: Replies) {
        if self.seats.get(&name).is_none_or(|seat| seat.removed) {
            return replies.done(false, self.unknown(&name));
        }
        let Ok([edit, answer]) = <[OwnedFd; 2]>::try_from(fds) else {
            return replies.done(false, "an edit comes with two memory files: is the client of another version?");
        };
        self.edits.waiting.push_back((name.clone(), Asked { edit, answer, replies }));
        self.begin_edit(&name);
    }

    /// Begins the next edit of this tenant, unless one is under way; with none left, what they changed is deployed.
    fn begin_edit(&mut self, name: &TenantName) {
        while !self.edits.running.contains_key(name) {
            let Some(Asked { edit, answer, replies }) = self.edits.next(name) else { return self.deploy_edits(name) };
            self.edits.count += 1;
            let number = self.edits.count;
            let before = self.dotenv_signature(name);
            let started = match self.seats.get(name) {
                Some(seat) => {
                    // Of a tenant that is not there, nobody's: it has no group.
                    let living = seat.machine.view().generation.filter(|newest| seat.leases.contains_key(newest));
                    let identity = seat.identity.or(self.users.shared);
                    let group = living.map_or(Ok(None), |generation| self.groups.enter(&seat.spec, generation));
                    group.and_then(|group| {
                        start(&self.gateway, &self.events, seat, identity, number, group, [edit, answer])
                    })
                }
                None => Err(self.unknown(name)),
            };
            match started {
                Ok(child) => {
                    let overdue = self.now() + PATIENCE;
                    self.edits.running.insert(name.clone(), Edit { child, number, overdue, before, replies });
                }
                Err(reason) => replies.done(false, reason),
            }
        }
    }

    /// An edit's process has ended.
    pub(super) fn on_edit_exit(&mut self, name: &TenantName, number: u32, exit: Exit, report: Option<String>) {
        if self.edits.running.get(name).is_none_or(|edit| edit.number != number) {
            return;
        }
        let Some(Edit { before, replies, .. }) = self.edits.running.remove(name) else { return };
        if exit.code != Some(0) {
            let reason = report.unwrap_or_else(|| format!("the process that edits its .env ended with {exit}"));
            replies.done(false, reason);
        } else if self.dotenv_signature(name) == before {
            replies.done(true, "");
        } else {
            tracing::info!(tenant = %name, "its .env was edited by an operator");
            self.edits.done.entry(name.clone()).or_default().push(replies);
        }
        self.begin_edit(name);
    }

    /// What edits have changed is a change of `.env` like any other; who made them is answered when it has settled.
    fn deploy_edits(&mut self, name: &TenantName) {
        let Some(askers) = self.edits.done.remove(name) else { return };
        let wished = self.look_at_dotenv(name);
        let Some(seat) = self.seats.get_mut(name) else { return };
        let view = seat.machine.view();
        let at_once = match (&seat.wrong_dotenv, view.state) {
            (Some(wrong), _) => Some((false, format!("its .env is wrong: {wrong}"))),
            (_, State::Stopped | State::Suspended) => {
                Some((true, "it is in force when the tenant is started".to_owned()))
            }
            (_, State::Sleeping) => Some((true, "it is in force when the next visitor wakes the tenant".to_owned())),
            _ if wished || seat.machine.busy() => None,
            // The look at the files was quicker than this, and so was the deploy.
            (_, State::Running) => {
                Some((true, view.generation.map_or_else(String::new, |newest| format!("generation {newest} serves"))))
            }
            _ => Some((false, view.reason)),
        };
        for asker in askers {
            match &at_once {
                Some((ok, message)) => asker.done(*ok, message),
                None if wished => seat.new_askers.push(asker),
                None => seat.askers.push(asker),
            }
        }
    }

    /// Ends what takes too long: somebody has stopped it.
    pub(super) fn end_overdue_edits(&mut self) {
        let now = self.now();
        for edit in self.edits.running.values_mut().filter(|edit| edit.overdue <= now) {
            edit.child.signal(libc::SIGKILL);
            edit.overdue = now + PATIENCE;
        }
    }
}

/// Starts the process that carries an edit out.
fn start(
    gateway: &Gateway,
    events: &mpsc::UnboundedSender<Event>,
    seat: &Seat,
    identity: Option<(u32, u32)>,
    number: u32,
    group: Option<OwnedFd>,
    [edit, answer]: [OwnedFd; 2],
) -> Result<Child, String> {
    let dir = plan::folder(gateway, &seat.spec);
    let plan = Plan {
        argv: Vec::new(),
        path: String::new(),
        dotenv: Some(dir.join(".env")),
        estate: Estate { folders: vec![dir.clone()], closed: false },
        dir,
        rooms: ROOMS.iter().map(PathBuf::from).collect(),
        env: BTreeMap::new(),
        extra: BTreeMap::new(),
        listen_fds: false,
        job: Job::Dotenv { edit: EDIT_FD, answer: ANSWER_FD },
        identity,
        group: group.is_some().then_some(GROUP_FD),
        limits: ProcessLimits::default(),
        sandbox: Some(enclosure::own_folder()),
        report: REPORT_FD,
        die_with_parent: !sys::unit::is_ours(),
    };
    let failed = |error: std::io::Error| format!("its .env cannot be edited: {error}");
    let null = || File::options().write(true).open("/dev/null").map(OwnedFd::from).map_err(failed);
    let mut fds = vec![(edit, EDIT_FD), (answer, ANSWER_FD)];
    fds.extend(group.map(|group| (group, GROUP_FD)));
    // It has nothing to say but to the operator.
    let output = [null()?, null()?];
    shim::start(&plan, fds, output, (Who::Dotenv(seat.spec.name.clone()), number), events)
}
