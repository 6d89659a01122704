//! Certificates from an authority, the master's side: what `machine::issuance` decides is carried out here. The acme role asks,
//! the papers remember, the chest keeps what was issued, the proxies serve it.

mod answers;
mod held;
mod jobs;
mod orders;
mod papers;
mod renewals;
mod report;
mod role;
mod secrets;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
mod trial;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use answers::Board;
use held::{Held, certificate_set, facts};
use jobs::Jobs;
use orders::Unkept;
use papers::Papers;
pub(super) use report::missing;
use trial::Trial;

use super::{
    certificates::{Chest, Loaded},
    control::Replies,
    house::{House, role_settings},
    roles::{Acme, Post, Role},
};
use crate::{
    machine::{
        Now,
        issuance::{Event, Facts, Issuance, Memory},
        worker::{Event as Fact, Phase, Worker},
    },
    model::{Gateway, Subject, TlsProvider},
    wire::AcmeSettings,
};

/// A clock that was set is noticed within this.
const LOOK: Duration = Duration::from_secs(60);
/// Between two looks at the least.
const BREATH: Duration = Duration::from_millis(20);
/// A record that could not be removed is tried again after this.
const CLEAN: Duration = Duration::from_secs(3600);
/// What could not be written is tried again after this.
const AGAIN: Duration = Duration::from_secs(10);
/// Between two tellings of the certificates, while many are issued.
const TELLING: Duration = Duration::from_millis(200);
/// Two clocks that differ by more than this from what they differed by before: one was set.
const JUMP: i64 = 2_000;

/// All that the master knows and owns of it. There only with `[tls] provider = "acme"`.
pub(super) struct Issuing {
    pub(super) role: Acme,
    /// What the role is told; `None`: a secret is missing, and nothing is asked.
    settings: Option<AcmeSettings>,
    /// It takes work.
    ready: bool,
    machine: Issuance,
    papers: Papers,
    chest: Chest,
    /// What is served.
    held: BTreeMap<Subject, Held>,
    wanted: BTreeSet<Subject>,
    jobs: Jobs,
    board: Board,
    unkept: Unkept,
    trial: Option<Trial>,
    /// Operators who wait for a renewal.
    askers: BTreeMap<Subject, Vec<Replies>>,
    /// Operators who are answered with the next telling: the new certificate is served then.
    served: Vec<(Replies, String)>,
    /// When the proxies were told certificates last.
    told: Option<Now>,
    /// When the machine was last told that time has passed.
    looked: Now,
    /// When what earlier orders have left was last tried to be removed.
    cleaned: Now,
    /// Milliseconds between the wall clock and the machine's own.
    offset: Option<i64>,
}

impl Issuing {
    /// With what an earlier life has written down. Nothing is asked yet.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    fn open(gateway: &Gateway, seed: u64, now: Now) -> std::io::Result<Self> {
        let (papers, ledger) = Papers::open(gateway.state.join("acme"))?;
        let mut machine = Issuance::new(seed);
        if let Some(ledger) = ledger {
            machine.recall_ledger(ledger);
        }
        for (subject, memory) in papers.memories() {
            // A life may have ended between the two writes; and another directory knows nothing of this one's order.
            let placed = papers.order(subject, &gateway.acme.directory).is_some_and(|order| order.url.is_some());
            machine.recall(subject.clone(), Memory { placed, ..memory.clone() });
        }
        Ok(Self {
            role: Role::new(Post::Acme, Worker::new(role_settings())),
            settings: None,
            ready: false,
            machine,
            papers,
            chest: Chest::open(&gateway.state.join("certs")),
            held: BTreeMap::new(),
            wanted: BTreeSet::new(),
            jobs: Jobs::default(),
            // Proxies may know tellings of an earlier life, of which there were fewer than milliseconds.
            board: Board::new(u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()),
            unkept: Unkept::default(),
            trial: None,
            askers: BTreeMap::new(),
            served: Vec::new(),
            told: None,
            looked: now,
            cleaned: now,
            offset: None,
        })
    }

    /// When something must be done although nothing happens.
    fn deadline(&self, now: Now) -> Now {
        let machine = self.machine.deadline().map(|at| {
            let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
            // Whatever the machine says, it is not told more often than this.
            (now + left).max(self.looked + BREATH)
        });
        let unkept = (!self.unkept.is_empty()).then(|| self.unkept.tried + AGAIN);
        let trial = self.trial.as_ref().and_then(Trial::deadline);
        [machine, unkept, trial].into_iter().flatten().fold(self.looked + LOOK, Now::min)
    }

    /// What lies on disk for a subject that was not asked about before.
    fn load(&mut self, subject: &Subject, directory: &str) -> Event {
        let mut ended = false;
        let found = match self.chest.load(subject) {
            Loaded::Good { certificate, read } => {
                // Its order had ended well, and its end was not written down.
                let order = self.papers.order(subject, directory);
                ended = order.is_some_and(|order| order.key_pem.trim() == certificate.key_pem.trim());
                if ended {
                    self.papers.end_well(subject);
                }
                let facts = facts(&read);
                match Held::new(&certificate, read) {
                    Ok(held) => {
                        self.held.insert(subject.clone(), held);
                        Some(facts)
                    }
                    Err(error) => {
                        tracing::error!(host = %subject, %error, "its certificate cannot be told");
                        None
                    }
                }
            }
            Loaded::Missing | Loaded::PutAside(_) => None,
        };
        match found {
            Some(facts) if ended => Event::Issued(subject.clone(), facts),
            found => self.have(subject, found, directory),
        }
    }

    /// A certificate of another directory is served, and is none to the machine: this one is asked for its own. Whoever went
    /// from a staging environment to the real one has certificates that nobody trusts.
    fn have(&self, subject: &Subject, facts: Option<Facts>, directory: &str) -> Event {
        let ours = facts.filter(|_| !self.papers.is_of_another(subject, directory));
        Event::Have(subject.clone(), ours)
    }
}

