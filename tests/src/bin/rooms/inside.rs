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
    Arguments, SAID, company,
    results::{Phase, Results},
    trouble,
};

/// The last line.
pub(crate) const END: &str = "(Times are that machine's own: 2 ns an instruction, on one processor.)";
/// What a trouble has left is not the next round's.
const REST: Duration = Duration::from_secs(1);
const KINDS: [Kind; 3] = [Kind::KeepAlive, Kind::Http2, Kind::NewConnection];

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
    let crowds: Vec<_> = company::NEIGHBOURS.iter().flat_map(|name| KINDS.map(|kind| (*name, kind))).collect();
    let apart = Duration::from_secs(1) / arguments.rate / u32::try_from(crowds.len()).unwrap_or(1);
    let mut neighbours = Vec::new();
    for (name, kind) in crowds {
        neighbours.push(Traffic::start(company::site(name), Load::new(kind, arguments.rate).watchful()));
        // They do not all come at the same moment.
        std::thread::sleep(apart);
    }
    Traffic::wait_all_answered(&neighbours, u64::from(arguments.rate));
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
            std::thread::sleep(REST);
        }
    }
    results.neighbours = neighbours.into_iter().map(Traffic::stop).collect();
    results.show();
    company::close()
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
