#!/usr/bin/env python3
"""Runs test programs in lanes, one after the other in each: most of them wait for most of their time.

usage: lanes.py LANES < what `cargo test --no-run --message-format=json` says

What a program says is shown when it has ended, so that no two are mixed. Each runs where `cargo test` would run it: in its
package's folder. The end is 1 when one of them failed.
"""

import collections, json, os, signal, subprocess, sys, tempfile, threading, time

# The longest, and those that compute most, go first: the run ends when the last one does. A name that is not here only
# costs time.
FIRST = """
    systemd_limits landlord chaos program_upgrades acme_faults supervision slow_clients tls_policy master_crash acme_renewal
    systemd_service acme_wildcard deploys package tenants_folder systemd_storm sleeping systemd_tenants upgrades_under_load
""".split()


class Program:
    """One test program, or another command that tests."""

    def __init__(self, name, title, command, folder):
        self.name, self.title, self.command, self.folder = name, title, command, folder

    def place(self):
        return FIRST.index(self.name) if self.name in FIRST else len(FIRST)


def programs(messages):
    """Those that cargo has built, and the examples in the documentation, which are rustdoc's to build."""
    for message in map(json.loads, messages):
        if message.get("reason") == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
            folder, target = os.path.dirname(message["manifest_path"]), message["target"]
            title = os.path.relpath(target["src_path"], folder) + f" ({target['name']})"
            yield Program(target["name"], title, [message["executable"]], folder)
    yield Program("doc", "examples in the documentation", ["cargo", "test", "--locked", "--workspace", "--doc"], ".")


class Run:
    """All lanes: what is to be run yet, what runs, and what has failed."""

    def __init__(self, waiting):
        self.waiting, self.running, self.failed = collections.deque(waiting), set(), []
        self.lock = threading.Lock()

    def lane(self):
        while True:
            with self.lock:
                if not self.waiting:
                    return
                program = self.waiting.popleft()
            self.one(program)

    def one(self, program):
        begun = time.monotonic()
        with tempfile.TemporaryFile() as said:
            child = subprocess.Popen(
                program.command, cwd=program.folder, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
            )
            with self.lock:
                self.running.add(child)
            status = child.wait()
            said.seek(0)
            with self.lock:
                self.running.discard(child)
                print(f"\n     Running {program.title}: {time.monotonic() - begun:.1f} s", flush=True)
                sys.stdout.buffer.write(said.read())
                if status != 0:
                    how = f"exit status {status}" if status > 0 else signal.Signals(-status).name
                    self.failed.append(f"{program.title}: {how}")
                    print(f"{program.title} has failed: {how}")
                sys.stdout.flush()

    def stop(self, *_):
        """The lanes end with what runs in them. What a test has started ends with the test."""
        with self.lock:
            self.waiting.clear()
            self.failed.append("it was told to stop")
            for child in self.running:
                child.terminate()


def main():
    found = sorted(programs(sys.stdin), key=Program.place)
    if len(found) < 2:
        sys.exit("cargo has built no test program")
    run = Run(found)
    threads = [threading.Thread(target=run.lane) for _ in range(int(sys.argv[1]))]
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, run.stop)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failed in run.failed:
        print(f"failed: {failed}")
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
