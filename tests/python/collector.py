"""A fake collector on 127.0.0.1 that keeps CloudEvents by id and can be told to misbehave."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Collector:
    """A collector. Its `rule` gets every request's events and returns the response: a status, optionally with headers and body, or
    `"reset"` to cut the connection after the events are kept."""

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._tls = tls
        self.port = port
        self.connections = 0
        self.events: dict[str, dict] = {}
        self.received = 0
        self.requests: list[dict] = []
        self.rule: Callable[[list[dict]], object] = lambda events: 200
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Collector:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                with outer._lock:
                    outer.connections += 1
                super().setup()

            def finish(self) -> None:
                outer._open.discard(self.request)
                super().finish()

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                text = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
                told = json.loads(text)
                # The request of a webhook is one object.
                events = told if isinstance(told, list) else [told]
                answer = outer.rule(events)
                status, headers, body = answer if isinstance(answer, tuple) else (answer, {}, b"")
                with outer._lock:
                    outer.requests.append(
                        {
                            "at": time.monotonic(),
                            "path": self.path,
                            "headers": {name.lower(): value for name, value in self.headers.items()},
                            "raw": raw,
                            "status": status,
                        }
                    )
                    if status == "reset" or 200 <= status < 300:
                        outer.received += len(events)
                        outer.events.update((event["id"], event) for event in events)
                if status == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def process_request(self, request: socket.socket, address: object) -> None:
                # In the order in which connections came, before a thread answers.
                outer._open.add(request)
                super().process_request(request, address)

            def handle_error(self, *arguments: object) -> None:
                pass

        self._server = Server(("127.0.0.1", self.port), Handler)
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.hang_up()

    def wait_until_idle(self) -> None:
        """Wait until the last request of a client that has ended was handled."""
        # The answer means that all earlier connections were accepted.
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            last.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while last.recv(4096):
                pass
        while self._open:
            time.sleep(0.02)

    def hang_up(self) -> None:
        """Close every connection, as servers do with idle ones."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        scheme = "cloudevents+http" if self._tls is None else "cloudevents+https"
        return f"{scheme}://127.0.0.1:{self.port}/v1/events?key=canary-in-url"
