//! What became of every request.

use std::{collections::BTreeMap, fmt, time::Duration};

use tokio::time::Instant;

use super::{Kind, Load};
use crate::client::{ClientError, Response, Result};

/// How a request was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// No connection.
    Refused,
    /// The connection, or its stream, ended before the answer did.
    Reset,
    /// Nothing came in time.
    TimedOut,
    /// An answer with another status than 200.
    WrongStatus,
    /// 200, and the answer to something else.
    WrongBody,
}

impl Loss {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Refused, Self::Reset, Self::TimedOut, Self::WrongStatus, Self::WrongBody];

    /// What failed where no answer came.
    fn of(error: &ClientError) -> Self {
        match error {
            ClientError::Connect(_) | ClientError::NotSent(_) => Self::Refused,
            ClientError::Timeout(_) => Self::TimedOut,
            ClientError::Malformed(_) => Self::WrongBody,
            ClientError::Tls(_) | ClientError::Io(_) | ClientError::Ended(..) | ClientError::Http2(_) => Self::Reset,
        }
    }
}

/// One request's time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// When it was to be sent.
    pub(super) due: Instant,
    /// From then to its answer, or to its failure.
    pub(super) took: Duration,
}

/// Counts and latencies of one crowd.
#[derive(Clone, Debug)]
pub struct Report {
    /// How it connected.
    pub kind: Kind,
    /// Requests sent.
    pub sent: u64,
    /// Answered with 200 and the right body.
    pub ok: u64,
    /// Every other status, and how often.
    pub statuses: BTreeMap<u16, u64>,
    /// Every failure without an answer, in words, and how often.
    pub errors: BTreeMap<String, u64>,
    /// Which workers answered: pid, and how often.
    pub workers: BTreeMap<String, u64>,
    /// Every loss, by its kind.
    pub losses: BTreeMap<Loss, u64>,
    /// Kept connections that were found ended before a request was sent on them; nothing is lost by that.
    pub reopened: u64,
    samples: Vec<Sample>,
    /// Those of the lost ones.
    missed: Vec<Sample>,
}

impl Report {
    pub(super) fn new(load: &Load) -> Self {
        Self {
            kind: load.kind,
            sent: 0,
            ok: 0,
            statuses: BTreeMap::new(),
            errors: BTreeMap::new(),
            workers: BTreeMap::new(),
            losses: BTreeMap::new(),
            reopened: 0,
            samples: Vec::new(),
            missed: Vec::new(),
        }
    }

    /// Counts one outcome; whether it was a good one.
    pub(super) fn count(&mut self, outcome: Result<Response>, id: Option<&String>, sample: Sample) -> bool {
        self.samples.push(sample);
        let loss = match outcome {
            Ok(answer) if answer.status == 200 => {
                if let Some(pid) = answer.field("x-worker-pid") {
                    *self.workers.entry(pid.to_owned()).or_default() += 1;
                }
                if id.is_none_or(|id| answer.text().contains(id.as_str())) {
                    self.ok += 1;
                    return true;
                }
                let error = "the answer to another request".to_owned();
                *self.errors.entry(error).or_default() += 1;
                Loss::WrongBody
            }
            Ok(answer) => {
                *self.statuses.entry(answer.status).or_default() += 1;
                Loss::WrongStatus
            }
            Err(error) => {
                *self.errors.entry(error.to_string()).or_default() += 1;
                Loss::of(&error)
            }
        };
        *self.losses.entry(loss).or_default() += 1;
        self.missed.push(sample);
        false
    }

    /// Everything sent that was not answered as it should have been.
    pub fn lost(&self) -> u64 {
        self.sent - self.ok
    }

    /// The latency that this share of the requests did not exceed; `1.0` is the worst.
    pub fn quantile(&self, share: f64) -> Duration {
        share_of(self.samples.iter().map(|sample| sample.took).collect(), share)
    }

