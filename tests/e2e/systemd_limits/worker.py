# A worker that eats and breeds on request. Without http.server: an emulated machine imports it for seconds.
import os, signal, socket, sys

def eat():
    held = []
    while True:
        held.append(b"x" * (1 << 20))

def breed():
    while True:
        try:
            os.fork()
        except OSError:
            pass

def child(what):
    if os.fork() == 0:
        what()

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.socket(fileno=3)
while True:
    peer, _ = listener.accept()
    line = peer.recv(65536).split(b" ")
    path = line[1] if len(line) > 1 else b""
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    peer.close()
    if path == b"/eat":
        eat()
    if path == b"/child":
        child(eat)
    if path == b"/breed":
        child(breed)
