//! The walls that the exec shim raises, tried from within by real programs: as root without capabilities, and as a user.
#![allow(clippy::unwrap_used, reason = "tests")]

mod attacks;
mod house;

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use attacks::{ATTACKS, attacked, refused};
use house::{House, PRELUDE, run, run_by};
use landlord::{sys::identity::is_root, wire::Walls};

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
