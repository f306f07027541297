"""The service of an SDK on 127.0.0.1, which keeps every request and answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

# What the HTTP library says of itself and of the connection: the SDKs promise none of it.
TRANSPORT = {"host", "user-agent", "accept", "accept-encoding", "connection", "content-length"}


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    @property
    def wire(self) -> tuple[str, str, dict[str, str], Any]:
        """What the service reads: method, path, headers that are the SDK's own, and the body, its keys in their order."""
        own = {name: value for name, value in self.headers.items() if name not in TRANSPORT}
        return self.method, self.path, own, json.dumps(self.json)


class VendorServer:
    """Its `answers` are given one after the other, the last for ever: a status, and a body as text, bytes or what JSON is made of."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: list[tuple[int, Any] | str] = [(200, {})]
        self.headers: dict[str, str] = {}
        self.connections = 0
        self.delay = 0.0
        """Seconds that each answer takes."""
        self._ended = threading.Event()

    def __enter__(self) -> VendorServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                outer.connections += 1
                super().setup()

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append(Request(self.command, self.path, headers, body))
                time.sleep(outer.delay)
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                if answer == "silence":
                    outer._ended.wait(120)
                if isinstance(answer, str):
                    self.close_connection = True
                    return
                status, content = answer
                data = (
                    content if isinstance(content, bytes) else (content if isinstance(content, str) else json.dumps(content)).encode()
                )
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"