impl House {
    /// The acme role, and all that belongs to it, as the settings and their secrets are now: started, replaced or stopped.
    pub(super) fn suit_acme(&mut self) {
        if self.gateway.tls != TlsProvider::Acme {
            return self.stop_acme();
        }
        if self.issuing.is_none() {
            match Issuing::open(&self.gateway, seed(&self.mark), self.now()) {
                Ok(issuing) => {
                    self.issuing = Some(issuing);
                    self.uncertified = true;
                }
                Err(error) => {
                    let folder = self.gateway.state.join("acme");
                    return self.note_secrets(Err(format!("{}: {error}", folder.display())));
                }
            }
        }
        let gathered = secrets::gather(&self.gateway);
        let Some(issuing) = &mut self.issuing else { return };
        let phase = issuing.role.worker.phase();
        match gathered {
            Ok(settings) => {
                let same = issuing.settings.as_ref() == Some(&settings);
                issuing.settings = Some(settings);
                if !same && phase != Phase::Stopped {
                    tracing::info!("the acme role is replaced: what it was told has changed");
                    self.role_fact(Post::Acme, Fact::Stop);
                    // Nothing is sent any more to one that ends: an order that never was would count.
                    self.leave_acme();
                }
                if !same || phase == Phase::Stopped {
                    self.role_fact(Post::Acme, Fact::Start);
                }
                self.note_secrets(Ok(()));
            }
            Err(sentence) => {
                issuing.settings = None;
                self.note_secrets(Err(sentence));
                if phase != Phase::Stopped {
                    self.role_fact(Post::Acme, Fact::Stop);
                    self.leave_acme();
                }
            }
        }
    }

    /// Certificates are from elsewhere now: the role ends, and what it had under way with it.
    fn stop_acme(&mut self) {
        let Some(issuing) = &mut self.issuing else { return };
        issuing.settings = None;
        for (_, askers) in std::mem::take(&mut issuing.askers) {
            askers.iter().for_each(|asker| asker.done(false, "certificates are from elsewhere now"));
        }
        if issuing.role.worker.phase() != Phase::Stopped {
            self.role_fact(Post::Acme, Fact::Stop);
            return self.leave_acme();
        }
        issuing.board.clear();
        self.tell_answers();
        self.issuing = None;
        self.uncertified = true;
        self.note_secrets(Ok(()));
    }

    /// The role has ended because it was told to.
    pub(super) fn on_acme_stopped(&mut self) {
        self.untold |= self.notices.remove(Post::Acme.kind().verb()).is_some();
        if self.gateway.tls != TlsProvider::Acme {
            self.stop_acme();
        }
    }

    fn note_secrets(&mut self, result: Result<(), String>) {
        match result {
            Ok(()) => self.untold |= self.notices.remove("acme-settings").is_some(),
            Err(sentence) => {
                let sentence = format!("no certificate is ordered or renewed: {sentence}");
                if self.notices.insert("acme-settings", sentence.clone()).as_ref() != Some(&sentence) {
                    tracing::error!("{sentence}");
                }
                self.untold = true;
            }
        }
    }

    /// An operator has changed something, or says so.
    pub(super) fn acme_changed(&mut self, before: &str) {
        self.suit_acme();
        let directory = self.gateway.acme.directory.clone();
        if directory != before {
            self.change_directory(&directory);
        }
        self.tell_issuance(Event::Changed);
    }

