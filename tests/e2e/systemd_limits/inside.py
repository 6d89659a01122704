# Runs in the emulated machine: makes trouble, and says what it sees, one fact a line. It judges nothing.
import glob, json, os, socket, ssl, subprocess, threading, time

UNIT = "/sys/fs/cgroup/system.slice/landlord.service"
TENANTS = "/etc/landlord/tenants.d"
LOG = "/run/landlord.log"

def fact(name, value):
    print("FACT " + json.dumps([name, value]), flush=True)

def step(name):
    fact("step", [name, round(time.monotonic(), 1)])

def read(path):
    try:
        return open(path).read().strip()
    except OSError as error:
        return "no: %s" % error

def number(path):
    text = read(path)
    return int(text) if text.isdigit() else None

def run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr

def until(condition, seconds=40):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    return None

def ask(tenant, path="/", patience=20):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host = tenant + ".apps.test"
    with socket.create_connection(("127.0.0.1", 443), patience) as raw:
        with context.wrap_socket(raw, server_hostname=host) as stream:
            stream.sendall(("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (path, host)).encode())
            return stream.recv(4096).split(b"\r\n")[0].decode()

def asked(tenant, path="/"):
    try:
        return ask(tenant, path)
    except OSError as error:
        return repr(error)

# What the neighbour's visitors meet, and how long they wait at most.
class Visitor(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.answers, self.others, self.longest, self.over = 0, [], 0.0, False
    def run(self):
        while not self.over:
            begun = time.monotonic()
            line = asked("calm")
            self.longest = max(self.longest, time.monotonic() - begun)
            if line == "HTTP/1.1 200 OK":
                self.answers += 1
            else:
                self.others.append(line)
            time.sleep(0.1)
    def end(self, name):
        self.over = True
        self.join()
        fact("neighbour", [name, self.answers, self.others, round(self.longest, 2)])

def visited(name, trouble):
    visitor = Visitor()
    visitor.start()
    trouble()
    until(lambda: visitor.answers >= 5)
    visitor.end(name)

# Every state that was told, as it was told.
states = []
def watch():
    told = subprocess.Popen(["landlord", "status", "--watch", "--json"], stdout=subprocess.PIPE, text=True)
    def follow():
        for line in told.stdout:
            states.append(line)
    threading.Thread(target=follow, daemon=True).start()

def entries(tenant):
    for line in list(states):
        try:
            told = json.loads(line)
        except ValueError:
            continue
        for entry in told if isinstance(told, list) else told.get("tenants", [told]):
            if entry.get("name") == tenant:
                yield entry

def newest(tenant):
    found = list(entries(tenant))
    return found[-1] if found else {}

def logged(*words):
    return [line for line in read(LOG).splitlines() if all(word in line for word in words)]

def processes(group):
    held = []
    for path in glob.glob(UNIT + "/" + group + "/**/cgroup.procs", recursive=True):
        held += read(path).split()
    return len(held)

def limits(tenant):
    files = ["memory.max", "memory.high", "memory.swap.max", "cpu.max", "cpu.weight", "pids.max", "io.weight"]
    return {file: read("%s/t-%s/%s" % (UNIT, tenant, file)) for file in files}

def tenant(name, text):
    beside = "%s/.%s.tmp" % (TENANTS, name)
    open(beside, "w").write(text)
    os.rename(beside, "%s/%s.toml" % (TENANTS, name))

def main_pid():
    return run("systemctl", "show", "--value", "--property=MainPID", "landlord")[1].strip()

# Who works for a tenant, by the groups.
def serving(tenant):
    return sorted(sum((read(path).split() for path in glob.glob(UNIT + "/t-" + tenant + "/g*/cgroup.procs")), []), key=int)[0]

# The master is killed, and systemd starts the next one.
def crash():
    killed = main_pid()
    os.kill(int(killed), 9)
    def again():
        said = run("systemctl", "show", "--property=MainPID,ActiveState", "landlord")[1].split()
        return "ActiveState=active" in said and not {"MainPID=0", "MainPID=" + killed} & set(said)
    fact("again", bool(until(again)))

HOG = 'app = "python"\n[limits]\nmemory = "%s"\ncpu = %d\nprocesses = 20\n'

def main():
    step("boot")
    run("ip", "link", "set", "lo", "up")
    fact("controllers", read("/sys/fs/cgroup/cgroup.controllers"))
    code, said = run("systemctl", "start", "landlord")
    fact("started", [code, said])
    watch()
    up = until(lambda: all(newest(name).get("state") == "running" for name in ("hog", "calm")), 60)
    step("up")
    fact("up", bool(up))
    fact("divided", read(UNIT + "/cgroup.subtree_control"))
    fact("groups", sorted(os.path.relpath(path, UNIT) for path in glob.glob(UNIT + "/**/", recursive=True)))
    fact("limits", limits("hog"))
    fact("default", limits("calm"))
    fact("machine", int(open("/proc/meminfo").readline().split()[1]) * 1024)
    worker = newest("hog").get("pid")
    fact("worker", {file: read("/proc/%s/%s" % (worker, file)) for file in ("oom_score_adj", "cgroup", "limits")})
    fact("house", [read("/proc/%s/oom_score_adj" % main_pid()), read(UNIT + "/roles/cpu.weight"), read(UNIT + "/master/cpu.weight")])

    step("changed")
    tenant("hog", HOG % ("48M", 80))
    fact("changed", bool(until(lambda: limits("hog")["memory.max"] == str(48 << 20))))
    fact("changed limits", limits("hog"))
    fact("same worker", [worker, newest("hog").get("pid")])

    step("hog")
    def hog():
        asked("hog", "/eat")
        fact("oom told", until(lambda: [e["reason"] for e in entries("hog") if "out of memory" in (e.get("reason") or "")]))
        fact("oom logged", until(lambda: logged("oom", "hog")))
        fact("back", bool(until(lambda: newest("hog").get("state") == "running" and newest("hog").get("pid") != worker)))
    visited("hog", hog)

    step("child")
    second = newest("hog").get("pid")
    asked("hog", "/child")
    fact("child logged", until(lambda: logged("oom", "one of its processes")))
    fact("worker lives", [second, newest("hog").get("pid")])

    step("bomb")
    def bomb():
        asked("hog", "/breed")
        fact("bomb", bool(until(lambda: number(UNIT + "/t-hog/pids.current") == 20)))
        fact("bomb logged", until(lambda: logged("processes", "hog", "got no more")))
    visited("bomb", bomb)
    fact("most", number(UNIT + "/t-hog/pids.current"))

    step("crash")
    held = number(UNIT + "/t-calm/memory.current")
    pid = newest("calm").get("pid")
    crash()
    fact("after the crash", [limits("calm")["memory.max"], held, number(UNIT + "/t-calm/memory.current"), read("/proc/%s/cgroup" % pid)])
    fact("adopted", asked("calm"))

    step("stop")
    begun = time.monotonic()
    code, said = run("landlord", "stop", "hog")
    fact("stopped", [code, said, processes("t-hog"), round(time.monotonic() - begun, 1)])
    code, said = run("systemctl", "stop", "landlord")
    fact("down", [code, said, os.path.exists(UNIT)])

    # As with systemd 252: the master is started in the unit's own group, which is divided while somebody lives below.
    step("older")
    os.makedirs("/run/systemd/system/landlord.service.d", exist_ok=True)
    open("/run/systemd/system/landlord.service.d/older.conf", "w").write("[Service]\nDelegateSubgroup=\n")
    run("systemctl", "daemon-reload")
    fact("older started", list(run("systemctl", "start", "landlord")))
    fact("older up", until(lambda: asked("calm") == "HTTP/1.1 200 OK"))
    pid = serving("calm")
    crash()
    fact("older again", [read(UNIT + "/cgroup.subtree_control"), limits("calm")["memory.max"], serving("calm") == pid, asked("calm")])
    fact("older place", [read("/proc/%s/cgroup" % main_pid()), read("/proc/%s/cgroup" % pid)])

    # A unit that may not write to its groups, as in another slice: the one that it is started in is there all the same.
    step("closed")
    open("/run/systemd/system/landlord.service.d/older.conf", "w").write("[Service]\nReadWritePaths=\n")
    run("systemctl", "daemon-reload")
    fact("closed started", list(run("systemctl", "restart", "landlord")))
    fact("closed up", until(lambda: asked("calm") == "HTTP/1.1 200 OK"))
    fact("closed logged", logged("no control groups"))
    step("end")

try:
    main()
except BaseException as error:
    import traceback
    fact("failed", traceback.format_exc())
finally:
    print("LOG " + read(LOG).replace("\n", "\nLOG "), flush=True)
