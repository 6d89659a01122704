//! The figures: neighbours' latencies in each phase, the ratio to quiet, and what the kernel did about the trouble.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use harness::traffic::{Kind, Report, share_of};

use crate::{
    Arguments,
    company::NEIGHBOURS,
    inside::say,
    trouble::{self, Counts},
};

/// What happens meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Quiet,
    /// This company makes its trouble.
    Beside(&'static str),
}

/// What became of the visitors of one house.
pub(crate) struct Results {
    limited: bool,
    spans: BTreeMap<Phase, Vec<(Instant, Instant)>>,
    counts: BTreeMap<&'static str, Counts>,
    pub(crate) neighbours: Vec<Report>,
}

impl Results {
    /// Says what the columns are.
    pub(crate) fn explain(arguments: &Arguments) {
        let Arguments { rate, rounds, seconds, .. } = arguments;
        say(&format!(
            "{rounds} rounds of {seconds} s each, quiet before each trouble. Visitors of {} neighbours, open loop, each {rate} \
             requests a second",
            NEIGHBOURS.len()
        ));
        say("over kept HTTP/1.1 connections, over HTTP/2 and with a new connection each time. Latencies in ms.");
        say("");
        let columns = |name| format!("{:>7}{:>8}{:>8}{:>7}", format!("{name} p50"), "p99", "p99.9", "ratio");
        say(&format!("{:<24}{:>6}{:>6}  {}   {}", "", "sent", "lost", columns("kept"), columns("new")));
    }

    pub(crate) fn new(limited: bool) -> Self {
        Self { limited, spans: BTreeMap::new(), counts: BTreeMap::new(), neighbours: Vec::new() }
    }

    pub(crate) fn span(&mut self, phase: Phase, from: Instant, to: Instant) {
        self.spans.entry(phase).or_default().push((from, to));
    }

    pub(crate) fn counted(&mut self, name: &'static str, before: Counts, after: Counts) {
        let sum = self.counts.entry(name).or_default();
        sum.microseconds += after.microseconds - before.microseconds;
        sum.killed += after.killed - before.killed;
        sum.refused += after.refused - before.refused;
    }

    pub(crate) fn show(&self) {
        say(if self.limited { "as a service: a group for each" } else { "without groups and limits" });
        self.row(Phase::Quiet, "quiet", "");
        for trouble in &trouble::ALL {
            let phase = Phase::Beside(trouble.name);
            let Some(spans) = self.spans.get(&phase) else { continue };
            let took: Duration = spans.iter().map(|(from, to)| *to - *from).sum();
            let Counts { microseconds, killed, refused } = self.counts.get(trouble.name).copied().unwrap_or_default();
            let share = microseconds as f64 / took.as_micros() as f64 * 100.0;
            let mut fate = Vec::new();
            if self.limited {
                fate.push(format!("had {share:.0} % of the processor"));
                fate.extend((killed > 0).then(|| format!("{killed} ended")));
                fate.extend((refused > 0).then(|| format!("{refused} forks refused")));
            }
            self.row(phase, trouble.what, &fate.join(", "));
        }
        for report in self.neighbours.iter().filter(|report| report.lost() > 0) {
            say(&format!("  {report}"));
        }
    }

    fn row(&self, phase: Phase, what: &str, fate: &str) {
        let sent = self.latencies(phase, true).len() + self.latencies(phase, false).len();
        let [kept, new] = [false, true].map(|new| {
            let all = self.latencies(phase, new);
            let [median, p99, p999] = [0.5, 0.99, 0.999].map(|share| share_of(all.clone(), share).as_secs_f64() * 1e3);
            let ratio = p99 / (share_of(self.latencies(Phase::Quiet, new), 0.99).as_secs_f64() * 1e3);
            format!("{median:>8.2}{p99:>8.2}{p999:>8.2}{ratio:>7.2}")
        });
        say(&format!("  {what:<22}{sent:>6}{:>6}  {kept}   {new}  {fate}", self.lost(phase)));
    }

    /// Of visitors who come anew each time, or of the others.
    fn latencies(&self, phase: Phase, new: bool) -> Vec<Duration> {
        let spans = self.spans.get(&phase).map_or(&[][..], Vec::as_slice);
        let of = self.neighbours.iter().filter(|report| (report.kind == Kind::NewConnection) == new);
        of.flat_map(|report| report.latencies_within(spans)).collect()
    }

    fn lost(&self, phase: Phase) -> usize {
        let others: Vec<_> =
            self.spans.iter().filter(|(other, _)| **other != phase).flat_map(|(_, spans)| spans.clone()).collect();
        self.neighbours.iter().map(|report| report.lost_outside(&others)).sum()
    }
}
