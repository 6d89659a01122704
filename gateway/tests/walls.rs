//! The walls that the exec shim raises, tried from within by real programs: as root without capabilities, and as a user.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::{self, Read},
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{PermissionsExt, symlink},
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use landlord::{
    sys::{
        identity::is_root,
        memfd,
        process::Pidfd,
        spawn::{Program, Spawn, spawn},
    },
    wire::{Estate, Job, Plan, ProcessLimits, Walls},
};

/// A house with two tenants; ours is `acme`.
struct House {
    dir: tempfile::TempDir,
    identity: Option<(u32, u32)>,
}

struct Said {
    out: String,
    report: String,
    code: Option<i32>,
}

impl House {
    /// With whatever this test runs as: root keeps its uid here, and so every file mode is on the tenant's side.
    fn new() -> Self {
        Self::of(None)
    }

    fn of(identity: Option<(u32, u32)>) -> Self {
        let dir = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
        let house = Self { dir, identity };
        for folder in ["state/tenants/acme", "state/tenants/other", "state/logs", "app"] {
            fs::create_dir_all(house.dir.path().join(folder)).unwrap();
        }
        fs::write(house.at("state/tenants/other/.env"), "SECRET=theirs\n").unwrap();
        fs::write(house.at("state/tenants/acme/.env"), "MINE=1\n").unwrap();
        fs::write(house.at("landlord.toml"), "").unwrap();
        fs::write(house.at("app/code.txt"), "code\n").unwrap();
        if let Some((uid, gid)) = identity {
            for path in ["state/tenants/acme", "state/tenants/acme/.env"] {
                std::os::unix::fs::chown(house.at(path), Some(uid), Some(gid)).unwrap();
            }
        }
        house
    }

    fn at(&self, below: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(below)
    }

    fn walls(&self) -> Walls {
        Walls {
            filesystem: true,
            syscalls: true,
            closed: ["state", "landlord.toml"].map(|own| self.at(own)).to_vec(),
            ..Walls::default()
        }
    }

    fn plan(&self, argv: &[&str], walls: Walls) -> Plan {
        let dir = self.at("state/tenants/acme");
        let pair = |name: &str, value: String| (name.to_owned(), value);
        Plan {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: BTreeMap::from([
                pair("HOUSE", self.at("").display().to_string()),
                pair("PATH", "/usr/local/bin:/usr/bin:/bin".into()),
                pair("HOME", dir.display().to_string()),
                pair("TMPDIR", dir.join("tmp").display().to_string()),
            ]),
            extra: BTreeMap::new(),
            dotenv: Some(dir.join(".env")),
            dir,
            rooms: vec!["tmp".into()],
            listen_fds: false,
            job: Job::Exec,
            estate: Estate::default(),
            identity: self.identity,
            group: None,
            limits: ProcessLimits::default(),
            sandbox: Some(walls),
            report: 5,
            die_with_parent: true,
            path: "/usr/local/bin:/usr/bin:/bin".into(),
        }
    }

    /// What came of a Python program within the walls.
    async fn python(&self, walls: Walls, script: &str) -> Said {
        run(&self.plan(&["/usr/bin/python3", "-c", &format!("{PRELUDE}\n{script}")], walls)).await
    }

    async fn shell(&self, walls: Walls, script: &str) -> Said {
        run(&self.plan(&["sh", "-c", script], walls)).await
    }
}

/// `tell(name, call)`: the name of the error that a call ends with, or `ok`.
const PRELUDE: &str = r##"
import ctypes, errno, os, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
house = os.environ["HOUSE"]
def tell(name, call):
    try:
        call()
        print(name, "ok")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
def system(number, *words):
    checked(libc.syscall(number, *[ctypes.c_long(word) for word in words]))
"##;

async fn run(plan: &Plan) -> Said {
    run_by(Path::new(env!("CARGO_BIN_EXE_landlord")), &[], plan).await
}

