//! What the master would do, as the one who drives the role.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, atomic},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::{Serialize, de::DeserializeOwned};
use x509_parser::extensions::GeneralName;

use super::{
    super::{MEMFD, client::Http, records::Records},
    pebble::Pebble,
};
use crate::{
    model::{Challenge, Failure, Finding, Host},
    sys::{memfd, packet},
    wire::{AcmeSettings, Answers, FromAcme, Issued, JobId, Keepsake, Link, OrderPlan, PROTOCOL, Record, ToAcme},
};

/// How an order ended.
pub(super) enum End {
    Issued(Issued),
    Failed(Failure),
    Killed,
}

impl End {
    pub(super) fn issued(self) -> Issued {
        match self {
            Self::Issued(issued) => issued,
            Self::Failed(failure) => panic!("{failure:?}"),
            Self::Killed => panic!("killed"),
        }
    }

    pub(super) fn failed(self) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            Self::Issued(_) | Self::Killed => panic!("it did not fail"),
        }
    }
}

/// One custom domain.
pub(super) fn plan(pebble: &Pebble, challenge: Challenge) -> OrderPlan {
    OrderPlan {
        names: vec!["shop.example.com".to_owned()],
        challenges: vec![challenge],
        directory: pebble.directory.clone(),
        account: None,
        key_pem: None,
        order_url: None,
        replaces: None,
        profile: None,
    }
}

/// The names of a chain's first certificate, sorted.
pub(super) fn names(chain: &str) -> Vec<String> {
    let leaf = CertificateDer::pem_slice_iter(chain.as_bytes()).next().unwrap().unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.iter();
    let names: BTreeSet<String> =
        names.map(|name| if let GeneralName::DNSName(name) = name { (*name).to_owned() } else { panic!() }).collect();
    names.into_iter().collect()
}

pub(super) struct Master {
    link: Option<Link<ToAcme, FromAcme>>,
    role: Option<JoinHandle<std::io::Result<()>>>,
    fake: Fake,
    eab: Option<(String, String)>,
    world: super::pebble::World,
    jobs: u64,
    /// What is on disk.
    pub(super) kept: OrderPlan,
    pub(super) kept_records: BTreeSet<Record>,
    pub(super) recorded: usize,
    pub(super) accounts: usize,
    pub(super) forgotten: usize,
    pub(super) steps: Vec<String>,
    pub(super) secrets: Vec<String>,
    pub(super) kill_at_keep: bool,
    pub(super) answers_badly: bool,
    pub(super) cancel_at_step: Option<&'static str>,
}

impl Master {
    pub(super) async fn start(pebble: &Pebble, eab: Option<(String, String)>, fake: Fake) -> Self {
        let mut master = Self {
            link: None,
            role: None,
            fake,
            eab,
            world: pebble.world.clone(),
            jobs: 0,
            kept: plan(pebble, Challenge::Http01),
            kept_records: BTreeSet::new(),
            recorded: 0,
            accounts: 0,
            forgotten: 0,
            steps: Vec::new(),
            secrets: Vec::new(),
            kill_at_keep: false,
            answers_badly: false,
            cancel_at_step: None,
        };
        master.restart(pebble).await;
        master
    }

    /// A new role, after the one before has ended with its link.
    pub(super) async fn restart(&mut self, pebble: &Pebble) {
        self.end();
        let (ours, theirs) = packet::pair().unwrap();
        let fake = self.fake.clone();
        self.role = Some(thread::spawn(move || super::super::run(theirs, move |_| fake.clone())));
        let link = Link::new(ours).unwrap();
        let settings = AcmeSettings {
            zone: "apps.example".parse().unwrap(),
            directory: pebble.directory.clone(),
            contact: vec!["mailto:ops@example.com".to_owned()],
            root_pem: Some(pebble.root.clone()),
            eab: self.eab.clone(),
            dns: None,
            resolvers: Vec::new(),
            addresses: Vec::new(),
            propagation_timeout: Duration::from_secs(60),
        };
        link.send(&ToAcme::Hello { protocol: PROTOCOL }, &[]).await.unwrap();
        link.send(&ToAcme::Configure, &[seal(&settings).as_fd()]).await.unwrap();
        assert_eq!(link.recv().await.unwrap().unwrap().0, FromAcme::Hello { protocol: PROTOCOL });
        assert_eq!(link.recv().await.unwrap().unwrap().0, FromAcme::Ready);
        self.link = Some(link);
    }

    /// `plan` with what is on disk.
    pub(super) fn again(&self, plan: OrderPlan) -> OrderPlan {
        let OrderPlan { account, key_pem, order_url, .. } = self.kept.clone();
        OrderPlan { account, key_pem, order_url, ..plan }
    }

    pub(super) async fn order(&mut self, plan: OrderPlan) -> End {
        self.orders(vec![plan]).await.pop().unwrap()
    }

