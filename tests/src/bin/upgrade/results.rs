//! The figures, for people and for programs.

use std::time::{Duration, Instant};

use harness::traffic::{Loss, Report, share_of};
use serde_json::{Value, json};

use crate::{IDLE_TIMEOUT, WINDOW, crowds::Crowd};

/// What became of one gateway.
pub(crate) struct Results {
    pub(crate) name: String,
    /// How long each upgrade took, until its new generation was seen.
    pub(crate) took: Vec<Duration>,
    pub(crate) windows: Vec<(Instant, Instant)>,
    pub(crate) crowds: Vec<(Crowd, Report)>,
    /// Why it was given up.
    pub(crate) failure: Option<String>,
}

/// Where results are shown: as rows while they come, or as one document.
pub(crate) struct Table {
    json: bool,
}

#[allow(clippy::print_stdout, reason = "its figures are its output")]
impl Table {
    pub(crate) fn new(upgrades: u32, every: Duration, json: bool) -> Self {
        if !json {
            println!(
                "{upgrades} upgrades each, one every {every:?}, at constant rates. Idle timeout {IDLE_TIMEOUT:?}. \
                 No request is ever tried again."
            );
            println!("`again`: kept connections found closed before a request was sent, and opened again; no loss.");
            println!("Latencies, ms: of requests due within {WINDOW:?} of an upgrade's beginning.\n");
        }
        Self { json }
    }

    pub(crate) fn show(&self, results: &Results) {
        if self.json {
            return;
        }
        println!(
            "{:<48}{:>8}{:>7}{:>9}{:>7}{:>9}{:>8}{:>6}{:>7}{:>9}{:>9}",
            results.name, "sent", "lost", "refused", "reset", "timeout", "status", "body", "again", "p99.9", "worst"
        );
        let mut all = Vec::new();
        for (crowd, report) in &results.crowds {
            let latencies = report.latencies_within(&results.windows);
            if crowd.quick {
                all.extend_from_slice(&latencies);
            }
            row(&format!("  {}", crowd.name), &[report], crowd.quick.then_some(latencies));
        }
        let reports: Vec<&Report> = results.crowds.iter().map(|(_, report)| report).collect();
        row(&format!("  {} upgrades, all", results.took.len()), &reports, Some(all));
        let took = |share| share_of(results.took.clone(), share).as_secs_f64() * 1e3;
        println!("  until the new one is seen: median {:.0} ms, worst {:.0} ms\n", took(0.5), took(1.0));
        for (_, report) in results.crowds.iter().filter(|(_, report)| report.lost() > 0) {
            println!("  {report}");
        }
    }

    pub(crate) fn conclude(&self, all: &[Results]) {
        if self.json {
            let document: Vec<Value> = all.iter().map(Results::document).collect();
            println!("{:#}", Value::from(document));
        }
    }
}

#[allow(clippy::print_stdout, reason = "its figures are its output")]
fn row(name: &str, reports: &[&Report], latencies: Option<Vec<Duration>>) {
    let sum = |count: &dyn Fn(&Report) -> u64| reports.iter().map(|report| count(report)).sum::<u64>();
    let of = |loss| sum(&|report| lost_by(report, loss));
    print!("{name:<44}{:>8}{:>7}", sum(&|report| report.sent), sum(&|report| report.lost()));
    print!("{:>9}{:>7}{:>9}", of(Loss::Refused), of(Loss::Reset), of(Loss::TimedOut));
    print!("{:>8}{:>6}{:>7}", of(Loss::WrongStatus), of(Loss::WrongBody), sum(&|report| report.reopened));
    match latencies {
        Some(all) => println!("{:>9.1}{:>9.1}", ms(&all, 0.999), ms(&all, 1.0)),
        None => println!("{:>9}{:>9}", "", ""),
    }
}

impl Results {
    fn document(&self) -> Value {
        let crowd = |(crowd, report): &(Crowd, Report)| {
            let latencies = report.latencies_within(&self.windows);
            json!({
                "crowd": crowd.name, "sent": report.sent, "lost": report.lost(),
                "refused": lost_by(report, Loss::Refused), "reset": lost_by(report, Loss::Reset),
                "timed_out": lost_by(report, Loss::TimedOut), "wrong_status": lost_by(report, Loss::WrongStatus),
                "wrong_body": lost_by(report, Loss::WrongBody), "opened_again": report.reopened,
                "p50_ms": ms(&latencies, 0.5), "p999_ms": ms(&latencies, 0.999), "worst_ms": ms(&latencies, 1.0),
                "workers": report.workers.len(),
            })
        };
        let sum = |count: fn(&Report) -> u64| self.crowds.iter().map(|(_, report)| count(report)).sum::<u64>();
        let quick = self.crowds.iter().filter(|(crowd, _)| crowd.quick);
        let all: Vec<Duration> = quick.flat_map(|(_, report)| report.latencies_within(&self.windows)).collect();
        json!({
            "gateway": self.name, "upgrades": self.took.len(), "sent": sum(|r| r.sent), "lost": sum(Report::lost),
            "p999_ms": ms(&all, 0.999), "worst_ms": ms(&all, 1.0),
            "took_ms": self.took.iter().map(|took| took.as_secs_f64() * 1e3).collect::<Vec<_>>(),
            "crowds": self.crowds.iter().map(crowd).collect::<Vec<_>>(),
            "failure": self.failure,
        })
    }
}

fn lost_by(report: &Report, loss: Loss) -> u64 {
    report.losses.get(&loss).copied().unwrap_or(0)
}

fn ms(latencies: &[Duration], share: f64) -> f64 {
    share_of(latencies.to_vec(), share).as_secs_f64() * 1e3
}