/// By this program, which is given these words before those of the shim.
async fn run_by(program: &Path, words: &[&str], plan: &Plan) -> Said {
    let abi = landlord::sys::machine::landlock_abi().unwrap_or(0);
    assert!(abi >= 6, "these tests need Linux 6.12, with Landlock 6 or newer: it has {abi}");
    let (mut out, theirs) = io::pipe().unwrap();
    let (mut report, report_end) = io::pipe().unwrap();
    let sealed = memfd::seal("plan", &serde_json::to_vec(plan).unwrap()).unwrap();
    let errors = theirs.try_clone().unwrap();
    let child = spawn(Spawn {
        program: Program::Path(program.into()),
        args: words.iter().chain(&["exec", "--plan", "4"]).map(Into::into).collect(),
        env: Vec::new(),
        fds: vec![(sealed, 4), (report_end.into(), 5)],
        stdin_null: true,
        stdout: Some(theirs.into()),
        stderr: Some(errors.into()),
        dir: None,
        die_with_parent: true,
    })
    .unwrap();
    let (mut said, mut why) = (String::new(), String::new());
    out.read_to_string(&mut said).unwrap();
    report.read_to_string(&mut why).unwrap();
    let exit = Pidfd::new(child.pidfd).unwrap().exited().await.unwrap();
    Said { out: said, report: why, code: exit.code }
}

/// A process of somebody else, ended with the test.
struct Neighbour(std::process::Child);

impl Neighbour {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").env("SECRET", "theirs").stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn files_outside_its_own_are_closed_and_its_own_are_open() {
    let house = House::new();
    symlink("../other/.env", house.at("state/tenants/acme/link")).unwrap();
    let script = r##"
tell("neighbour", lambda: open(house + "state/tenants/other/.env"))
tell("link", lambda: open("link"))
tell("names", lambda: os.listdir(house + "state/tenants"))
tell("logs", lambda: open(house + "state/logs/x", "w"))
tell("settings", lambda: open(house + "landlord.toml"))
tell("shadow", lambda: open("/etc/shadow"))
tell("etc", lambda: os.listdir("/etc"))
tell("home", lambda: os.listdir("/root"))
tell("var", lambda: os.listdir("/var/log"))
tell("tmp", lambda: open("/tmp/landlord-walls-test", "w"))
tell("shm", lambda: open("/dev/shm/landlord-walls-test", "w"))
tell("usr", lambda: open("/usr/landlord-walls-test", "w"))
tell("truncate", lambda: os.truncate(house + "state/tenants/other/.env", 0))
tell("hardlink", lambda: os.link(house + "state/tenants/other/.env", "hard"))
tell("out", lambda: os.rename(".env", house + "state/tenants/other/new"))
tell("init", lambda: open("/proc/1/environ").read())
tell("own", lambda: (os.makedirs("a/b"), open("a/b/c", "w").write("x"), os.rename("a/b/c", "d"), os.truncate("d", 0),
                     os.symlink("d", "s"), os.mkfifo("f"), os.remove("d"), os.rmdir("a/b")))
tell("run", lambda: (open("p", "w").write("#!/bin/sh\nexit 0\n"), os.chmod("p", 0o700), os.execv("./p", ["p"]) if os.fork() == 0 else os.wait()))
tell("null", lambda: open("/dev/null", "w").write("x"))
tell("resolv", lambda: open("/etc/resolv.conf").read())
tell("names_of_users", lambda: open("/etc/passwd").read())
tell("cpu", lambda: (open("/proc/cpuinfo").read(), open("/proc/meminfo").read(), os.listdir("/sys/devices/system/cpu")))
tell("child", lambda: checked(-os.system("cat /proc/self/stat /proc/self/maps > /dev/null")))
"##;
    let said = house.python(house.walls(), script).await;
    // As root the shim hides other processes; nobody else may, and then the kernel refuses what could hurt.
    let out = said.out.replace("init ENOENT", "init EACCES");
    let expected = "neighbour EACCES\nlink EACCES\nnames EACCES\nlogs EACCES\nsettings EACCES\nshadow EACCES\netc EACCES\n\
                    home EACCES\nvar EACCES\ntmp EACCES\nshm EACCES\nusr EACCES\ntruncate EACCES\nhardlink EXDEV\n\
                    out EACCES\ninit EACCES\nown ok\nrun ok\nnull ok\nresolv ok\nnames_of_users ok\ncpu ok\nchild ok\n";
    assert_eq!(out, expected, "{}", said.report);
}

