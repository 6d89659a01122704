//! Processes as the kernel tells of them: starting them so that they end with the test, waiting, and looking for what is left.

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Child, Command, ExitStatus},
    sync::{
        OnceLock,
        mpsc::{Sender, channel},
    },
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait::within;

type Job = (Command, Sender<std::io::Result<Child>>);

/// Starts `command` from a thread that lives as long as this process.
///
/// The signal at the parent's death follows the *thread* that spawned: a test's own thread would take the gateway
/// with it whenever it ends, and a pool's thread whenever it is idle.
pub fn spawn(command: Command) -> std::io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = channel::<Job>();
        std::thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for (mut command, answer) in queue {
                    let _ = answer.send(command.spawn());
                }
            })
            .expect("a thread can be started");
        jobs
    });
    let (answer, result) = channel();
    spawner.send((command, answer)).expect("the spawner lives as long as the process");
    result.recv().expect("the spawner answers")
}

/// A command that is killed when this test process dies, however it dies.
pub fn leashed(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// The same, with so many descriptors and no more (prlimit is in util-linux).
pub fn leashed_with(program: &Path, descriptors: Option<u32>) -> Command {
    let Some(most) = descriptors else { return leashed(program) };
    let mut command = leashed(Path::new("prlimit"));
    command.arg(format!("--nofile={most}:{most}")).arg(program);
    command
}

/// landlord on its leash. Without `network_rights` it lacks `CAP_NET_ADMIN`, which only root has to begin with.
pub fn leashed_gateway(descriptors: Option<u32>, network_rights: bool) -> Command {
    let program = crate::binaries::program("landlord");
    if network_rights || !nix::unistd::geteuid().is_root() {
        return leashed_with(&program, descriptors);
    }
    let mut command = leashed_with(Path::new("setpriv"), descriptors);
    command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"]).arg(program);
    command
}

/// Waits for the end of a child, at most `bound`.
pub fn wait(child: &mut Child, bound: Duration) -> Option<ExitStatus> {
    within(bound, || child.try_wait().expect("a child of ours can be waited for"))
}

/// Sends a signal; `false` when there is no such process.
pub fn signal(pid: u32, signal: Signal) -> bool {
    kill(Pid::from_raw(pid as i32), signal).is_ok()
}

/// Whether the process is there and no zombie.
pub fn alive(pid: u32) -> bool {
    matches!(stat(pid), Some((state, _)) if state != 'Z')
}

/// Whether nothing of the process is left: none of its threads, and nobody has to wait for it.
pub fn reaped(pid: u32) -> bool {
    stat(pid).is_none()
}

/// Whether the process stands still after SIGSTOP.
pub fn stopped(pid: u32) -> bool {
    matches!(stat(pid), Some(('T', _)))
}

/// Every live process whose command line, environment or working directory names `path`, with its command line.
pub fn naming(path: &Path) -> Vec<(u32, String)> {
    let needle = path.as_os_str().as_bytes();
    all()
        .into_iter()
        .filter(|pid| *pid != std::process::id() && alive(*pid))
        .filter_map(|pid| {
            let cmdline = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let cwd = fs::read_link(format!("/proc/{pid}/cwd")).ok();
            let named = contains(&cmdline, needle)
                || contains(&environ, needle)
                || cwd.is_some_and(|dir| dir.starts_with(path));
            named.then(|| (pid, String::from_utf8_lossy(&cmdline).replace('\0', " ").trim().to_owned()))
        })
        .collect()
}

/// Every descendant of `pid`, zombies included.
pub fn descendants(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = all().into_iter().filter_map(|p| Some((p, stat(p)?.1))).collect();
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(child, _)| *child));
        next += 1;
    }
    found.split_off(1)
}

/// The descendants of `pid` that have ended and that nobody has waited for.
pub fn zombies(pid: u32) -> Vec<u32> {
    descendants(pid).into_iter().filter(|p| matches!(stat(*p), Some(('Z', _)))).collect()
}

/// Resident memory, bytes.
pub fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib: u64 =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// CPU time used so far, user and system.
pub fn cpu(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // Fields 14 and 15 of proc_pid_stat(5), in ticks of 1/100 s on every Linux that there is.
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

/// Open file descriptors.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count).unwrap_or(0)
}

/// Established connections over IPv4 that the process holds and that were accepted on `port`.
pub fn accepted(pid: u32, port: u16) -> usize {
    let held: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .map(|fds| {
            fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()?.into_os_string().into_string().ok()).collect()
        })
        .unwrap_or_default();
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    // Columns of proc_net_tcp: the local address, the state (01: established), the inode.
    let ours = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|columns| columns.len() > 9 && columns[1].ends_with(&format!(":{port:04X}")) && columns[3] == "01");
    ours.filter(|columns| held.contains(&format!("socket:[{}]", columns[9]))).count()
}

/// The command line's words.
pub fn command_line(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|b| *b == 0).filter(|word| !word.is_empty()).map(|w| String::from_utf8_lossy(w).into_owned()).collect()
}

fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// State letter and parent.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_found_by_its_folder_and_ends() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut command = leashed(Path::new("sleep"));
        command.arg("600").env("MARK", dir.path());
        let mut child = spawn(command).expect("sleep starts");
        let found = crate::eventually("the child names the folder", || naming(dir.path()).pop());
        assert_eq!(found.0, child.id());
        assert!(descendants(std::process::id()).contains(&child.id()));
        assert!(signal(child.id(), Signal::SIGKILL));
        assert!(wait(&mut child, crate::PATIENCE).is_some());
        assert!(!alive(child.id()));
    }
}
