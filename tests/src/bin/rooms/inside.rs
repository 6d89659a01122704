//! What is done in the emulated machine.

use std::{
    fs,
    time::{Duration, Instant},
};

use harness::traffic::{Kind, Load, Traffic};
use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::{
    Arguments, SAID,
    company::{self, COMPUTES},
    results::{Phase, Results, Visit},
    trouble,
};

/// The last line.
pub(crate) const END: &str = "(Times are that machine's own: 2 ns an instruction, on one processor.)";
/// What a trouble has left is not the next round's.
const REST: Duration = Duration::from_secs(1);
/// Whatever waits behind a trouble is answered by then, or lost.
const LONGEST: Duration = Duration::from_secs(60);

/// Says a line to the outside.
pub(crate) fn say(line: &str) {
    println!("{SAID}{line}");
}

/// Both houses, one after the other.
pub(crate) fn measure(arguments: &Arguments) -> Result<(), String> {
    company::run(&["ip", "link", "set", "lo", "up"])?;
    Results::explain(arguments);
    let outcome = [true, false].into_iter().try_for_each(|limited| house(arguments, limited));
    if outcome.is_err() {
        println!("{}", fs::read_to_string("/run/landlord.log").unwrap_or_default());
    }
    outcome?;
    say(END);
    Ok(())
}

fn house(arguments: &Arguments, limited: bool) -> Result<(), String> {
    company::open(limited)?;
    let crowds = crowds(arguments.rate);
    answered(&crowds)?;
    let mut results = Results::new(limited);
    let span = Duration::from_secs(arguments.seconds);
    let chosen = |trouble: &&trouble::Trouble| arguments.only.as_ref().is_none_or(|only| only == trouble.name);
    for _ in 0..arguments.rounds {
        for trouble in trouble::ALL.iter().filter(chosen) {
            let begun = Instant::now();
            std::thread::sleep(span);
            results.span(Phase::Quiet, begun, Instant::now());

            let before = trouble.counts();
            let begun = Instant::now();
            let group = trouble.begin()?;
            std::thread::sleep(span);
            results.span(Phase::Beside(trouble.name), begun, Instant::now());
            results.counted(trouble.name, before, trouble.counts());
            end(Pid::from_raw(group))?;
            answered(&crowds)?;
        }
    }
    results.neighbours = crowds.into_iter().map(|(visit, crowd)| (visit, crowd.stop())).collect();
    results.show();
    company::close()
}

/// Each has another rate, so that they meet each other, and what the kernel does at intervals, at every moment of it.
fn crowds(rate: u32) -> Vec<(Visit, Traffic)> {
    let visits = |name| {
        let [kept, h2, new, heavy] =
            [Kind::KeepAlive, Kind::Http2, Kind::NewConnection, Kind::KeepAlive].map(|kind| Load::new(kind, rate));
        let heavy = Load { path: "/compute".into(), rate: rate / 3, ..heavy };
        let of = |visit, load: Load| (name, visit, load);
        match name {
            COMPUTES => vec![of(Visit::Heavy, heavy)],
            _ => vec![of(Visit::Kept, kept), of(Visit::Kept, h2), of(Visit::New, new)],
        }
    };
    let all = company::NEIGHBOURS.into_iter().flat_map(visits).zip(1..);
    let start = |((name, visit, load), more): ((&str, Visit, Load), u32)| {
        let load = Load { rate: load.rate + more, ..load }.watchful();
        (visit, Traffic::start(company::site(name), load))
    };
    all.map(start).collect()
}

/// Waits until nobody waits for an answer any more (but for one who has just asked), and a second longer.
fn answered(crowds: &[(Visit, Traffic)]) -> Result<(), String> {
    let waiting = |crowd: &Traffic| {
        let report = crowd.so_far();
        report.sent - report.ok - report.losses.values().sum::<u64>()
    };
    let begun = Instant::now();
    while crowds.iter().any(|(_, crowd)| waiting(crowd) > 1) {
        if begun.elapsed() > LONGEST {
            return Err(format!("visitors wait for longer than {LONGEST:?}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(REST);
    Ok(())
}

/// All of them at once, however fast they fork; there they are until somebody has waited for each.
fn end(group: Pid) -> Result<(), String> {
    let begun = Instant::now();
    while begun.elapsed() < harness::PATIENCE {
        match killpg(group, Signal::SIGKILL) {
            Err(Errno::ESRCH) => return Ok(()),
            Err(error) => return Err(format!("process group {group}: {error}")),
            Ok(()) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    Err(format!("process group {group} does not end"))
}
