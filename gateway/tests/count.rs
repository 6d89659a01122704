//! The counter as a process: what it may do, and that it can be a bystander for as long as nobody reads.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::Command,
};

use landlord::{
    sys::{
        self,
        spawn::{Program, Spawn},
    },
    wire::{CountOrder, Counted},
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// More lines than a pipe takes: with nobody reading, it is in the middle of them for as long as it is to be looked at.
const TENANTS: usize = 1000;

/// As `RestrictSUIDSGID=` has it: openat2(2) is a call that this kernel does not know. Holds for this thread and its children.
fn as_in_the_service() {
    let calls = BTreeMap::from([(libc::SYS_openat2, Vec::new())]);
    let (known, unknown) = (SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32));
    let arch = std::env::consts::ARCH.try_into().expect("an architecture of seccompiler's");
    let filter = SeccompFilter::new(calls, known, unknown, arch).expect("a filter");
    let filter: BpfProgram = filter.try_into().expect("a program");
    seccompiler::apply_filter(&filter).expect("a filter of this thread");
}

#[test]
fn it_sees_every_folder_and_may_do_nothing_else() {
    let root = sys::identity::is_root();
    as_in_the_service();
    let temp = tempfile::tempdir().expect("a folder");
    for nth in 0..TENANTS {
        let folder = temp.path().join(format!("t{nth}"));
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("secret"), vec![1; 5000]).expect("a file");
        fs::set_permissions(folder.join("secret"), fs::Permissions::from_mode(0o0)).expect("closed");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("closed");
    }
    let tenants = (0..TENANTS).map(|nth| format!("t{nth}").parse().expect("a name")).collect();
    let order = serde_json::to_vec(&CountOrder { tenants }).expect("an order");
    let order = sys::memfd::seal("order", &order).expect("a memfd");
    let (read, write) = sys::spawn::pipe().expect("a pipe");
    let folder = fs::File::open(temp.path()).expect("the folder of all");
    let mut args = ["count", "--order", "3", "--tenants", "4", "--out", "5"].map(Into::into).to_vec();
    if root {
        args.extend(["--uid", "69999", "--gid", "69999"].map(Into::into));
    }
    let child = sys::spawn::spawn(Spawn {
        program: Program::Path(env!("CARGO_BIN_EXE_landlord").into()),
        args,
        env: Vec::new(),
        fds: vec![(order, 3), (folder.into(), 4), (write, 5)],
        stdin_null: true,
        stdout: None,
        stderr: None,
        dir: None,
        die_with_parent: true,
    })
    .expect("it is started");

    let mut lines = BufReader::new(fs::File::from(read)).lines();
    let first = lines.next().expect("a line").expect("readable");
    let status = fs::read_to_string(format!("/proc/{}/status", child.pid)).expect("it is at it");
    let field = |name: &str| {
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {status}"));
        line.trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(field("NoNewPrivs"), "1");
    if root {
        assert_eq!(field("Uid"), "69999 69999 69999 69999");
        assert_eq!(field("Gid"), "69999 69999 69999 69999");
        assert_eq!(field("Groups"), "");
        // CAP_DAC_READ_SEARCH, and none of the others.
        for (set, held) in [("CapInh", 0), ("CapPrm", 4), ("CapEff", 4), ("CapBnd", 0), ("CapAmb", 0)] {
            assert_eq!(u64::from_str_radix(&field(set), 16), Ok(held), "{set}");
        }
    }
    let nice = Command::new("ps").args(["-o", "ni=", "-p", &child.pid.to_string()]).output().expect("ps (procps)");
    assert_eq!(String::from_utf8_lossy(&nice.stdout).trim(), "19");

    let all: Vec<Counted> = [Ok(first)]
        .into_iter()
        .chain(lines)
        .map(|line| serde_json::from_str(&line.expect("readable")).expect("a line of figures"))
        .collect();
    assert_eq!(all.len(), TENANTS);
    for counted in all {
        assert_eq!((counted.entries, counted.whole, counted.error), (2, true, None), "{}", counted.tenant);
        assert!((8192..65_536).contains(&counted.used), "{}", counted.used);
    }
    let status = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child.pid as i32), None).expect("ours");
    assert_eq!(status, nix::sys::wait::WaitStatus::Exited(nix::unistd::Pid::from_raw(child.pid as i32), 0));
}
