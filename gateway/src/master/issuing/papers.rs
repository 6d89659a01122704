//! What must be remembered of orders, in `<state>/acme`: one small file for each name, so that a bad one costs only its own
//! name; one for what is used up of an authority's limits; one for our account at each directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    machine::issuance::{Ledger, Memory},
    master::state_file::{self, Found, Lasting},
    model::Subject,
    sys,
    wire::Record,
};

/// The format of the files.
const VERSION: u32 = 1;

/// Of one subject. Secret: the key of a certificate to come is in it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Paper {
    /// Which; its file's name says the same.
    subject: Subject,
    /// The machine's own.
    memory: Option<Memory>,
    /// The order under way.
    order: Option<Placed>,
    /// Challenge records that are written, or may be.
    records: BTreeSet<Record>,
    /// The directory that has issued the certificate that is there; `None`: it is not known.
    #[serde(default)]
    issued: Option<String>,
}

/// An order under way.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placed {
    /// The directory's URL: an order of another one's is of no use.
    pub(super) directory: String,
    /// Its URL, once it was placed.
    pub(super) url: Option<String>,
    /// The certificate's key.
    pub(super) key_pem: String,
}

/// Our account at a directory. Secret.
#[derive(Serialize, Deserialize)]
struct Account {
    directory: String,
    /// As the acme role has given it.
    account: String,
}

/// The files, mirrored in memory.
pub(super) struct Papers {
    folder: PathBuf,
    subjects: BTreeMap<Subject, Paper>,
    /// Of certificates that are thrown away: only what is to be cleaned.
    trial: BTreeSet<Record>,
    /// By directory.
    accounts: BTreeMap<String, String>,
}