    /// The latencies of the requests that were due within one of these spans.
    pub fn latencies_within(&self, spans: &[(std::time::Instant, std::time::Instant)]) -> Vec<Duration> {
        let within = |at: std::time::Instant| spans.iter().any(|(from, to)| (*from..=*to).contains(&at));
        self.samples.iter().filter(|sample| within(sample.due.into_std())).map(|sample| sample.took).collect()
    }

    /// How many were lost that were not under way at any moment of one of these spans.
    pub fn lost_outside(&self, spans: &[(std::time::Instant, std::time::Instant)]) -> usize {
        let under_way = |sample: &&Sample| {
            let (begun, ended) = (sample.due.into_std(), (sample.due + sample.took).into_std());
            spans.iter().any(|(from, to)| begun <= *to && ended >= *from)
        };
        self.missed.iter().filter(|sample| !under_way(sample)).count()
    }

    /// Holds it to having lost nothing, of at least `least` requests.
    #[track_caller]
    pub fn assert_none_lost(&self, least: u64) {
        assert!(self.sent >= least, "only {} requests were sent: {self}", self.sent);
        assert_eq!(self.lost(), 0, "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |share| self.quantile(share).as_secs_f64() * 1e3;
        write!(f, "{:?}: sent {}, ok {}, lost {}", self.kind, self.sent, self.ok, self.lost())?;
        write!(f, ", p50 {:.1} ms, p99 {:.1} ms, worst {:.1} ms", ms(0.5), ms(0.99), ms(1.0))?;
        if !self.statuses.is_empty() {
            write!(f, ", statuses {:?}", self.statuses)?;
        }
        if !self.errors.is_empty() {
            write!(f, ", errors {:?}", self.errors)?;
        }
        Ok(())
    }
}

/// The value that this share of all does not exceed; zero of none.
pub fn share_of(mut all: Vec<Duration>, share: f64) -> Duration {
    all.sort_unstable();
    let Some(last) = all.len().checked_sub(1) else { return Duration::ZERO };
    all[(last as f64 * share).round() as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{ClientError, Head};

    fn answer(status: u16, body: &str) -> Result<Response> {
        let head = Head { version: "HTTP/1.1".into(), status, fields: Vec::new() };
        Ok(Response { status, head, body: body.into(), trailers: Vec::new() })
    }

    #[test]
    fn every_outcome_but_the_right_answer_is_a_loss() {
        let mut report = Report::new(&Load::new(Kind::Http2, 1));
        let id = "a-1".to_owned();
        report.sent = 4;
        let took = Duration::from_millis;
        let due = Instant::now();
        let sample = |ms| Sample { due, took: took(ms) };
        assert!(report.count(answer(200, "this is a-1"), Some(&id), sample(1)));
        assert!(!report.count(answer(200, "this is a-2"), Some(&id), sample(2)));
        assert!(!report.count(answer(502, ""), Some(&id), sample(3)));
        assert!(!report.count(Err(ClientError::Timeout("x")), Some(&id), sample(9)));
        assert_eq!((report.ok, report.lost()), (1, 3));
        assert_eq!(report.statuses, BTreeMap::from([(502, 1)]));
        let losses = [(Loss::TimedOut, 1), (Loss::WrongStatus, 1), (Loss::WrongBody, 1)];
        assert_eq!(report.losses, BTreeMap::from(losses));
        let (at, later) = (due.into_std(), due.into_std() + took(1));
        assert_eq!(report.latencies_within(&[(at, later)]).len(), 4);
        assert!(report.latencies_within(&[(later, later)]).is_empty());
        // The lost ones took 2, 3 and 9 ms.
        assert_eq!([1, 3, 4, 10].map(|ms| report.lost_outside(&[(at + took(ms), at + took(ms))])), [0, 1, 2, 3]);
        assert_eq!(report.quantile(1.0), took(9));
        assert_eq!(report.quantile(0.5), took(3));
    }
}
