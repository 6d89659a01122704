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
        self.waiting, self.running, self.failed = collections.deque(waiting), {}, []
        self.ended, self.stopping = 0, False
        # Held in the handler of a signal too, which may come while this very thread holds it.
        self.lock = threading.RLock()

    def lane(self):
        while True:
            with self.lock:
                if not self.waiting:
                    return
                program = self.waiting.popleft()
            try:
                self.one(program)
            except Exception as error:
                with self.lock:
                    self.failed.append(f"{program.title}: {error}")

    def one(self, program):
        begun = time.monotonic()
        with tempfile.TemporaryFile() as said:
            with self.lock:
                if self.stopping:
                    return
                print(f"     Started {program.title}", flush=True)
                child = subprocess.Popen(
                    program.command, cwd=program.folder, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
                )
                self.running[child] = program
            status = child.wait()
            said.seek(0)
            with self.lock:
                del self.running[child]
                self.ended += 1
                print(f"\n     Running {program.title}: {time.monotonic() - begun:.1f} s", flush=True)
                sys.stdout.buffer.write(said.read())
                if status != 0:
                    how = f"exit status {status}" if status > 0 else f"signal {-status}"
                    self.failed.append(f"{program.title}: {how}")
                    print(f"{program.title} has failed: {how}")
                sys.stdout.flush()

    def stop(self, *_):
        """The lanes end with what runs in them. What a test has started ends with the test."""
        with self.lock:
            self.stopping = True
            self.waiting.clear()
            for child, program in self.running.items():
                self.failed.append(f"{program.title}: it was told to stop")
                child.terminate()


def main():
    found = sorted(programs(sys.stdin), key=Program.place)
    if len(found) < 2:
        sys.exit("cargo has built no test program")
    lanes = int(sys.argv[1])
    if lanes < 1:
        sys.exit("there is no lane to run them in")
    run = Run(found)
    threads = [threading.Thread(target=run.lane) for _ in range(lanes)]
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, run.stop)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failed in run.failed:
        print(f"failed: {failed}")
    if run.ended < len(found):
        print(f"{len(found) - run.ended} of {len(found)} test programs did not run to their end")
    return 1 if run.failed or run.ended < len(found) else 0


if __name__ == "__main__":
    sys.exit(main())