    /// What another directory has issued is none of this one's, and the other way round.
    fn change_directory(&mut self, directory: &str) {
        let Some(issuing) = &self.issuing else { return };
        let held = issuing.held.iter().map(|(subject, held)| (subject, facts(&held.read)));
        let news: Vec<Event> = held.map(|(subject, facts)| issuing.have(subject, Some(facts), directory)).collect();
        for event in news {
            self.tell_issuance(event);
        }
    }

    /// The certificates that the hosts of now need, where an authority issues them.
    pub(super) fn want_certificates_of_now(&mut self) {
        if !self.farewell.has_begun() && (self.unpublished || self.uncertified) {
            self.want_certificates();
        }
    }

    /// As they are now; what lies on disk for those that are new is read.
    pub(super) fn want_certificates(&mut self) {
        let Some(issuing) = &mut self.issuing else { return };
        let zone = &self.gateway.zone;
        let present = self.seats.values().filter(|seat| !seat.removed);
        let hosts = present.flat_map(|seat| &seat.spec.hosts).map(|host| Subject::of(host, zone));
        let wanted: BTreeSet<Subject> = std::iter::once(Subject::Zone(zone.clone())).chain(hosts).collect();
        if wanted == issuing.wanted {
            return;
        }
        let new: Vec<Subject> = wanted.difference(&issuing.wanted).cloned().collect();
        let unread = new.iter().filter(|subject| !issuing.held.contains_key(*subject)).cloned().collect::<Vec<_>>();
        let news: Vec<Event> =
            unread.iter().map(|subject| issuing.load(subject, &self.gateway.acme.directory)).collect();
        issuing.wanted.clone_from(&wanted);
        for event in news {
            self.tell_issuance(event);
        }
        self.tell_issuance(Event::Wanted(wanted));
    }

    /// Until something of this must be done although nothing happens.
    pub(super) fn issuing_deadline(&self) -> Option<Now> {
        let issuing = self.issuing.as_ref()?;
        let now = self.now();
        let telling = issuing.told.map(|told| told + TELLING).filter(|at| self.uncertified && *at > now);
        Some(telling.into_iter().fold(issuing.deadline(now), Now::min))
    }

    /// Time has passed.
    pub(super) fn on_issuing_time(&mut self) {
        let now = self.now();
        let Some(issuing) = &mut self.issuing else { return };
        let wall = Timestamp::now();
        let offset = wall.as_millisecond() - i64::try_from(now.0.as_millis()).unwrap_or_default();
        let jump = issuing.offset.replace(offset).map_or(0, |before| offset - before);
        if jump.abs() > JUMP {
            tracing::warn!(jump = jump / 1000, "clock");
        }
        let due = issuing.machine.deadline().is_some_and(|at| at <= wall);
        if due || jump.abs() > JUMP || now.since(issuing.looked) >= LOOK {
            issuing.looked = now;
            self.tell_issuance(Event::Timer);
        }
        if self.issuing.as_ref().is_some_and(|issuing| now.since(issuing.cleaned) >= CLEAN) {
            self.clean();
        }
        self.keep_again();
        self.on_trial_time();
    }

    /// Whether the certificates may be told now; while many are issued, not each by itself.
    pub(super) fn may_certify(&self) -> bool {
        let told = self.issuing.as_ref().and_then(|issuing| issuing.told);
        told.is_none_or(|told| self.now().since(told) >= TELLING)
    }

    /// Hosts are new: their certificates do not wait for others that are being issued.
    pub(super) fn certify_at_once(&mut self) {
        self.uncertified = true;
        if let Some(issuing) = &mut self.issuing {
            issuing.told = None;
        }
    }

    /// All that is held, as the proxies are told.
    pub(super) fn issued(&self) -> Option<Vec<u8>> {
        let issuing = self.issuing.as_ref().filter(|_| self.gateway.tls == TlsProvider::Acme)?;
        // What only ends what is in flight is served to its end, too.
        let hosts = self.seats.values().flat_map(|seat| &seat.spec.hosts);
        Some(certificate_set(hosts, &self.gateway.zone, &issuing.held).into_bytes())
    }

    /// The proxies were told the certificates: whoever waited for a new one has it.
    pub(super) fn certified(&mut self) {
        let now = self.now();
        if let Some(issuing) = &mut self.issuing {
            issuing.told = Some(now);
            for (asker, message) in issuing.served.drain(..) {
                asker.done(true, message);
            }
        }
    }
}

/// Of the jitter: FNV-1a.
fn seed(mark: &str) -> u64 {
    mark.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