/// What a worker may try against others, and against the kernel. `NEIGHBOUR` and `PORT` are another's process and port.
const ATTACKS: &str = r##"
import platform
x86 = platform.machine() == "x86_64"
neighbour, port = int(os.environ["NEIGHBOUR"]), int(os.environ["PORT"])
abstract = lambda: socket.socket(socket.AF_UNIX).connect("\0landlord-walls-%d" % port)
tell("environ", lambda: open("/proc/%d/environ" % neighbour).read())
tell("memory", lambda: open("/proc/%d/mem" % neighbour).read())
tell("signal", lambda: os.kill(neighbour, 0))
tell("kill", lambda: os.kill(neighbour, 15))
tell("ptrace", lambda: checked(libc.ptrace(16, neighbour, 0, 0)))
tell("vm", lambda: checked(libc.process_vm_readv(neighbour, None, 0, None, 0, 0)))
tell("abstract", abstract)
tell("bind", lambda: socket.socket().bind(("127.0.0.1", port + 1)))
tell("bind6", lambda: socket.socket(socket.AF_INET6).bind(("::1", port + 1)))
tell("any", lambda: socket.socket().bind(("0.0.0.0", 0)))
tell("connect", lambda: socket.create_connection(("127.0.0.1", port)))
tell("mount", lambda: checked(libc.mount(b"x", b"/mnt", b"tmpfs", 0, None)))
tell("umount", lambda: checked(libc.umount2(b"/proc", 2)))
tell("user", lambda: checked(libc.unshare(0x10000000)))
tell("mounts", lambda: checked(libc.unshare(0x20000)))
tell("time", lambda: checked(libc.unshare(0x80)))
tell("clone", lambda: system(56 if x86 else 220, 0x10000000 | 17, 0, 0, 0, 0))
tell("clone3", lambda: system(435, 0, 0))
tell("setns", lambda: checked(libc.setns(0, 0)))
tell("bpf", lambda: system(321 if x86 else 280, 0, 0, 0))
tell("keyctl", lambda: system(250 if x86 else 219, 0, -3, 0))
tell("userfaultfd", lambda: system(323 if x86 else 282, 0))
tell("perf", lambda: system(298 if x86 else 241, 0, 0, 0, 0, 0))
tell("io_uring", lambda: system(425, 1, 0))
tell("kexec", lambda: system(246 if x86 else 104, 0, 0, 0, 0))
tell("module", lambda: system(313 if x86 else 273, 0, 0, 0))
tell("handle", lambda: system(304 if x86 else 265, 0, 0, 0))
tell("reboot", lambda: checked(libc.reboot(0)))
tell("clock", lambda: system(227 if x86 else 112, 0, 0))
tell("name", lambda: checked(libc.sethostname(b"x", 1)))
tell("type", lambda: checked(libc.ioctl(0, 0x5412, b"x")))
tell("x32", lambda: system(0x40000000 | 39))
"##;

/// All of them, but for those on the first lines, are EPERM.
fn refused(hidden: bool) -> String {
    let unseen = if hidden { "ENOENT" } else { "EACCES" };
    let files = [("environ", unseen), ("memory", unseen)];
    let calls = ["signal", "kill", "ptrace", "vm", "abstract"].map(|call| (call, "EPERM"));
    let ports = ["bind", "bind6", "any", "connect"].map(|call| (call, "EACCES"));
    let kernel = ["mount", "umount", "user", "mounts", "time", "clone"].map(|call| (call, "EPERM"));
    let more = [
        "setns",
        "bpf",
        "keyctl",
        "userfaultfd",
        "perf",
        "io_uring",
        "kexec",
        "module",
        "handle",
        "reboot",
        "clock",
        "name",
        "type",
    ];
    let more = more.map(|call| (call, "EPERM"));
    let all = files.into_iter().chain(calls).chain(ports).chain(kernel).chain([("clone3", "ENOSYS")]).chain(more);
    all.chain([("x32", "ENOSYS")]).map(|(call, error)| format!("{call} {error}\n")).collect()
}