    /// Several at once.
    pub(super) async fn orders(&mut self, plans: Vec<OrderPlan>) -> Vec<End> {
        let link = self.link.take().unwrap();
        let (wanted, mut ends, mut answers) = (plans.len(), Vec::new(), BTreeMap::new());
        for plan in plans {
            self.jobs += 1;
            link.send(&ToAcme::Order { job: JobId(self.jobs) }, &[seal(&plan).as_fd()]).await.unwrap();
        }
        while ends.len() < wanted {
            let (message, mut fds) = link.recv().await.unwrap().expect("the role has ended");
            match message {
                FromAcme::Keep { job } => {
                    self.keep(opened(fds.pop()));
                    if self.kill_at_keep {
                        return vec![End::Killed];
                    }
                    link.send(&ToAcme::Kept { job }, &[]).await.unwrap();
                }
                FromAcme::Answers { job } => {
                    let one: Answers = opened(fds.pop());
                    self.secrets.extend(one.http.iter().map(|answer| answer.key_authorization.clone()));
                    self.secrets.extend(one.tls.iter().map(|answer| answer.key_pem.clone()));
                    let empty = one.http.is_empty() && one.tls.is_empty();
                    answers.insert(job, if self.answers_badly { Answers::default() } else { one });
                    let mut all = Answers::default();
                    for one in answers.values().cloned() {
                        all.http.extend(one.http);
                        all.tls.extend(one.tls);
                    }
                    self.world.answer(all);
                    if !empty {
                        link.send(&ToAcme::Answering { job }, &[]).await.unwrap();
                    }
                }
                FromAcme::Step { job, line } => {
                    if self.cancel_at_step.is_some_and(|at| line.contains(at)) {
                        link.send(&ToAcme::Cancel { job }, &[]).await.unwrap();
                    }
                    self.steps.push(line);
                }
                FromAcme::Issued { .. } => ends.push(End::Issued(opened(fds.pop()))),
                FromAcme::Failed { failure, .. } => ends.push(End::Failed(failure)),
                other => panic!("{other:?}"),
            }
        }
        self.link = Some(link);
        ends
    }

    fn keep(&mut self, keepsake: Keepsake) {
        match keepsake {
            Keepsake::Account(Some(account)) => {
                self.accounts += 1;
                self.kept.account = Some(account);
            }
            Keepsake::Account(None) => {
                self.forgotten += 1;
                self.kept.account = None;
            }
            Keepsake::Key(key) => self.kept.key_pem = Some(key),
            Keepsake::Order(url) => self.kept.order_url = Some(url),
            Keepsake::Record(record) => {
                self.recorded += 1;
                assert!(self.kept_records.insert(record), "one record twice");
            }
            Keepsake::Removed(record) => assert!(self.kept_records.remove(&record), "no such record"),
        }
    }

    /// Ends our account at the authority, as its owner could from elsewhere.
    pub(super) async fn deactivate(&self, pebble: &Pebble, account: &str) {
        let http = Http::new(Some(&pebble.root)).unwrap().exchange();
        let builder = instant_acme::Account::builder_with_http(Box::new(http));
        let account = builder.from_credentials(serde_json::from_str(account).unwrap()).await.unwrap();
        // Every other nonce is rejected, and the library does not say so of this call.
        for _ in 0..10 {
            account.clone().deactivate().await.unwrap();
        }
    }

    fn end(&mut self) {
        self.link = None;
        if let Some(role) = self.role.take() {
            role.join().unwrap().unwrap();
        }
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.link = None;
    }
}

fn seal(value: &impl Serialize) -> OwnedFd {
    memfd::seal("test", &serde_json::to_vec(value).unwrap()).unwrap()
}

fn opened<T: DeserializeOwned>(fd: Option<OwnedFd>) -> T {
    serde_json::from_slice(&memfd::read(fd.unwrap(), MEMFD).unwrap()).unwrap()
}

/// A zone that is only written down.
#[derive(Clone, Default)]
pub(super) struct Fake {
    verbs: Arc<Mutex<Vec<&'static str>>>,
    refusals: Arc<atomic::AtomicU32>,
    hidden: Arc<atomic::AtomicBool>,
}

impl Fake {
    /// What was done since it was last asked.
    pub(super) fn verbs(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.verbs.lock().unwrap())
    }

    /// So many removals are refused from now on.
    pub(super) fn refuse_removals(&self, times: u32) {
        self.refusals.store(times, atomic::Ordering::SeqCst);
    }

    /// No record is ever seen from now on.
    pub(super) fn hide(&self) {
        self.hidden.store(true, atomic::Ordering::SeqCst);
    }

    fn did(&self, verb: &'static str) {
        self.verbs.lock().unwrap().push(verb);
    }
}

/// A name that is too much for a provider.
pub(super) const PANICS: &str = "panics.example";

impl Records for Fake {
    async fn locate(&self, name: &str) -> Result<(String, String), String> {
        assert_ne!(name, PANICS);
        Ok((format!("_acme-challenge.{}.", name.trim_start_matches("*.")), "example.".to_owned()))
    }

    async fn present(&self, _: &Record) -> Result<(), String> {
        self.did("present");
        Ok(())
    }

    async fn wait_visible(&self, _: &Record, progress: &mut dyn FnMut(String)) -> Result<(), String> {
        self.did("wait");
        if self.hidden.load(atomic::Ordering::SeqCst) {
            progress("hidden".to_owned());
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn remove(&self, _: &Record) -> Result<(), String> {
        let refused = self
            .refusals
            .fetch_update(atomic::Ordering::SeqCst, atomic::Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok();
        self.did(if refused { "refused" } else { "remove" });
        if refused { Err("not now".to_owned()) } else { Ok(()) }
    }

    async fn look(&self, _: &Host) -> Finding {
        Finding::Ready(None)
    }
}