impl Papers {
    /// Reads every file of `folder`; a bad one is put aside with a loud line. Gives what the machine has to be told first.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub(super) fn open(folder: PathBuf) -> std::io::Result<(Self, Option<Ledger>)> {
        sys::files::make_private_dir(&folder, 0o700)?;
        let mut papers = Self { folder, subjects: BTreeMap::new(), trial: BTreeSet::new(), accounts: BTreeMap::new() };
        let mut ledger = None;
        for entry in std::fs::read_dir(&papers.folder)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.starts_with('.') && name.ends_with(".tmp") {
                // A life before ended while it wrote this.
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::warn!(file = %path.display(), %error, "a half written file cannot be removed");
                }
                continue;
            }
            let Some(stem) = name.strip_suffix(".json") else { continue };
            match stem {
                LEDGER => ledger = read(&path),
                TRIAL => papers.trial = read(&path).unwrap_or_default(),
                _ if is_account(stem) => {
                    let found: Option<Account> = read(&path);
                    papers.accounts.extend(found.map(|found| (found.directory, found.account)));
                }
                _ => {
                    let found: Option<Paper> = read(&path);
                    papers.subjects.extend(found.map(|found| (found.subject.clone(), found)));
                }
            }
        }
        Ok((papers, ledger))
    }

    /// What the machine remembers of each subject.
    pub(super) fn memories(&self) -> impl Iterator<Item = (&Subject, &Memory)> {
        self.subjects.values().filter_map(|paper| Some((&paper.subject, paper.memory.as_ref()?)))
    }

    /// Keeps the machine's memory of a subject.
    ///
    /// # Errors
    /// It is not on disk. In memory it is.
    pub(super) fn keep_memory(&mut self, subject: &Subject, memory: Option<Memory>) -> std::io::Result<()> {
        self.change(subject, |paper| paper.memory = memory)
    }

    /// Keeps what is used up of an authority's limits.
    ///
    /// # Errors
    /// It is not on disk.
    pub(super) fn keep_ledger(&self, ledger: &Ledger) -> std::io::Result<()> {
        state_file::write(&self.path(LEDGER), VERSION, ledger, Lasting::ForEver)
    }

    /// The order under way at this directory.
    pub(super) fn order(&self, subject: &Subject, directory: &str) -> Option<&Placed> {
        self.subjects.get(subject)?.order.as_ref().filter(|order| order.directory == directory)
    }

    /// Whether an order was placed and has not ended.
    pub(super) fn is_placed(&self, subject: &Subject) -> bool {
        self.subjects.get(subject).and_then(|paper| paper.order.as_ref()).is_some_and(|order| order.url.is_some())
    }

    /// Keeps the order under way, or that there is none.
    ///
    /// # Errors
    /// It is not on disk.
    pub(super) fn keep_order(&mut self, subject: &Subject, order: Option<Placed>) -> std::io::Result<()> {
        self.change(subject, |paper| paper.order = order)
    }

    /// The order under way brought the certificate that is there. In memory only: what the machine remembers of it is kept next,
    /// and a crash must not come between the two.
    pub(super) fn end_well(&mut self, subject: &Subject) {
        if let Some(paper) = self.subjects.get_mut(subject)
            && let Some(order) = paper.order.take()
        {
            paper.issued = Some(order.directory);
        }
    }

    /// Whether its certificate is known to be of another directory than this one.
    pub(super) fn is_of_another(&self, subject: &Subject, directory: &str) -> bool {
        let issued = self.subjects.get(subject).and_then(|paper| paper.issued.as_deref());
        issued.is_some_and(|issued| issued != directory)
    }

    /// Notes a challenge record before it is written, or that it is gone. `None`: of a certificate that is thrown away.
    ///
    /// # Errors
    /// It is not on disk.
    pub(super) fn note(&mut self, subject: Option<&Subject>, record: &Record, there: bool) -> std::io::Result<()> {
        let set = |records: &mut BTreeSet<Record>| {
            if there {
                records.insert(record.clone())
            } else {
                records.remove(record)
            };
        };
        match subject {
            Some(subject) => self.change(subject, |paper| set(&mut paper.records)),
            None => {
                set(&mut self.trial);
                state_file::write(&self.path(TRIAL), VERSION, &self.trial, Lasting::ForEver)
            }
        }
    }

    /// Records that were noted and never removed, each with whose it is.
    pub(super) fn leftovers(&self) -> Vec<(Option<Subject>, Record)> {
        let of = |paper: &Paper| {
            let subject = Some(paper.subject.clone());
            paper.records.iter().map(move |record| (subject.clone(), record.clone())).collect::<Vec<_>>()
        };
        let trial = self.trial.iter().map(|record| (None, record.clone()));
        self.subjects.values().flat_map(of).chain(trial).collect()
    }

    /// Our account at a directory.
    pub(super) fn account(&self, directory: &str) -> Option<&String> {
        self.accounts.get(directory)
    }

    /// Keeps our account at a directory. One that is none any more is put aside: somebody may want to know whose it was.
    ///
    /// # Errors
    /// It is not on disk.
    pub(super) fn keep_account(&mut self, directory: &str, account: Option<String>) -> std::io::Result<()> {
        let path = self.path(&account_stem(directory));
        match account {
            Some(account) => {
                let file = Account { directory: directory.to_owned(), account: account.clone() };
                state_file::write(&path, VERSION, &file, Lasting::ForEver)?;
                self.accounts.insert(directory.to_owned(), account);
            }
            None => {
                if self.accounts.remove(directory).is_some() {
                    let aside = sys::files::put_aside(&path, jiff::Timestamp::now().as_second())?;
                    tracing::error!(directory, aside = %aside.display(), "the authority has ended our account: its file is put aside");
                }
            }
        }
        Ok(())
    }

    /// Changes a subject's paper, in memory and on disk; nothing is written when nothing changed.
    fn change(&mut self, subject: &Subject, change: impl FnOnce(&mut Paper)) -> std::io::Result<()> {
        let empty =
            || Paper { subject: subject.clone(), memory: None, order: None, records: BTreeSet::new(), issued: None };
        let paper = self.subjects.entry(subject.clone()).or_insert_with(empty);
        change(paper);
        let path = self.folder.join(file_name(subject));
        state_file::write(&path, VERSION, paper, Lasting::ForEver)
    }

    fn path(&self, stem: &str) -> PathBuf {
        self.folder.join(format!("{stem}.json"))
    }
}

const LEDGER: &str = "ledger";
const TRIAL: &str = "trial";
const ACCOUNT: &str = "account-";

/// A host of a single label could have the name of another file of ours: none of those ends like this.
fn file_name(subject: &Subject) -> String {
    let stem = subject.stem();
    if stem.contains('.') { format!("{stem}.json") } else { format!("{stem}_.json") }
}

/// Directories are URLs, of any length and any characters.
fn account_stem(directory: &str) -> String {
    let digest = digest(&SHA256, directory.as_bytes());
    let hash: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{ACCOUNT}{hash}")
}

