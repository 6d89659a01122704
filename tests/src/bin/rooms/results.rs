//! The figures: neighbours' latencies in each phase, the ratio to quiet, and what the kernel did about the trouble.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use harness::traffic::{Report, share_of};

use crate::{
    Arguments,
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

/// How visitors come, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// For a page that costs nothing, over a connection that is there.
    Kept,
    /// For the same, over a new connection.
    New,
    /// For a page that is computed.
    Heavy,
}

/// What became of the visitors of one house.
pub(crate) struct Results {
    limited: bool,
    spans: BTreeMap<Phase, Vec<(Instant, Instant)>>,
    counts: BTreeMap<&'static str, Counts>,
    pub(crate) neighbours: Vec<(Visit, Report)>,
}

impl Results {
    /// Says what the columns are.
    pub(crate) fn explain(arguments: &Arguments) {
        let Arguments { rate, rounds, seconds, .. } = arguments;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        say(&format!(
            "{rounds} rounds of {seconds} s each, quiet before each trouble. Open loop: each neighbour's visitors come over kept \
             HTTP/1.1"
        ));
        say(&format!(
            "connections, over HTTP/2 and anew, {rate} times a second and some more each; one neighbour has pages that are \
             computed."
        ));
        say(&format!("Latencies in ms, p99 to that of quiet rounds. Linux {}", kernel.trim()));
        say("");
        let columns =
            ["kept", "new", "computed"].map(|name| format!("{name:>9}{:>9}{:>9}{:>7}", "p99", "p99.9", "ratio"));
        say(&format!("{:<22}{:>6}{:>5}{}", "", "sent", "lost", columns.concat()));
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
        say(if self.limited {
            "as a service: a group for each"
        } else {
            "without groups and limits (the bomb keeps itself to 500 processes)"
        });
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
        for (_, report) in self.neighbours.iter().filter(|(_, report)| report.lost() > 0) {
            say(&format!("  {report}"));
        }
    }

    fn row(&self, phase: Phase, what: &str, fate: &str) {
        let mut sent = 0;
        let columns = [Visit::Kept, Visit::New, Visit::Heavy].map(|visit| {
            let all = self.latencies(phase, visit);
            sent += all.len();
            let [median, p99, p999] = [0.5, 0.99, 0.999].map(|share| share_of(all.clone(), share).as_secs_f64() * 1e3);
            let ratio = p99 / (share_of(self.latencies(Phase::Quiet, visit), 0.99).as_secs_f64() * 1e3);
            format!("{median:>9.1}{p99:>9.1}{p999:>9.1}{ratio:>7.2}")
        });
        say(&format!("  {what:<20}{sent:>6}{:>5}{}  {fate}", self.lost(phase), columns.concat()));
    }

    fn latencies(&self, phase: Phase, visit: Visit) -> Vec<Duration> {
        let spans = self.spans.get(&phase).map_or(&[][..], Vec::as_slice);
        let of = self.neighbours.iter().filter(|(of, _)| *of == visit);
        of.flat_map(|(_, report)| report.latencies_within(spans)).collect()
    }

    /// Lost while it lasted. What was lost between the rounds is in its report alone.
    fn lost(&self, phase: Phase) -> usize {
        let spans = self.spans.get(&phase).map_or(&[][..], Vec::as_slice);
        let of = |report: &Report| report.lost() as usize - report.lost_outside(spans);
        self.neighbours.iter().map(|(_, report)| of(report)).sum()
    }
}
