//! Becoming another program while it runs: the new one looks at a copy of what it would go on from; if that will do, this
//! process executes it in place, and it resumes as after a crash. Same pid, same children, same sockets.

use std::{
    collections::BTreeMap,
    fs::File,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use super::{child::Child, control::Replies, event::Who, house::House, preflight, roles::Post, vault};
use crate::{
    machine::{Now, worker},
    sys::{
        self,
        process::Exit,
        spawn::{Program, Spawn},
    },
};

/// What the new program is given to look at everything.
const PATIENCE: Duration = Duration::from_secs(10);
/// What this program was told just before it becomes another one arrives within this, through pipes of its own.
const LAST_SIGNALS: Duration = Duration::from_millis(2);
/// Operators who wait for something are answered first, if that does not take longer.
const LAST_ANSWERS: Duration = Duration::from_secs(30);
/// A refusal is a sentence or two.
const SENTENCE: usize = 64 << 10;

/// Another program that is to follow this one.
pub(super) struct Becoming {
    program: Arc<File>,
    asker: Option<Replies>,
    stage: Stage,
    deadline: Now,
}

enum Stage {
    /// It looks.
    Preflight(Child),
    /// It will do; what is better ended here ends first.
    Waiting,
    /// All has ended. No signal is let in any more: what came before has one more turn of the loop to be heard in.
    Still {
        /// Nobody else waited for an answer.
        alone: bool,
    },
}

/// What the program before has left for this one, beside all that a crash would leave.
pub(super) struct Inheritance {
    previous: File,
    asker: Option<Replies>,
    /// Why the program that was to follow that one could not.
    refusal: Option<String>,
}

impl House {
    /// The program of the file that this one was started from, as it is now, or of an open file, is to be the one that runs.
    /// The same one again replaces the proxy only. No asker: a signal asked.
    pub(super) fn upgrade(&mut self, program: Option<OwnedFd>, asker: Option<Replies>) {
        self.untold |= self.notices.remove("program").is_some();
        let program = match program.map(File::from).or_else(sys::spawn::newer_binary) {
            None => return self.replace_proxy(asker),
            Some(program) => program,
        };
        match sys::spawn::is_this_binary(program.as_fd()) {
            Ok(true) => self.replace_proxy(asker),
            Ok(false) if self.farewell.has_begun() => self.refuse(asker, "landlord is stopping"),
            Ok(false) if self.becoming.is_some() => self.refuse(asker, "another upgrade is under way"),
            Ok(false) => self.look_before_it_leaps(program, asker),
            Err(error) => self.refuse(asker, &format!("the offered program cannot be looked at: {error}")),
        }
    }

    fn refuse(&mut self, asker: Option<Replies>, reason: &str) {
        tracing::error!(reason, "landlord stays the program that it was");
        match asker {
            Some(asker) => asker.done(false, format!("nothing has changed: {reason}")),
            // `systemctl reload` cannot fail: what it did not do is told by both kinds of status.
            None => {
                let sentence = format!("the reload was no upgrade, the program that ran runs on: {reason}");
                self.notices.insert("program", sentence);
                self.untold = true;
                self.end_reload();
            }
        }
    }

    /// Whatever was to follow this program does not any more. A house that closes closes as the program that it is: the next
    /// one would know nothing of the farewell.
    pub(super) fn stay(&mut self, reason: &str) {
        let Some(Becoming { asker, stage, .. }) = self.becoming.take() else { return };
        match &stage {
            // Its end is told when it is reaped.
            Stage::Preflight(child) => child.signal(libc::SIGKILL),
            Stage::Waiting => {}
            Stage::Still { .. } => listen_again(),
        }
        self.refuse(asker, reason);
    }

    fn look_before_it_leaps(&mut self, program: File, asker: Option<Replies>) {
        self.keep_house();
        let program = Arc::new(program);
        match self.preflight(program.clone()) {
            Ok(child) => {
                if let Some(asker) = &asker {
                    asker.progress("the new program looks at the state");
                }
                let deadline = self.now() + PATIENCE;
                self.becoming = Some(Becoming { program, asker, stage: Stage::Preflight(child), deadline });
            }
            Err(error) => self.refuse(asker, &format!("the offered program cannot be started: {error}")),
        }
    }

    fn preflight(&mut self, program: Arc<File>) -> std::io::Result<Child> {
        let settings = self.sealed_settings()?;
        let (report, theirs) = sys::spawn::pipe()?;
        let child = sys::spawn::spawn(Spawn {
            program: Program::Opened(program),
            args: ["preflight", "--settings", "3"].map(Into::into).to_vec(),
            env: Vec::new(),
            fds: vec![(settings, 3)],
            stdin_null: true,
            stdout: Some(theirs.try_clone()?),
            stderr: Some(theirs),
            dir: None,
            die_with_parent: true,
        })?;
        // One that was given up may end while the next one looks.
        let attempt = child.pid;
        Child::watch(child, Who::Preflight, attempt, Some(report), self.events.clone())
    }

    /// The new program has looked, or could not even do that.
    pub(super) fn on_preflight(&mut self, pid: u32, exit: Exit, said: Option<String>) {
        if self.scout().is_some_and(|scout| scout.pid != pid) {
            return;
        }
        preflight::clear(&self.gateway);
        let deadline = self.now() + LAST_ANSWERS;
        let Some(becoming) = &mut self.becoming else { return };
        if !matches!(becoming.stage, Stage::Preflight(_)) {
            return;
        }
        let said = said.as_deref().map(str::trim).unwrap_or_default();
        if exit.success() && said == preflight::GO {
            (becoming.stage, becoming.deadline) = (Stage::Waiting, deadline);
            if let Some(asker) = &becoming.asker {
                asker.progress("the new program can go on from here: what is under way ends first");
            }
            return;
        }
        let reason = match said {
            _ if exit.success() => "the offered program is no landlord".to_owned(),
            "" => format!("the new program cannot go on from here: {exit}"),
            said => format!("the new program cannot go on from here: {said}"),
        };
        if let Some(Becoming { asker, .. }) = self.becoming.take() {
            self.refuse(asker, &reason);
        }
    }

    /// When the new program is called late, or those who are waited for.
    pub(super) fn becoming_deadline(&self) -> Option<Now> {
        self.becoming.as_ref().map(|becoming| becoming.deadline)
    }

    /// The process of the new program that looks.
    pub(super) fn scout(&self) -> Option<&Child> {
        match &self.becoming.as_ref()?.stage {
            Stage::Preflight(child) => Some(child),
            Stage::Waiting | Stage::Still { .. } => None,
        }
    }

    /// Takes the step that is due, at the end of a round, when all that was said is written down.
    pub(super) fn proceed_with_becoming(&mut self) {
        let now = self.now();
        let Some(becoming) = &mut self.becoming else { return };
        let late = becoming.deadline <= now;
        match &becoming.stage {
            Stage::Preflight(_) if late => {
                self.stay(&format!("the new program has said nothing for {} s", PATIENCE.as_secs()));
            }
            Stage::Preflight(_) => {}
            stage @ (Stage::Waiting | Stage::Still { .. }) => {
                let still = matches!(stage, Stage::Still { .. });
                let long_enough = if let Stage::Still { alone } = stage { !alone } else { late };
                let leases = || self.seats.values().flat_map(|seat| seat.leases.values());
                // Half a migration is worse than a late upgrade.
                let migrating = leases().any(|lease| lease.task.is_some());
                let asking = self.clients.count() > self.watchers.len() + usize::from(becoming.asker.is_some());
                // The units of tenants take what we order as an operator's word, unless we know that it was ours.
                let asking = asking || self.units.child().is_some();
                let ended = self.succession.is_resting() && !migrating && (long_enough || !asking);
                match (ended, still) {
                    (true, true) if late => self.leap(),
                    (true, true) => {}
                    (true, false) => self.keep_still(!asking),
                    (false, true) => self.go_on(),
                    // Looked at again with every event; this only keeps the loop from spinning.
                    (false, false) if late => self.wait_on(LAST_ANSWERS),
                    (false, false) => {}
                }
            }
        }
    }

    fn wait_on(&mut self, longer: Duration) {
        let now = self.now();
        if let Some(becoming) = &mut self.becoming {
            becoming.deadline = now + longer;
        }
    }

    fn keep_still(&mut self, alone: bool) {
        if let Err(error) = sys::signals::block() {
            return self.stay(&format!("signals cannot be held back: {error}"));
        }
        if let Some(becoming) = &mut self.becoming {
            becoming.stage = Stage::Still { alone };
        }
        // Their connections end here; what they asked for does not.
        for seat in self.seats.values_mut() {
            for asker in seat.askers.drain(..).chain(seat.new_askers.drain(..)) {
                asker.done(false, "landlord becomes another program, which goes on with it: see `landlord status`");
            }
        }
        self.dismiss_certificate_askers(
            "landlord becomes another program, which goes on with it: see `landlord certs`",
        );
        self.wait_on(LAST_SIGNALS);
    }

    /// Something is to be ended first after all.
    fn go_on(&mut self) {
        listen_again();
        if let Some(becoming) = &mut self.becoming {
            becoming.stage = Stage::Waiting;
        }
        self.wait_on(LAST_ANSWERS);
    }

    fn leap(&mut self) {
        let Some(Becoming { program, asker, .. }) = self.becoming.take() else { return };
        if let Some(asker) = &asker {
            asker.progress("landlord becomes the new program");
        }
        tracing::info!("becoming another program");
        let error = match sys::spawn::this_binary() {
            Ok(ours) => {
                let mut kept = self.vault.kept();
                kept.insert(vault::PREVIOUS.into(), ours.as_fd());
                if let Some(asker) = &asker {
                    kept.insert(vault::ASKER.into(), asker.client());
                }
                sys::reexec::become_program(&program, handed_over(), &kept)
            }
            Err(error) => error,
        };
        listen_again();
        self.refuse(asker, &format!("the offered program cannot be executed: {error}"));
    }

    /// What is left of the program before.
    pub(super) fn inherit(&mut self) -> Option<Inheritance> {
        let previous = File::from(self.vault.take(vault::PREVIOUS)?);
        self.vault.forget(vault::PREVIOUS);
        let asker = self.vault.take(vault::ASKER).and_then(|client| Replies::resume(client).ok());
        self.vault.forget(vault::ASKER);
        let refusal = self.vault.take(vault::REFUSAL).and_then(|fd| sys::memfd::read(fd, SENTENCE).ok());
        self.vault.forget(vault::REFUSAL);
        let refusal = refusal.map(|text| String::from_utf8_lossy(&text).into_owned());
        Some(Inheritance { previous, asker, refusal })
    }

    /// All goes on; now the roles become the new program, too. Or the new one could not, and all is as it was.
    pub(super) fn conclude(&mut self, inheritance: Inheritance) {
        let Inheritance { previous, asker, refusal } = inheritance;
        drop(previous);
        match refusal {
            Some(reason) => self.refuse(asker, &reason),
            None => {
                tracing::info!(version = env!("CARGO_PKG_VERSION"), "another program runs now");
                self.became = true;
                if asker.is_none() {
                    self.begin_reload();
                }
                // What is in the pipes waits there until the next one reads.
                self.role_fact(Post::Log, worker::Event::Stop);
                self.role_fact(Post::Log, worker::Event::Start);
                self.replace_proxy(asker);
            }
        }
    }
}

/// Signals are let in again: this program goes on.
fn listen_again() {
    if let Err(error) = sys::signals::unblock() {
        tracing::error!(%error, "no signal is heard any more");
    }
}

/// What a program that is become is called with; the number of the handover follows.
fn handed_over() -> Vec<std::ffi::OsString> {
    ["run", "--handover"].map(Into::into).to_vec()
}

/// Back to the program before, which says why: this one could not go on. Gives why not even that.
pub(super) fn return_to_previous(mut inherited: BTreeMap<String, OwnedFd>, reason: &str) -> std::io::Error {
    let Some(previous) = inherited.remove(vault::PREVIOUS).map(File::from) else {
        return std::io::Error::other("there is no program before this one");
    };
    let refusal = match sys::memfd::seal("refusal", reason.as_bytes()) {
        Ok(refusal) => refusal,
        Err(error) => return error,
    };
    let mut kept: BTreeMap<_, _> = inherited.iter().map(|(name, fd)| (name.clone(), fd.as_fd())).collect();
    kept.insert(vault::REFUSAL.into(), refusal.as_fd());
    kept.insert(vault::PREVIOUS.into(), previous.as_fd());
    sys::reexec::become_program(&previous, handed_over(), &kept)
}
