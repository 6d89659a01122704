//! What a hostile worker tries, and whom it tries it on.

use std::{
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    process::{Command, Stdio},
};

use landlord::wire::Plan;

/// What a worker may try against others, and against the kernel. `NEIGHBOUR` and `PORT` are another's process and port.
pub(crate) const ATTACKS: &str = r##"
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
pub(crate) fn refused(hidden: bool) -> String {
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
pub(crate) fn attacked(mut plan: Plan) -> (Plan, (Neighbour, TcpListener, UnixListener)) {
    let (neighbour, port) = (Neighbour::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let number = port.local_addr().unwrap().port();
    let name = SocketAddr::from_abstract_name(format!("landlord-walls-{number}")).unwrap();
    plan.env.insert("NEIGHBOUR".into(), neighbour.0.id().to_string());
    plan.env.insert("PORT".into(), number.to_string());
    (plan, (neighbour, port, UnixListener::bind_addr(&name).unwrap()))
}

/// A process of somebody else, ended with the test.
pub(crate) struct Neighbour(pub(crate) std::process::Child);

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
