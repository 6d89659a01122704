//! What proxies are to answer to an authority: of all orders together, and who waits until they do.

use std::{collections::BTreeMap, os::fd::OwnedFd};

use crate::{
    sys,
    wire::{Answers, JobId},
};

/// What each job wants answered.
pub(super) struct Board {
    jobs: BTreeMap<JobId, Answers>,
    /// The newest telling. Proxies of an earlier life of ours know older ones: it begins above all of those.
    serial: u64,
    /// It differs from what was told.
    changed: bool,
    /// Which telling has what a job wants, until every proxy that accepts answers so. A job that has changed its mind is told
    /// of each: it counts.
    waiting: Vec<(JobId, u64)>,
}

impl Board {
    /// Nothing is answered. `first`: above every telling of an earlier life.
    pub(super) fn new(first: u64) -> Self {
        // What an earlier life has told is to be forgotten by the proxies, too.
        Self { jobs: BTreeMap::new(), serial: first, changed: true, waiting: Vec::new() }
    }

    /// Replaces what a job wants answered.
    pub(super) fn put(&mut self, job: JobId, answers: Answers) {
        if answers == Answers::default() {
            self.changed |= self.jobs.remove(&job).is_some();
            return;
        }
        // With the telling that is about to be.
        self.waiting.push((job, self.serial + 1));
        self.jobs.insert(job, answers);
        self.changed = true;
    }

    /// A job has ended.
    pub(super) fn end(&mut self, job: JobId) {
        self.changed |= self.jobs.remove(&job).is_some();
        self.waiting.retain(|(one, _)| *one != job);
    }

    /// Every job has ended.
    pub(super) fn clear(&mut self) {
        self.changed |= !self.jobs.is_empty();
        self.jobs.clear();
        self.waiting.clear();
    }

    /// What is to be told now, if anything changed.
    ///
    /// # Errors
    /// It cannot be sealed; it is tried again with the next change.
    pub(super) fn news(&mut self) -> std::io::Result<Option<(u64, OwnedFd)>> {
        if !std::mem::take(&mut self.changed) {
            return Ok(None);
        }
        self.serial += 1;
        self.whole().map(Some)
    }

    /// All of it, for a proxy that knows nothing.
    ///
    /// # Errors
    /// It cannot be sealed.
    pub(super) fn whole(&self) -> std::io::Result<(u64, OwnedFd)> {
        let mut all = Answers::default();
        for answers in self.jobs.values() {
            all.http.extend(answers.http.iter().cloned());
            all.tls.extend(answers.tls.iter().cloned());
        }
        let sealed = sys::memfd::seal("answers", &serde_json::to_vec(&all)?)?;
        Ok((self.serial, sealed))
    }

    /// Every proxy that accepts visitors answers by `serial`: the jobs that need not wait any more, once for each time.
    pub(super) fn answered(&mut self, serial: u64) -> Vec<JobId> {
        self.waiting.extract_if(.., |(_, wanted)| *wanted <= serial).map(|(job, _)| job).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::wire::HttpAnswer;

    fn answers(token: &str) -> Answers {
        let host = "a.example".parse().unwrap();
        Answers {
            http: vec![HttpAnswer { host, token: token.into(), key_authorization: format!("{token}.key") }],
            tls: Vec::new(),
        }
    }

    fn tokens((serial, sealed): (u64, OwnedFd)) -> (u64, Vec<String>) {
        let all: Answers = serde_json::from_slice(&sys::memfd::read(sealed, 1 << 20).unwrap()).unwrap();
        (serial, all.http.into_iter().map(|answer| answer.token).collect())
    }

    #[test]
    fn jobs_are_merged_and_each_waits_for_its_own_telling() {
        let mut board = Board::new(100);
        assert_eq!(tokens(board.news().unwrap().unwrap()), (101, vec![]), "an earlier life may have told some");
        assert!(board.news().unwrap().is_none());
        let (one, two) = (JobId(1), JobId(2));
        board.put(one, answers("one"));
        assert!(board.answered(101).is_empty(), "that was before");
        assert_eq!(tokens(board.news().unwrap().unwrap()), (102, vec!["one".into()]));
        board.put(two, answers("two"));
        assert_eq!(tokens(board.news().unwrap().unwrap()), (103, vec!["one".into(), "two".into()]));
        assert_eq!(board.answered(102), [one]);
        assert_eq!(board.answered(103), [two]);
        assert!(board.answered(103).is_empty(), "told once");

        board.put(one, Answers::default());
        assert_eq!(tokens(board.news().unwrap().unwrap()), (104, vec!["two".into()]));
        board.put(one, Answers::default());
        assert!(board.news().unwrap().is_none(), "nothing has changed");
        board.put(two, answers("three"));
        board.put(two, answers("four"));
        assert_eq!(tokens(board.news().unwrap().unwrap()), (105, vec!["four".into()]));
        assert_eq!(board.answered(105), [two, two], "it counts");
        board.put(two, answers("five"));
        board.end(two);
        assert!(board.answered(200).is_empty(), "it has ended");
        assert_eq!(tokens(board.news().unwrap().unwrap()), (106, vec![]));
        board.put(two, answers("six"));
        board.clear();
        assert_eq!(tokens(board.news().unwrap().unwrap()), (107, vec![]));
        assert!(board.answered(200).is_empty(), "who has gone waits no more");
    }
}
