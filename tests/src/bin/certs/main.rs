//! What certificates cost: from the drop of a file with a custom domain to its first page over HTTPS, renewals under load,
//! and a gateway with ten thousand of them.
//!
//! `scripts/bench certs` builds it and runs it; it uses the programs beside itself, and Debian's pebble and bind9.

#![allow(clippy::print_stdout, reason = "its figures are its output")]

mod crowd;
mod onboarding;
mod renewals;

use std::time::Duration;

use harness::traffic::share_of;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        if wanted("onboarding") {
            onboarding::measure().await;
        }
        if wanted("renewals") {
            renewals::measure();
        }
        if wanted("crowd") {
            crowd::measure().await;
        }
    });
}

/// A row of latencies.
fn row(what: &str, took: &[Duration]) {
    let at = |share| share_of(took.to_vec(), share).as_secs_f64() * 1e3;
    println!("{what:<58}{:>10.1}{:>10.1}{:>10.1}", at(0.5), at(0.9), at(1.0));
}

/// The head above [`row`].
fn head(what: &str) {
    println!("{what:<58}{:>10}{:>10}{:>10}", "median", "p90", "worst");
}
