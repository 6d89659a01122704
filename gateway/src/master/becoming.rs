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
            None => self.end_reload(),
        }
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
        Child::watch(child, Who::Preflight, 0, Some(report), self.events.clone())
    }

    /// The new program has looked, or could not even do that.
    pub(super) fn on_preflight(&mut self, exit: Exit, said: Option<String>) {
        preflight::clear(&self.gateway);
        let deadline = self.now() + LAST_ANSWERS;
        let Some(becoming) = &mut self.becoming else { return };
        if !matches!(becoming.stage, Stage::Preflight(_)) {
            return;
        }
        let said = said.as_deref().map(str::trim).unwrap_or_default();
        if exit.success() && said == preflight::GO {
            (becoming.stage, becoming.deadline) = (Stage::Waiting, deadline);
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
            Stage::Waiting => None,
        }
    }

    /// Takes the step that is due, at the end of a round, when all that was said is written down.
    pub(super) fn proceed_with_becoming(&mut self) {
        let now = self.now();
        let Some(becoming) = &mut self.becoming else { return };
        let late = becoming.deadline <= now;
        match &becoming.stage {
            Stage::Preflight(child) if late => {
                // Its end is told when it is reaped.
                child.signal(libc::SIGKILL);
                becoming.deadline = now + PATIENCE;
                let silent = format!("the new program has said nothing for {} s", PATIENCE.as_secs());
                if let Some(Becoming { asker, .. }) = self.becoming.take() {
                    self.refuse(asker, &silent);
                }
            }
            Stage::Preflight(_) => {}
            Stage::Waiting => {
                let leases = || self.seats.values().flat_map(|seat| seat.leases.values());
                // Half a migration is worse than a late upgrade.
                let migrating = leases().any(|lease| lease.task.is_some());
                let asking = self.clients.count() > self.watchers.len() + usize::from(becoming.asker.is_some());
                if self.succession.is_resting() && !migrating && (late || !asking) {
                    self.leap();
                } else if late {
                    // Looked at again with every event; this only keeps the loop from spinning.
                    if let Some(becoming) = &mut self.becoming {
                        becoming.deadline = now + LAST_ANSWERS;
                    }
                }
            }
        }
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
