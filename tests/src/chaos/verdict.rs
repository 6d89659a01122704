//! After the storm: everybody is what they are to be, and nothing is there twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use super::{
    House, Stopped, Wishes,
    storm::{Mark, mark},
};
use crate::{Entry, PATIENCE, eventually, process};

/// How long a fleet may take to come to rest: a killed worker may have to wait half a minute for its next attempt.
const REST: Duration = Duration::from_secs(150);

/// How a fleet came to rest.
#[derive(Clone, Debug, Default)]
pub struct Convergence {
    /// How long it took.
    pub took: Duration,
    /// Tenants that an operator had to help, as `status` told them: a deploy, or a fifth start in a minute, was killed.
    pub helped: BTreeMap<String, String>,
}

/// Waits until every tenant is what its file says and serves it.
///
/// # Panics
/// When one never is.
pub async fn converge(house: &impl House, wishes: &mut Wishes) -> Convergence {
    let begun = Instant::now();
    let mut helped = BTreeMap::new();
    let mut helpers: BTreeMap<String, Child> = BTreeMap::new();
    loop {
        helpers.retain(|_, child| child.try_wait().expect("a child of ours can be waited for").is_none());
        let mut off = Vec::new();
        let fleet = house.status().unwrap_or_default();
        for (name, wish) in &mut *wishes {
            let entry = fleet.iter().find(|entry| entry.name == *name);
            let Some(why) = off_course(name, wish, entry, house).await else { continue };
            let doubt = wish.stopped == Stopped::Unknown;
            if wish.present && !helpers.contains_key(name) && (doubt || entry.is_some_and(|e| given_up(e, wish.broken)))
            {
                let verb = if doubt { "start" } else { "restart" };
                if !doubt {
                    helped
                        .insert(name.clone(), entry.map(|e| format!("{}: {}", e.state, e.reason)).unwrap_or_default());
                }
                let mut command = house.command(&[verb, name]);
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                helpers.insert(name.clone(), process::spawn(command).expect("landlord can be started"));
            }
            off.push(why);
        }
        if off.is_empty() && !fleet.is_empty() && helpers.is_empty() {
            return Convergence { took: begun.elapsed(), helped };
        }
        let sockets = || sockets(house.worker_ports());
        assert!(begun.elapsed() < REST, "they never came to rest: {off:#?}\n{fleet:#?}\nports: {:?}", sockets());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What an operator reads as a call for help: nothing more will happen by itself, or not soon.
fn given_up(entry: &Entry, broken: bool) -> bool {
    // A test has few ports, and a killed worker's connections keep its own for a minute (TIME_WAIT): that passes.
    let waits_for_a_port = entry.state == "failed" && entry.reason.contains("got no port");
    (entry.state == "failed" && !waits_for_a_port) || (entry.state == "running" && !entry.reason.is_empty() && !broken)
}

async fn off_course(name: &str, wish: &super::Wish, entry: Option<&Entry>, house: &impl House) -> Option<String> {
    let Some(entry) = entry else {
        return wish.present.then(|| format!("{name} is not known"));
    };
    if !wish.present {
        return (entry.state != "removed").then(|| format!("{name} is {}, and its file is gone", entry.state));
    }
    if wish.broken {
        // One that never had good settings has nothing to run; any other runs on with the last good ones.
        let known = entry.state == "rejected" || ["running", "suspended", "stopped"].contains(&entry.state.as_str());
        return (!known || entry.reason.is_empty()).then(|| format!("{name} is wrong, and {entry:?}"));
    }
    if !wish.states().contains(&entry.state.as_str()) {
        return Some(format!("{name} is to be {:?} and is {}: {}", wish.states(), entry.state, entry.reason));
    }
    if entry.state != "running" {
        return None;
    }
    let why = wish.wrong(name, house).await?;
    Some(format!("{name} (reason {:?}): {why}", entry.reason))
}

/// Every process that a generation started is of the one generation that its tenant has in force; nobody else is of the
/// house but the master, one proxy and one log role.
///
/// # Panics
/// When somebody else stays.
pub fn no_orphan(house: &impl House) {
    let found = |fleet: &[Entry]| -> Vec<String> {
        let in_force: BTreeMap<&str, u64> = fleet
            .iter()
            .filter(|entry| entry.pid.is_some())
            .filter_map(|entry| Some((entry.name.as_str(), entry.generation?)))
            .collect();
        let mut roles = BTreeMap::<String, u32>::new();
        let mut wrong = Vec::new();
        for pid in house.processes().into_iter().filter(|pid| process::alive(*pid)) {
            let words = process::command_line(pid);
            match mark(pid) {
                Some(Mark { tenant, generation, .. }) if in_force.get(tenant.as_str()) == Some(&generation) => {}
                Some(mark) => wrong.push(format!("{pid} of {mark:?}: {words:?}")),
                None => *roles.entry(words.get(1).cloned().unwrap_or_default()).or_default() += 1,
            }
        }
        for role in ["run", "proxy", "log"] {
            if roles.remove(role) != Some(1) {
                wrong.push(format!("not one process of `landlord {role}`"));
            }
        }
        wrong.extend(roles.into_iter().map(|(verb, count)| format!("{count} of {verb:?}")));
        wrong
    };
    let mut last = Vec::new();
    let none = crate::wait::within(PATIENCE, || {
        let fleet = house.status()?;
        last = found(&fleet);
        last.is_empty().then_some(())
    });
    assert!(none.is_some(), "orphans, or somebody twice: {last:#?}");
}

/// Each tenant that has a port has one of its own, and nobody else listens on a worker's port.
///
/// # Panics
/// When two share one, or somebody listens who should not.
pub fn each_port_once(house: &impl House) {
    eventually("the ports that are listened on are those that status tells, each once", || {
        let fleet = house.status()?;
        let mut told: Vec<u16> = fleet.iter().filter(|e| e.pid.is_some()).filter_map(|entry| entry.port).collect();
        let count = told.len();
        told.sort_unstable();
        told.dedup();
        assert_eq!(told.len(), count, "two tenants with one port: {fleet:#?}");
        let mut listened = listening(house.worker_ports());
        listened.sort_unstable();
        (listened == told).then_some(())
    });
}

/// The ports of a range on which somebody listens, one entry a socket.
fn listening(range: std::ops::RangeInclusive<u16>) -> Vec<u16> {
    sockets(range).into_iter().filter(|(_, state)| state == "0A").map(|(port, _)| port).collect()
}

/// The sockets of a range, and the state of each as proc_pid_net_tcp(5) has it: 0A listens, 06 waits for its time.
fn sockets(range: std::ops::RangeInclusive<u16>) -> Vec<(u16, String)> {
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    let rows = table.lines().skip(1).filter_map(|row| {
        let mut fields = row.split_whitespace().skip(1);
        let port = u16::from_str_radix(fields.next()?.rsplit_once(':')?.1, 16).ok()?;
        Some((port, fields.nth(1)?.to_owned()))
    });
    rows.filter(|(port, _)| range.contains(port)).collect()
}

/// No state file was ever torn: nothing was put aside, and `landlord check` finds nothing wrong.
///
/// # Panics
/// When one was.
pub fn files_whole(house: &impl House) {
    let mut folders = vec![house.state()];
    let mut aside = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if name.contains(".bad-") {
                aside.insert(path);
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) && name != "tenants" {
                folders.push(path);
            }
        }
    }
    assert!(aside.is_empty(), "a kill has torn state files: {aside:?}");
    let output = house.command(&["check"]).output().expect("landlord can be started");
    assert!(output.status.success(), "landlord check: {}", String::from_utf8_lossy(&output.stdout));
}
