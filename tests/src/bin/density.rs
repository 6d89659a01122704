//! What a thousand companies cost of which twenty are awake: memory of each role and of a worker, the time until all are
//! known, what a wake adds to a visitor's request and where that time goes, and what an idle house does for ten seconds.
//!
//! `scripts/bench density` builds it and runs it; it uses the programs beside itself.

#![allow(clippy::print_stdout, reason = "its figures are its output")]

use std::{
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

use harness::{
    Landlord, Setup, binaries,
    client::{Raw, Site},
    process,
};

/// The bundled worker as it is, but for its migration, which is due for none of them.
const HOUSE: &str = "[apps.bundled]\ncommand = [\"landlord-worker\", \"serve\"]\nlisten = \"inherit\"\n\
    health = \"/healthz\"\n[defaults.sleep]\nafter = \"1h\"\n";

/// Companies in the house.
const COMPANIES: usize = 1000;
/// So many of them are awake when the house is weighed.
const AWAKE: usize = 20;
/// So many more are woken one by one, and timed.
const WAKES: usize = 60;
/// The idle house is watched for so long.
const IDLE: Duration = Duration::from_secs(10);
/// Warm requests that each wake is compared with.
const WARM: usize = 5;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        for count in [AWAKE + WAKES, COMPANIES] {
            house(count).await;
            println!();
        }
    });
}

fn name(number: usize) -> String {
    format!("company-{number:04}")
}

async fn house(count: usize) {
    let setup = Setup::new().default_app("bundled").tables(HOUSE);
    let mut landlord = (0..count).fold(setup, |setup, number| setup.tenant(&name(number), "")).prepare();
    all_asleep(&landlord, count);
    println!("{:<52}{count:>12}", "companies");
    // Once to make what a house has for each company, and once as it is from then on.
    landlord.start_again();
    landlord.stop();
    (0..AWAKE + WAKES).for_each(|number| migrate(&landlord, number));
    let begin = Instant::now();
    landlord.start_again();
    landlord.watch().until("every company is known", |fleet| {
        fleet.len() == count && fleet.iter().all(|entry| entry.state == "sleeping")
    });
    row("from the start until all are known, ms", begin.elapsed().as_secs_f64() * 1e3);
    let site = landlord.site(&name(0));
    harness::eventually_async("it is routed", async || site.get("/").await.ok()).await;
    row("from the start to the first page of one that slept, ms", begin.elapsed().as_secs_f64() * 1e3);
    weigh(&landlord, "nobody awake but one");

    let mut added = Vec::new();
    for number in 1..AWAKE {
        wake(&landlord, number, &mut added).await;
    }
    weigh(&landlord, &format!("{AWAKE} awake"));
    let workers: Vec<u64> =
        (0..AWAKE).filter_map(|number| landlord.entry(&name(number)).pid.and_then(process::resident)).collect();
    row("a worker that is awake: RSS, MiB", mebibytes(workers.iter().sum::<u64>()) / workers.len() as f64);

    let staff = staff(&landlord);
    let used = || staff.iter().filter_map(|(_, pid)| Some(process::cpu(*pid)?.as_secs_f64() * 1e3)).collect::<Vec<_>>();
    let before = used();
    tokio::time::sleep(IDLE).await;
    for ((role, _), (before, after)) in staff.iter().zip(before.iter().zip(used())) {
        row(&format!("{role}: CPU of {} idle seconds, ms", IDLE.as_secs()), after - before);
    }

    added.clear();
    for number in AWAKE..AWAKE + WAKES {
        wake(&landlord, number, &mut added).await;
    }
    added.sort_unstable();
    let at = |share: f64| added[((added.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    let median = format!("a wake adds to a request, ms: median of {WAKES}");
    for (what, share) in [(median.as_str(), 0.5), ("  90 of 100", 0.9), ("  99 of 100", 0.99)] {
        row(what, at(share));
    }
    steps(&landlord);
    landlord.stop();
}

/// As landlord does it when a company is let in.
fn migrate(landlord: &Landlord, number: usize) {
    let mut command = process::leashed(&binaries::program("landlord-worker"));
    command.arg("migrate").current_dir(landlord.folder(&name(number))).stdout(Stdio::null()).stderr(Stdio::null());
    let status = process::spawn(command).and_then(|mut child| child.wait());
    assert!(status.is_ok_and(|status| status.success()), "{} has a database", name(number));
}

/// As if all had been asleep when landlord was stopped.
fn all_asleep(landlord: &Landlord, count: usize) {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let names: Vec<String> = (0..count).map(name).collect();
    let text = serde_json::json!({"version": 1, "record": names}).to_string();
    fs::DirBuilder::new().recursive(true).mode(0o711).create(landlord.state()).expect("a folder for the state");
    let file = landlord.state().join("sleepers.json");
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).expect("a new file");
    std::io::Write::write_all(&mut file, text.as_bytes()).expect("it is written");
}

fn row(what: &str, figure: f64) {
    println!("{what:<52}{figure:>12.1}");
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn staff(landlord: &Landlord) -> Vec<(&'static str, u32)> {
    let roles = ["proxy", "log"].into_iter().filter_map(|role| Some((role, landlord.role(role)?)));
    [("master", landlord.pid())].into_iter().chain(roles).collect()
}

fn weigh(landlord: &Landlord, when: &str) {
    for (role, pid) in staff(landlord) {
        row(&format!("{role}: RSS, MiB, {when}"), process::resident(pid).map_or(f64::NAN, mebibytes));
    }
}

async fn timed(kept: &mut Raw, site: &Site) -> Duration {
    let begin = Instant::now();
    kept.send(site.message("GET", "/", &[], b"")).await.expect("it is sent");
    let answer = kept.response().await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    begin.elapsed()
}

/// Wakes one by a request on a connection that is there already, and compares that with warm ones.
async fn wake(landlord: &Landlord, number: usize, added: &mut Vec<Duration>) {
    let site = landlord.site(&name(number));
    let mut kept = site.h1().await.expect("a connection");
    let cold = timed(&mut kept, &site).await;
    let mut warm = Vec::new();
    for _ in 0..WARM {
        warm.push(timed(&mut kept, &site).await);
    }
    warm.sort_unstable();
    added.push(cold.saturating_sub(warm[WARM / 2]));
}

/// The medians of what landlord's own log says of each wake: from the decision to the process, to its health, to the table
/// that every core routes by.
fn steps(landlord: &Landlord) {
    let log = landlord.err().text();
    for (what, from, to) in [
        ("  of which: from being called to its process", "deploy", "start"),
        ("  from its process to its first healthy probe", "start", "ready"),
        ("  from its health until every core serves", "ready", "deployed"),
    ] {
        let mut took: Vec<f64> =
            (AWAKE..AWAKE + WAKES).filter_map(|number| between(&log, &name(number), from, to)).collect();
        took.sort_by(f64::total_cmp);
        if let Some(median) = took.get(took.len() / 2) {
            row(what, *median);
        }
    }
}

fn between(log: &str, tenant: &str, from: &str, to: &str) -> Option<f64> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let said: Vec<_> = lines.filter(|line| line["tenant"] == tenant).collect();
    let moment = |event: &str| {
        let line = said.iter().rfind(|line| line["event"] == event)?;
        let clock = line["timestamp"].as_str()?.trim_end_matches('Z').rsplit('T').next()?;
        let mut parts = clock.split(':').map(|part| part.parse::<f64>().ok());
        Some((parts.next()?? * 60.0 + parts.next()??) * 60.0 + parts.next()??)
    };
    Some((moment(to)? - moment(from)?) * 1e3)
}
