# A company's worker that makes trouble on request, and tells the process group that makes it: whoever asked ends it. Without
# http.server: an emulated machine imports it for seconds.
import os, resource, signal, socket

def eat():
    # Whoever is ended for it is followed by the next.
    while True:
        child = os.fork()
        if child == 0:
            held = []
            while True:
                held.append(b"x" * (1 << 20))
        os.waitpid(child, 0)

def breed():
    # Where nobody else has a limit, this one has: the machine is to be measured, not to be switched off.
    resource.setrlimit(resource.RLIMIT_NPROC, (500, 500))
    while True:
        try:
            os.fork()
        except OSError:
            pass

# Processes that end at once, and whose parents did not wait for them: others have to.
def scatter():
    while True:
        try:
            child = os.fork()
            if child == 0:
                os.fork()
                os._exit(0)
            os.waitpid(child, 0)
        except OSError:
            pass

def burn():
    for _ in range(3):
        os.fork()
    while True:
        pass

TROUBLES = {b"/eat": eat, b"/breed": breed, b"/scatter": scatter, b"/burn": burn}

# An honest page: some milliseconds of the processor.
def compute():
    total = 0
    for number in range(20000):
        total += number
    return total

def begin(trouble):
    leader = os.fork()
    if leader == 0:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        trouble()
    try:
        os.setpgid(leader, leader)
    except OSError:
        pass
    return leader

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.socket(fileno=3)
while True:
    peer, _ = listener.accept()
    try:
        line = peer.recv(65536).split(b" ")
        path = line[1] if len(line) > 1 else b""
        if path == b"/compute":
            compute()
        body = b"%d" % begin(TROUBLES[path]) if path in TROUBLES else b"ok"
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
    except OSError:
        pass
    peer.close()