/// A neighbour with a process, a port and an abstract socket, whom this plan's worker attacks.
fn attacked(mut plan: Plan) -> (Plan, (Neighbour, TcpListener, UnixListener)) {
    let (neighbour, port) = (Neighbour::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let number = port.local_addr().unwrap().port();
    let name = SocketAddr::from_abstract_name(format!("landlord-walls-{number}")).unwrap();
    plan.env.insert("NEIGHBOUR".into(), neighbour.0.id().to_string());
    plan.env.insert("PORT".into(), number.to_string());
    (plan, (neighbour, port, UnixListener::bind_addr(&name).unwrap()))
}

#[tokio::test]
async fn neighbours_and_the_kernel_are_out_of_reach() {
    for identity in [None, Some((70_001, 70_001))].into_iter().filter(|identity| identity.is_none() || is_root()) {
        let house = House::of(identity);
        let walls = Walls { egress: Some(vec![443]), ..house.walls() };
        let script = format!("{PRELUDE}\n{ATTACKS}");
        let (plan, mut others) = attacked(house.plan(&["/usr/bin/python3", "-c", &script], walls));
        let said = run(&plan).await;
        assert_eq!(said.out, refused(is_root()), "{identity:?} {}", said.report);
        assert_eq!(others.0.0.try_wait().unwrap(), None, "the neighbour lives");
    }
}

#[tokio::test]
async fn without_privileges_the_walls_are_the_same() {
    if !is_root() {
        // Then every test here is this one.
        return;
    }
    let (uid, script) = (70_003, format!("{PRELUDE}\n{ATTACKS}"));
    let mut house = House::of(Some((uid, uid)));
    // Where landlord lies may be closed to that user.
    let program = house.at("landlord");
    fs::copy(env!("CARGO_BIN_EXE_landlord"), &program).unwrap();
    house.identity = None;
    let walls = Walls { egress: Some(vec![443]), ..house.walls() };
    let (plan, others) = attacked(house.plan(&["/usr/bin/python3", "-c", &script], walls));
    let user = format!("--reuid={uid}");
    let words = [&user, "--regid=70003", "--clear-groups", program.to_str().unwrap()];
    let said = run_by(Path::new("/usr/bin/setpriv"), &words, &plan).await;
    assert_eq!(said.out, refused(false), "{}", said.report);
    drop(others);
}

#[tokio::test]
async fn only_its_own_port_is_bound_and_only_egress_connected_to() {
    let house = House::new();
    let there = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port = there.local_addr().unwrap().port();
    let script = format!(
        "tell('bind', lambda: socket.socket().bind(('127.0.0.1', {free})))\n\
         tell('connect', lambda: socket.create_connection(('127.0.0.1', {port})))\n"
    );
    for (bind, egress, expected) in [
        (Some(free), None, "bind ok\nconnect ok\n"),
        (None, Some(vec![port]), "bind EACCES\nconnect ok\n"),
        (Some(free), Some(Vec::new()), "bind ok\nconnect EACCES\n"),
    ] {
        let said = house.python(Walls { bind, egress, ..house.walls() }, &script).await;
        assert_eq!(said.out, expected, "{}", said.report);
    }
}

#[tokio::test]
async fn the_operators_word_opens_what_it_names() {
    let house = House::new();
    let read = "tell('neighbour', lambda: open(house + 'state/tenants/other/.env'))\n\
                tell('write', lambda: open(house + 'state/logs/x', 'w'))\n\
                tell('user', lambda: checked(libc.unshare(0x10000000)))\n";
    let (other, logs) = (house.at("state/tenants/other"), house.at("state/logs"));
    let closed = house.walls();
    for (walls, expected) in [
        (closed.clone(), ["EACCES", "EACCES", "EPERM"]),
        (Walls { read: vec![other], ..closed.clone() }, ["ok", "EACCES", "EPERM"]),
        (Walls { write: vec![logs], ..closed.clone() }, ["EACCES", "ok", "EPERM"]),
        (Walls { filesystem: false, ..closed.clone() }, ["ok", "ok", "EPERM"]),
        (Walls { syscalls: false, ..closed.clone() }, ["EACCES", "EACCES", "ok"]),
        (Walls { namespaces: true, ..closed.clone() }, ["EACCES", "EACCES", "ok"]),
    ] {
        let said = house.python(walls.clone(), read).await;
        let expected = format!("neighbour {}\nwrite {}\nuser {}\n", expected[0], expected[1], expected[2]);
        assert_eq!(said.out, expected, "{walls:?} {}", said.report);
    }

    let gone = house.at("gone");
    for walls in [Walls { read: vec![gone.clone()], ..closed.clone() }, Walls { write: vec![gone.clone()], ..closed }] {
        let said = house.shell(walls, "echo never").await;
        let expected = format!("landlord: `[sandbox]` names {}, which the tenant cannot open", gone.display());
        assert!(said.report.starts_with(&expected), "{}", said.report);
        assert_eq!(said.code, Some(78), "{}", said.out);
    }
}

#[tokio::test]
async fn a_browser_may_build_its_own_sandbox() {
    if !is_root() {
        // A user of its own is what it takes: as root, /proc has more in it than maps of users.
        return;
    }
    let house = House::of(Some((70_001, 70_001)));
    let walls = Walls { namespaces: true, ..house.walls() };
    let said = house.shell(walls, "unshare --user --map-root-user --pid --fork id -u").await;
    assert_eq!((said.out.as_str(), said.code), ("0\n", Some(0)), "{}", said.report);
}

#[tokio::test]
async fn code_that_landlords_own_folders_lie_in_is_open_without_them() {
    let house = House::new();
    let script =
        "cat $HOUSE/app/code.txt; cat $HOUSE/landlord.toml; ls $HOUSE/state; cat $HOUSE/state/tenants/other/.env";
    let said = house.shell(Walls { code: vec![house.at("")], ..house.walls() }, script).await;
    assert!(said.out.starts_with("code\n"), "{} {}", said.out, said.report);
    assert_eq!(said.out.matches("Permission denied").count(), 3, "{}", said.out);

    // A program there brings its folder, and not what lies beside that.
    let app = house.at("app/serve");
    fs::write(&app, "#!/bin/sh\ncat $HOUSE/app/code.txt; cat $HOUSE/landlord.toml\n").unwrap();
    fs::set_permissions(&app, Permissions::from_mode(0o755)).unwrap();
    let said = run(&house.plan(&[app.to_str().unwrap()], house.walls())).await;
    assert!(said.out.starts_with("code\n") && said.out.ends_with("Permission denied\n"), "{}", said.out);
}

#[tokio::test]
async fn runtimes_do_not_notice() {
    let house = House::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let walls = Walls { bind: Some(free), ..house.walls() };
    let script = r##"
import sqlite3, ssl, subprocess, tempfile, threading, uuid, zoneinfo
assert ssl.create_default_context().cert_store_stats()["x509_ca"] > 0
assert zoneinfo.ZoneInfo("Europe/Berlin").utcoffset(__import__("datetime").datetime(2026, 1, 1)).seconds == 3600
with sqlite3.connect("app.db") as db:
    db.execute("pragma journal_mode = wal"); db.execute("create table t (a)")
assert subprocess.run(["sh", "-c", "cat <&0; id -u > u; getent hosts localhost"], input=b"x", check=True, capture_output=True).stdout[:1] == b"x"
with tempfile.NamedTemporaryFile() as file: file.write(b"x")
thread = threading.Thread(target=uuid.uuid4); thread.start(); thread.join()
print("python")
"##;
    let said = house.python(walls.clone(), script).await;
    assert_eq!(said.out, "python\n", "{}", said.report);

    let script = r##"
const { Worker } = require("worker_threads"), http = require("http"), { execFileSync } = require("child_process");
if (!(process.memoryUsage().rss > 0 && require("os").cpus().length > 0)) throw new Error("machine");
execFileSync(process.execPath, ["-e", "process.exit(process.memoryUsage().rss > 0 ? 0 : 1)"]);
require("crypto").randomBytes(8); require("fs").writeFileSync(require("os").tmpdir() + "/x", "x");
new Worker("require('worker_threads').parentPort.postMessage(1)", { eval: true }).on("message", () => {
  const server = http.createServer((_, answer) => answer.end("x")).listen(+process.env.PORT, "127.0.0.1", () =>
    http.get({ port: process.env.PORT, host: "127.0.0.1" }, (answer) => { console.log("node", answer.statusCode); server.close(); process.exit(0); }));
});
"##;
    let mut plan = house.plan(&["node", "-e", script], walls);
    plan.env.insert("PORT".into(), free.to_string());
    let said = run(&plan).await;
    assert_eq!(said.out, "node 200\n", "{}", said.report);

    let said = run(&house
        .plan(&["bash", "-c", "cat <(echo sub) - <<< here | tee /dev/null; date +%Z; cd; [ -w . ]"], house.walls()))
    .await;
    assert_eq!(said.out, "sub\nhere\nUTC\n", "{}", said.report);
}
