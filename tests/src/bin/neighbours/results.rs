//! The figures: neighbours' latencies in each phase, the ratio to quiet, and what became of the flood.
#![allow(clippy::print_stdout, reason = "its figures are its output")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use harness::traffic::{Report, share_of};

use crate::{BURST, CONCURRENT, CONNECTIONS, TIMES, flood::Fate};

/// What happens to the flooded company meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Quiet,
    /// Its worker answers at once.
    Flooded,
    /// Its worker takes 200 ms for each answer.
    Slow,
    /// Each request comes on a connection of its own: what is refused, too, costs a handshake.
    Connecting,
}

/// What became of one gateway's visitors.
pub(crate) struct Results {
    name: String,
    spans: BTreeMap<Phase, Vec<(Instant, Instant)>>,
    floods: BTreeMap<Phase, Fate>,
    pub(crate) neighbours: Vec<Report>,
}

/// Says what the columns are.
pub(crate) fn explain(rate: u32, rounds: u32, seconds: u64) {
    let (flood, burst) = (rate * TIMES, rate * BURST);
    println!(
        "{rounds} rounds of {seconds} s each: quiet, flooded, flooded with a worker that takes 200 ms, flooded with \
         {CONNECTIONS} connections a second.\nThe flood is {flood} requests a second; its company may have {rate} ({burst} at \
         once), {CONCURRENT} at work. Neighbours have no limit.\nLatencies of neighbours, ms; their p99 also by how they \
         come: on a connection that is kept, by HTTP/2, on a new one.\n"
    );
    println!(
        "{:<44}{:>8}{:>6}{:>8}{:>8}{:>8}{:>10}{:>8}{:>8}{:>8}  the flood: sent, 200, 429, other, no answer",
        "", "sent", "lost", "p50", "p99", "p99.9", "p99 ratio", "kept", "h2", "new"
    );
}

impl Results {
    pub(crate) fn new(name: String) -> Self {
        Self { name, spans: BTreeMap::new(), floods: BTreeMap::new(), neighbours: Vec::new() }
    }

    pub(crate) fn span(&mut self, phase: Phase, from: Instant, to: Instant) {
        self.spans.entry(phase).or_default().push((from, to));
    }

    pub(crate) fn flood(&mut self, phase: Phase, fate: &Fate) {
        let sum = self.floods.entry(phase).or_default();
        sum.sent += fate.sent;
        sum.ok += fate.ok;
        sum.errors += fate.errors;
        for (status, count) in &fate.statuses {
            *sum.statuses.entry(*status).or_default() += count;
        }
    }

    pub(crate) fn show(&self) {
        println!("{}", self.name);
        let quiet = share_of(self.latencies(Phase::Quiet), 0.99);
        for (phase, spans) in &self.spans {
            let all = self.latencies(*phase);
            let took: Duration = spans.iter().map(|(from, to)| *to - *from).sum();
            let [median, p99, p999] = [0.5, 0.99, 0.999].map(|share| share_of(all.clone(), share));
            let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
            let ratio = p99.as_secs_f64() / quiet.as_secs_f64();
            print!("  {:<42}{:>8}", format!("{phase:?}, {:.0} s in all", took.as_secs_f64()), all.len());
            print!("{:>6}{:>8.2}{:>8.2}{:>8.2}{ratio:>10.2}", self.lost(*phase), ms(median), ms(p99), ms(p999));
            for crowd in &self.neighbours {
                print!("{:>8.2}", ms(share_of(crowd.latencies_within(spans), 0.99)));
            }
            match self.floods.get(phase) {
                Some(fate) => {
                    let refused = fate.statuses.get(&429).copied().unwrap_or_default();
                    let other = fate.statuses.values().sum::<u64>() - refused;
                    println!("  {}, {}, {refused}, {other}, {}", fate.sent, fate.ok, fate.errors);
                }
                None => println!(),
            }
        }
        for report in self.neighbours.iter().filter(|report| report.lost() > 0) {
            println!("  {report}");
        }
    }

    fn latencies(&self, phase: Phase) -> Vec<Duration> {
        let spans = self.spans.get(&phase).map_or(&[][..], Vec::as_slice);
        self.neighbours.iter().flat_map(|report| report.latencies_within(spans)).collect()
    }

    fn lost(&self, phase: Phase) -> usize {
        let others: Vec<_> =
            self.spans.iter().filter(|(other, _)| **other != phase).flat_map(|(_, spans)| spans.clone()).collect();
        self.neighbours.iter().map(|report| report.lost_outside(&others)).sum()
    }
}
