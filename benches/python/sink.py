"""A collector in its own process, for the benches: `python sink.py [--keep] [--port N]`. It first prints its port.

Without `--keep` it reads requests without parsing them, so that only the sender is measured. With `--keep` it stores the ids of
CloudEvents, answers a fifth of the requests with 503, and breaks the connection of another fifth after it has stored their events.
`GET /` returns how many requests arrived, and how many events and distinct ids were stored; `GET /ids` lists the ids.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import socket
import struct
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ANSWER = b'{"success":true,"status":"ok","record_id":"r","cost_usd":0.1}'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
RESET = struct.pack("ii", 1, 0)


class Sink:
    """The collector's counts and responses."""

    def __init__(self, *, keeps: bool) -> None:
        self._keeps = keeps
        self._lock = threading.Lock()
        self._requests = 0
        self._events = 0
        self._ids: set[bytes] = set()

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection."""
        data = b""
        with contextlib.suppress(OSError, ValueError), connection:
            while True:
                while b"\r\n\r\n" not in data:
                    piece = connection.recv(1 << 20)
                    if not piece:
                        return
                    data += piece
                head, _, rest = data.partition(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")), 0)
                body, data = self._body(connection, rest, length)
                if lines[0].startswith(b"get"):
                    text = self._report(ids=b"/ids" in lines[0])
                elif not self._take(connection, body, is_gzip=b"content-encoding: gzip" in lines):
                    return
                else:
                    text = ANSWER
                connection.sendall(OK % (len(text), text))

    def _body(self, connection: socket.socket, rest: bytes, length: int) -> tuple[bytes, bytes]:
        missing = length - len(rest)
        pieces = [rest]
        while missing > 0:
            piece = connection.recv(min(missing, 1 << 20))
            if not piece:
                raise OSError
            missing -= len(piece)
            if self._keeps:
                pieces.append(piece)
        body = b"".join(pieces)
        return body[:length], body[length:]

    def _take(self, connection: socket.socket, body: bytes, *, is_gzip: bool) -> bool:
        """Store the events of a request. Return whether to answer with 200."""
        with self._lock:
            self._requests += 1
        if not self._keeps:
            return True
        chance = random.random()
        if chance < 0.2:
            connection.sendall(b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            return False
        events = json.loads(gzip.decompress(body) if is_gzip else body)
        with self._lock:
            self._events += len(events)
            self._ids.update(bytes.fromhex(event["id"].replace("-", "")) for event in events)
        if chance < 0.4:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return False
        return True

    def _report(self, *, ids: bool) -> bytes:
        with self._lock:
            if ids:
                return b"".join(self._ids)
            return json.dumps({"requests": self._requests, "events": self._events, "distinct": len(self._ids)}).encode()


def main() -> None:
    port = int(sys.argv[sys.argv.index("--port") + 1]) if "--port" in sys.argv else 0
    sink = Sink(keeps="--keep" in sys.argv)
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=sink.serve, args=(connection,), daemon=True).start()


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[int]:
    """Run a sink in another process, and yield its port."""
    with subprocess.Popen([sys.executable, str(Path(__file__).resolve()), *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def ask(port: int, path: str = "/") -> bytes:
    """Return the body of a GET request to a sink."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        body: bytes = answer.read()
    return body


if __name__ == "__main__":
    main()
