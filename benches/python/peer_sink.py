"""A collector of OpenTelemetry's spans in its own process, for the bench of peers: `python peer_sink.py`. It prints its port.

It keeps the first bodies under each path. `GET /KIND` returns the attributes of the spans under `/KIND/…` as JSON, and from then on
keeps no more of them, so that it only takes the time of its senders.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

bodies: defaultdict[str, list[bytes]] = defaultdict(list)
asked: set[str] = set()


def attributes(kind: str) -> list[dict[str, Any]]:
    """Return the attributes of each span that a caller has sent."""
    spans = []
    for body in bodies[kind]:
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    own = {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in span.attributes}
                    spans.append({name: value for name, value in own.items() if isinstance(value, str | int | float)})
    return spans


class Handler(BaseHTTPRequestHandler):
    """Handles one connection."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        """Take a request."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        # logfire's own address has no path before that of the API.
        kind = "logfire" if self.path.startswith("/v1/") else self.path.split("/")[1]
        if kind not in asked and self.path.endswith("/v1/traces"):
            bodies[kind].append(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
        self._answer(b"")

    def do_GET(self) -> None:
        """Answer with the spans of a caller, or with what logfire asks about its token."""
        kind = self.path.strip("/")
        if kind not in bodies:
            self._answer(b'{"project_name": "p", "project_url": "u"}')
            return
        asked.add(kind)
        self._answer(json.dumps(attributes(kind)).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()
