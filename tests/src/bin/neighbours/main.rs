//! What a flood of one company costs its neighbours: landlord, nginx and haproxy, one after the other, each with the same
//! limits for the company that is flooded at ten times its share, before the same workers. Quiet and flooded rounds take
//! turns, so that what the machine does meanwhile is in both; the ratio of the two is the figure.
//!
//! `scripts/bench neighbours` builds it and runs it; it uses the programs beside itself, and Debian's nginx and haproxy.

mod flood;
mod haproxy;
mod house;
mod nginx;
mod peer;
mod results;

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use harness::{
    client::Site,
    peers,
    traffic::{Kind, Load, Traffic},
};

use flood::{Flood, Water};
use results::{Phase, Results};

/// The host of the company that is flooded, and that of its neighbours.
pub(crate) const FLOODED: &str = "acme.apps.test";
pub(crate) const NEIGHBOUR: &str = "beta.apps.test";
/// Requests at once that the flooded company may have.
pub(crate) const CONCURRENT: u32 = 8;
/// It may have so many seconds' requests at once, and is sent so many times its share.
pub(crate) const BURST: u32 = 2;
pub(crate) const TIMES: u32 = 10;
/// Connections a second of the flood that is made of nothing else.
pub(crate) const CONNECTIONS: u32 = 500;
/// Requests a second of the neighbours, by each way of connecting.
const VISITS: u32 = 100;

/// A gateway at work.
pub(crate) trait Gateway {
    /// Its name and version.
    fn name(&self) -> String;
    /// Where it listens, and the certificates to trust.
    fn place(&self) -> (SocketAddr, PathBuf);
}

struct Arguments {
    /// Requests a second that the flooded company may have.
    rate: u32,
    rounds: u32,
    seconds: u64,
    only: Option<String>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = if words.first().is_some_and(|word| word == flood::WORD) {
        flood::main(&words[1..])
    } else {
        arguments(words.into_iter()).and_then(|arguments| run(&arguments))
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            #[allow(clippy::print_stderr, reason = "why there are no figures")]
            {
                eprintln!("neighbours: {why}");
            }
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut found = Arguments { rate: 200, rounds: 5, seconds: 5, only: None };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            "--rate" => found.rate = value()?.parse().map_err(|error| format!("--rate: {error}"))?,
            "--rounds" => found.rounds = value()?.parse().map_err(|error| format!("--rounds: {error}"))?,
            "--seconds" => found.seconds = value()?.parse().map_err(|error| format!("--seconds: {error}"))?,
            "--only" => found.only = Some(value()?),
            other => {
                return Err(format!("{other}? usage: neighbours [--rate N] [--rounds N] [--seconds N] [--only NAME]"));
            }
        }
    }
    Ok(found)
}

/// How a gateway comes to be, with this rate for the flooded company.
type Start = fn(u32) -> Box<dyn Gateway>;

fn run(arguments: &Arguments) -> Result<(), String> {
    let starts: [(&str, Start); 3] = [
        ("landlord", |rate| Box::new(house::House::start(rate))),
        ("nginx", |rate| Box::new(nginx::Nginx::start(rate))),
        ("haproxy", |rate| Box::new(haproxy::Haproxy::start(rate))),
    ];
    let wanted: Vec<_> =
        starts.into_iter().filter(|(name, _)| arguments.only.as_ref().is_none_or(|only| only == name)).collect();
    let others: Vec<&str> = wanted.iter().map(|(name, _)| *name).filter(|name| *name != "landlord").collect();
    peers::require(&others)?;
    results::explain(arguments.rate, arguments.rounds, arguments.seconds);
    for (_, start) in wanted {
        measure(&*start(arguments.rate), arguments)?.show();
    }
    Ok(())
}

/// Rounds of quiet and of each kind of flood.
fn measure(gateway: &dyn Gateway, arguments: &Arguments) -> Result<Results, String> {
    let (address, ca) = gateway.place();
    let site = Site::new(address, NEIGHBOUR, &ca);
    let kinds = [Kind::KeepAlive, Kind::Http2, Kind::NewConnection];
    let start = |kind| Traffic::start(site.clone(), Load::new(kind, VISITS).watchful());
    let neighbours: Vec<Traffic> = kinds.into_iter().map(start).collect();
    Traffic::wait_all_answered(&neighbours, u64::from(VISITS));
    let round = Duration::from_secs(arguments.seconds);
    let mut results = Results::new(gateway.name());
    let flooded = Water { path: "/", rate: arguments.rate * TIMES, new: 10 };
    let floods = [
        (Phase::Quiet, None),
        (Phase::Flooded, Some(flooded)),
        (Phase::Slow, Some(Water { path: "/slow/200", ..flooded })),
        (Phase::Connecting, Some(Water { rate: CONNECTIONS, new: 100, ..flooded })),
    ];
    for _ in 0..arguments.rounds {
        for (phase, water) in floods {
            let flood = water.map(|water| Flood::start(address, &ca, water, round)).transpose()?;
            let began = Instant::now();
            std::thread::sleep(round);
            results.span(phase, began, Instant::now());
            if let Some(flood) = flood {
                results.flood(phase, &flood.ended()?);
            }
            // What the flood has left in line is not the next round's.
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    results.neighbours = neighbours.into_iter().map(Traffic::stop).collect();
    Ok(results)
}
