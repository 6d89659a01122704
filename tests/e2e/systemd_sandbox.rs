//! The unit's sandbox is every worker's: what is written in any language must not notice it.

use harness::machine::{Install, Version};

/// Serves what a worker can do, found out at its start. In Python, because both machines have it.
const PROBE: &str = r#"
import ctypes, http.server, json, mmap, os, resource, socket, sys
libc = ctypes.CDLL(None, use_errno=True)

def errno_of(call):
    # In a child, so that what it gains or loses is its own.
    pid = os.fork()
    if pid == 0:
        try:
            call()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")

def just_in_time():
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    page.write(b"\xb8\x2a\x00\x00\x00\xc3")  # mov eax, 42; ret
    at = ctypes.addressof(ctypes.c_char.from_buffer(page))
    checked(libc.mprotect(ctypes.c_void_p(at), 4096, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))
    if ctypes.CFUNCTYPE(ctypes.c_int)(at)() != 42:
        raise OSError(1, "")

can = {
    "just_in_time": errno_of(just_in_time),
    "landlock": errno_of(lambda: checked(libc.syscall(444, None, 0, 1))),
    "user_namespace": errno_of(lambda: checked(libc.unshare(0x10000000))),
    "seccomp": errno_of(lambda: checked(libc.prctl(38, 1, 0, 0, 0))),
    "priority": errno_of(lambda: os.nice(5)),
    "limits": errno_of(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))),
    "netlink": errno_of(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()),
    "processors": 0 if open("/proc/cpuinfo").read() else 1,
    "temporary": errno_of(lambda: open(os.environ.get("TMPDIR", "/tmp") + "/x", "w").close()),
    "own_folder": errno_of(lambda: open("instance/x" if os.path.isdir("instance") else "/tmp/x", "w").close()),
}
if sys.argv[1:] == ["tell"]:
    print(json.dumps(can))
    sys.exit(0)

class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(can).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answers).serve_forever()
"#;

/// Node compiles just in time and WebAssembly ahead of it, on threads of its own.
const NODE: &str = r#"
const wasm = new Uint8Array([0,97,115,109,1,0,0,0,1,5,1,96,0,1,127,3,2,1,0,7,5,1,1,102,0,0,10,6,1,4,0,65,42,11]);
const hot = (n) => { let sum = 0; for (let i = 0; i < n; i++) sum = (sum + i * i) % 1000003; return sum; };
require("http").createServer(async (request, response) => {
  const { instance } = await WebAssembly.instantiate(wasm);
  response.end(JSON.stringify({ wasm: instance.exports.f(), hot: hot(3e6), cores: require("os").cpus().length > 0 }));
}).listen(process.env.PORT, process.env.HOST);
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_can_what_it_could_outside() {
    for version in Version::ALL {
        let app = "[apps.probe]\ncommand = [\"/usr/bin/python3\", \"/usr/lib/landlord-tests/probe.py\"]\nsandbox = { namespaces = true }\n";
        let install = Install::new(version).tables(app).tenant("acme", "app = \"probe\"\n");
        let service = install.plan(|plan| plan.file("/usr/lib/landlord-tests/probe.py", PROBE)).start();
        service.wait_state("acme", "running");
        let text = service.site("acme").get("/").await.expect("an answer").text();
        // The same program as an ordinary user of the same machine: a container is not the whole of what Linux has.
        let user = ["setpriv", "--reuid=70001", "--regid=70001", "--clear-groups"];
        let tell = ["python3", "/usr/lib/landlord-tests/probe.py", "tell"];
        let outside = service.machine().run(&[&user[..], &tell[..]].concat()).expect(0).stdout;
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(read(&text), read(&outside), "{version:?}");
        assert_eq!(read(&text)["just_in_time"], 0, "{version:?}");
        assert_eq!(read(&text)["own_folder"], 0, "{version:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_compiles() {
    let app = "[apps.node]\ncommand = [\"/usr/bin/node\", \"/usr/lib/landlord-tests/app.js\"]\n";
    let install = Install::new(Version::V252).tables(app).tenant("acme", "app = \"node\"\n");
    let service = install.plan(|plan| plan.file("/usr/lib/landlord-tests/app.js", NODE)).start();
    service.wait_state("acme", "running");
    let text = service.site("acme").get("/").await.expect("an answer").text();
    assert!(text.contains("\"wasm\":42") && text.contains("\"cores\":true"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bundled_worker_migrates_deploys_and_keeps_a_copy() {
    for version in Version::ALL {
        let app = |version: &str| {
            format!(
                "[apps.board]\ncommand = [\"landlord-worker\", \"serve\"]\nmigrate = [\"landlord-worker\", \"migrate\"]\nlisten = \"inherit\"\nhealth = \"/healthz\"\nversion = {version:?}\n"
            )
        };
        let service = Install::new(version).tables(&app("one")).tenant("acme", "app = \"board\"\n").start();
        let before = service.wait_state("acme", "running");
        let text = service.machine().read("/etc/landlord/landlord.toml");
        service.machine().write("/etc/landlord/landlord.toml", text.replace("\"one\"", "\"two\""));
        service.landlord(&["reload"]).expect(0);
        let after = service.watch().until("the new version serves", |fleet| {
            fleet.iter().any(|e| e.state == "running" && e.generation > before.generation)
        });
        assert_eq!(after[0].reason, "", "{version:?}: as a tenant, and in the unit's sandbox");
        let copies = service.machine().shell("find /var/lib/landlord/backups/acme -name app.db").expect(0);
        assert_eq!(copies.stdout.lines().count(), 1, "{version:?}: {}", copies.said());
        assert_eq!(service.site("acme").get("/healthz").await.expect("an answer").status, 200);
        assert!(service.landlord(&["logs", "acme"]).expect(0).stdout.lines().count() > 0, "its words are kept");
    }
}

#[test]
fn what_workers_have_in_tmp_outlives_the_master() {
    for version in Version::ALL {
        let service = Install::new(version).tenant("acme", "").start();
        let worker = service.wait_state("acme", "running").pid.expect("a pid");
        let machine = service.machine();
        let seen = format!("/proc/{worker}/root/tmp/kept");
        machine.shell(&format!("echo kept > {seen}")).expect(0);
        assert!(!machine.path("/tmp/kept").exists(), "{version:?}: it is nobody else's");
        let master = service.pid();
        machine.run(&["kill", "-KILL", &master.to_string()]).expect(0);
        machine.wait_property("landlord", "NRestarts", "1");
        machine.wait_property("landlord", "ActiveState", "active");
        assert_eq!(service.wait_state("acme", "running").pid, Some(worker), "{version:?}: it goes on");
        assert_eq!(machine.shell(&format!("cat {seen}")).stdout, "kept\n", "{version:?}");
    }
}
