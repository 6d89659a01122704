//! What an upgrade at noon costs: landlord, nginx and haproxy, one after the other, each upgraded again and again under
//! the same crowds at the same constant rates, before the same worker. Every request is counted, none is tried again.
//!
//! `scripts/bench upgrade` builds it and runs it; it uses the programs beside itself, and Debian's nginx and haproxy.

mod crowds;
mod haproxy;
mod house;
mod nginx;
mod peer;
mod results;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use harness::client::Site;

use crowds::Crowds;
use results::{Results, Table};

/// The idle timeout that all three are given.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The host that is asked for.
pub(crate) const HOST: &str = "acme.apps.test";
/// What belongs to an upgrade: from its beginning on for so long.
const WINDOW: Duration = Duration::from_secs(1);

/// A gateway that can be upgraded while it serves.
pub(crate) trait Gateway {
    /// Its name and version, and how it is upgraded.
    fn name(&self) -> String;
    /// Where the crowds go.
    fn site(&self) -> Site;
    /// One upgrade, until the new generation of the gateway is seen.
    fn upgrade(&mut self) -> Result<(), String>;
}

/// How a gateway comes to be.
type Start = fn() -> Box<dyn Gateway>;

struct Arguments {
    upgrades: u32,
    every: Duration,
    json: bool,
    only: Option<String>,
}

fn main() -> ExitCode {
    let outcome = arguments().and_then(|arguments| {
        peer::require(&["nginx", "haproxy"])?;
        run(&arguments)
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            #[allow(clippy::print_stderr, reason = "why there are no figures")]
            {
                eprintln!("upgrade: {why}");
            }
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments { upgrades: 20, every: Duration::from_secs(2), json: false, only: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            "--upgrades" => found.upgrades = value()?.parse().map_err(|error| format!("--upgrades: {error}"))?,
            "--every" => {
                let seconds: f64 = value()?.parse().map_err(|error| format!("--every: {error}"))?;
                found.every = Duration::try_from_secs_f64(seconds).map_err(|error| format!("--every: {error}"))?;
            }
            "--only" => found.only = Some(value()?),
            "--json" => found.json = true,
            other => {
                return Err(format!("{other}? usage: upgrade [--upgrades N] [--every SECONDS] [--only NAME] [--json]"));
            }
        }
    }
    Ok(found)
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let starts: [(&str, Start); 3] = [
        ("landlord", || Box::new(house::House::start())),
        ("nginx", || Box::new(nginx::Nginx::start())),
        ("haproxy", || Box::new(haproxy::Haproxy::start())),
    ];
    let table = Table::new(arguments.upgrades, arguments.every, arguments.json);
    let mut all = Vec::new();
    for (name, start) in starts {
        if arguments.only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let results = measure(&mut *start(), arguments);
        table.show(&results);
        all.push(results);
    }
    table.conclude(&all);
    let failed: Vec<&str> = all.iter().filter_map(|results| results.failure.as_deref()).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

fn measure(gateway: &mut dyn Gateway, arguments: &Arguments) -> Results {
    let crowds = Crowds::start(&gateway.site());
    // Every kept connection is opened once before anything happens, and used once after all has happened.
    let rounds = IDLE_TIMEOUT;
    std::thread::sleep(rounds);
    let mut windows = Vec::new();
    let mut took = Vec::new();
    let mut failure = None;
    let first = Instant::now();
    for number in 0..arguments.upgrades {
        let due = first + arguments.every * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let began = Instant::now();
        if let Err(why) = gateway.upgrade() {
            failure = Some(format!("{}: upgrade {}: {why}", gateway.name(), number + 1));
            break;
        }
        took.push(began.elapsed());
        windows.push((began, (began + WINDOW).max(Instant::now())));
    }
    std::thread::sleep(rounds);
    Results { name: gateway.name(), took, windows, crowds: crowds.stop(), failure }
}