/// Nothing else looks like it: a host's file has a dot or an underscore in its stem.
fn is_account(stem: &str) -> bool {
    stem.strip_prefix(ACCOUNT).is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A file that is there and cannot be believed is put aside, with a loud line.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    match state_file::read(path, VERSION) {
        Found::Good(found) => Some(found),
        Found::Missing | Found::PutAside(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn subject(host: &str) -> Subject {
        Subject::Domain(host.parse().unwrap())
    }

    fn record(value: &str) -> Record {
        Record { name: "_acme-challenge.a.example.".into(), zone: "a.example.".into(), value: value.into() }
    }

    fn order() -> Placed {
        Placed { directory: "https://ca/dir".into(), url: Some("https://ca/order/1".into()), key_pem: "KEY".into() }
    }

    #[test]
    fn what_was_kept_is_there_in_the_next_life() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("acme");
        let (mut papers, ledger) = Papers::open(folder.clone()).unwrap();
        assert!(ledger.is_none());
        let (one, two) = (subject("a.example"), Subject::Zone("apps.example".parse().unwrap()));
        papers.keep_order(&one, Some(order())).unwrap();
        for value in ["x", "y"] {
            papers.note(Some(&two), &record(value), true).unwrap();
        }
        papers.note(Some(&two), &record("x"), false).unwrap();
        papers.note(None, &record("z"), true).unwrap();
        papers.keep_account("https://ca/dir", Some("me".into())).unwrap();
        papers.keep_account("https://other/dir", Some("you".into())).unwrap();
        papers.keep_account("https://other/dir", None).unwrap();
        assert!(folder.join("_.apps.example.json").exists());

        let (papers, _) = Papers::open(folder.clone()).unwrap();
        assert!(papers.order(&one, "https://ca/dir") == Some(&order()));
        assert!(papers.order(&one, "https://other/dir").is_none(), "an order belongs to its directory");
        assert_eq!(papers.leftovers(), [(Some(two), record("y")), (None, record("z"))]);
        assert_eq!(papers.account("https://ca/dir"), Some(&"me".to_owned()));
        assert_eq!(papers.account("https://other/dir"), None);
        let names = std::fs::read_dir(&folder).unwrap().map(|at| at.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.filter(|name| name.contains(".bad-")).count(), 1, "the account that was none any more");
    }

    #[test]
    fn who_has_issued_is_known_in_the_next_life() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("acme");
        let (mut papers, _) = Papers::open(folder.clone()).unwrap();
        let one = subject("a.example");
        papers.keep_order(&one, Some(order())).unwrap();
        assert!(!papers.is_of_another(&one, "https://other/dir"), "nothing was issued");
        papers.end_well(&one);
        assert!(Papers::open(folder.clone()).unwrap().0.is_placed(&one), "a crash comes before both or after both");
        papers.keep_memory(&one, Some(Memory::default())).unwrap();
        let (papers, _) = Papers::open(folder).unwrap();
        assert!(!papers.is_placed(&one));
        assert!(papers.is_of_another(&one, "https://other/dir") && !papers.is_of_another(&one, "https://ca/dir"));
    }

    #[test]
    fn a_bad_file_is_put_aside_and_costs_its_own_name_only() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("acme");
        let (mut papers, _) = Papers::open(folder.clone()).unwrap();
        let (one, two) = (subject("a.example"), subject("b.example"));
        for subject in [&one, &two] {
            papers.keep_order(subject, Some(order())).unwrap();
        }
        let file = folder.join("a.example.json");
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        std::fs::write(folder.join("ledger.json"), "{}").unwrap();
        let (papers, ledger) = Papers::open(folder.clone()).unwrap();
        assert!(papers.order(&one, "https://ca/dir").is_none() && ledger.is_none());
        assert!(papers.order(&two, "https://ca/dir").is_some());
        assert!(!file.exists(), "put aside");
    }

    #[test]
    fn no_name_is_anothers_file() {
        let temp = tempfile::tempdir().unwrap();
        let (mut papers, _) = Papers::open(temp.path().join("acme")).unwrap();
        for host in ["ledger", "trial", "account-x"] {
            papers.keep_order(&subject(host), Some(order())).unwrap();
        }
        let (papers, ledger) = Papers::open(temp.path().join("acme")).unwrap();
        assert!(ledger.is_none());
        for host in ["ledger", "trial", "account-x"] {
            assert!(papers.order(&subject(host), "https://ca/dir").is_some(), "{host}");
        }
    }
}
