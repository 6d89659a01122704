//! Who runs as whom, and how a worker is reached: users, unix sockets, what a worker inherits.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt};

use harness::{Landlord, Setup, eventually, process};

/// The bundled worker, on a unix socket.
const ON_A_SOCKET: &str = "[apps.socket]\ncommand = [\"landlord-worker\", \"serve\"]\n\
                           migrate = [\"landlord-worker\", \"migrate\"]\nhealth = \"/healthz\"\nlisten = \"unix\"\n";

fn status_of(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("a live process");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("a field of /proc/PID/status");
    line.trim_start_matches(':').trim().to_owned()
}

fn pid_of(landlord: &Landlord, tenant: &str) -> u32 {
    let entry = landlord.wait_state(tenant, "running");
    entry.pid.expect("a running worker has a pid")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_on_a_unix_socket_serves_and_is_redeployed() {
    let landlord = Setup::new().tables(ON_A_SOCKET).tenant("acme", "app = \"socket\"\n").start();
    let before = landlord.wait_state("acme", "running");
    assert_eq!(before.port, None, "a unix socket has no port");
    for _ in 0..3 {
        assert_eq!(landlord.site("acme").get("/healthz").await.expect("an answer").status, 200);
        landlord.landlord(&["restart", "acme"]).expect(0);
    }
    assert_ne!(landlord.wait_state("acme", "running").generation, before.generation);
    let left = eventually("old generations leave no socket behind", || {
        let sockets = fs::read_dir(landlord.state().join("run/workers")).expect("the folder of sockets");
        let left: Vec<_> = sockets.map(|entry| entry.expect("an entry").path()).collect();
        (left.len() == 1).then_some(left)
    });
    let mode = fs::metadata(&left[0]).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only the proxy may connect");
}

/// As root with `[users]` each tenant is a user of its own with no privilege at all; without root, everybody is whoever
/// started landlord, and still nobody gains privileges.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_tenant_is_a_user_of_its_own_where_landlord_is_root() {
    // Three of these are the roles' own, and nobody else's.
    let setup =
        Setup::new().default_app("workspace").tables("[users]\nfirst = 69996\nlast = 70099\n").tables(ON_A_SOCKET);
    let mut landlord = setup.tenant("acme", "").tenant("beta", "app = \"socket\"\n").prepare();
    // Whoever is to own a folder must be able to reach it.
    fs::set_permissions(landlord.dir(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    landlord.start_again();
    let root = nix::unistd::geteuid().is_root();
    let mut users = BTreeSet::new();
    for tenant in ["acme", "beta"] {
        let pid = pid_of(&landlord, tenant);
        assert_eq!(landlord.site(tenant).get("/healthz").await.expect("an answer").status, 200);
        assert_eq!(status_of(pid, "NoNewPrivs"), "1");
        users.insert(status_of(pid, "Uid"));
        if root {
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(status_of(pid, set), "0000000000000000", "{set} of {tenant}");
            }
            assert_eq!(status_of(pid, "Groups"), "");
            let uid = status_of(pid, "Uid");
            let uid: u32 = uid.split_whitespace().next().expect("a uid").parse().expect("a number");
            assert!(uid == 69_996 || uid == 70_000, "{uid}");
            use std::os::unix::fs::MetadataExt;
            let folder = fs::metadata(landlord.folder(tenant)).expect("its folder");
            assert_eq!((folder.uid(), folder.permissions().mode() & 0o777), (uid, 0o700));
        }
    }
    assert_eq!(users.len(), if root { 2 } else { 1 }, "{users:?}");
}

/// The roles that face the internet and the tenants' output have no privilege, whoever started landlord.
#[test]
fn roles_have_no_privilege() {
    let authority = harness::authority::Authority::start();
    let landlord = authority.setup().tenant("acme", "").start();
    landlord.wait_state("acme", "running");
    // It has been at work: a certificate is there.
    landlord.wait_certificate("*.apps.test", "valid");
    let names = ["landlord-proxy", "landlord-log", "landlord-acme"];
    let is_role = |pid: &u32| names.contains(&status_of(*pid, "Name").as_str());
    let roles: Vec<u32> = process::descendants(landlord.pid()).into_iter().filter(is_role).collect();
    assert_eq!(roles.len(), 3, "a proxy, a log role and an acme role");
    for pid in roles {
        assert_eq!(status_of(pid, "NoNewPrivs"), "1");
        assert_eq!(status_of(pid, "CapEff"), "0000000000000000");
        if nix::unistd::geteuid().is_root() {
            assert!(!status_of(pid, "Uid").starts_with("0\t"), "it is not root any more");
        }
    }
}
