"""The dashboard of a ledger, served on 127.0.0.1 by a thread."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from wsgiref.util import setup_testing_defaults

import taximeter
from conftest import events_of
from taximeter.dashboard.server import Server

TOKEN = "t" * 40
NOW = datetime.now(timezone.utc)
HOSTILE = ["<script>alert(1)</script>", "[/foo]", "\x1b[2J", "\u202eacme", "=1+1", "株式会社アクメ", "é" * 256]
"""Names of customers that a page, a terminal or a spreadsheet must not run."""


@contextmanager
def serving(path: Path | str, kind: type[taximeter.Ledger] | None = None) -> Iterator[Server]:
    """Serve the ledger at a path or URL until the block ends. `kind` is the class that reads it."""
    with Server(lambda: (kind or taximeter.Ledger)(path, timezone="UTC"), TOKEN) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def filled(directory: Path) -> Path:
    """Return a ledger of 120 calls of 20 days, some failed, some without a price, with hostile names."""
    meter = taximeter.Meter(state_dir=directory)
    for number in range(120):
        meter.track(
            provider="openai", model=("gpt-4o", "gpt-4o-mini", "nosuch")[number % 3], input_tokens=1000 + number, output_tokens=number,
            cache_read_tokens=number, started_at=NOW - timedelta(hours=4 * number + 1), customer=HOSTILE[number % 7], user=f"u{number % 5}",
            tags={"plan": "pro"}, latency_ms=number * 37 % 101 if number % 4 else None, error="RateLimitError" if number % 10 == 0 else None,
        )  # fmt: skip
    # Many calls of one microsecond: pages must neither lose nor repeat any.
    for _ in range(200):
        meter.track(provider="openai", model="gpt-4o", input_tokens=1, started_at=NOW - timedelta(days=25))
    events_of(meter)
    meter.close()
    return meter.settings.ledger


def ask(server, target: str, method: str = "GET", **headers: str):
    """Send a request as it stands. Return the status, the headers and the body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    given = {"Host": f"127.0.0.1:{server.server_port}", "Authorization": f"Bearer {TOKEN}"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in given.items():
        if value:
            connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def get(server, panel: str, **query):
    status, headers, body = ask(server, f"/api/v1/{panel}?{urlencode(query, doseq=True)}")
    assert status == 200, body
    assert headers["Content-Type"] == "application/json"
    return json.loads(body)


def refused(server, target: str, **headers: str) -> tuple[int, str]:
    status, _, body = ask(server, target, **headers)
    return status, body.decode()


class Events:
    """Reads a stream of server-sent events, as a browser does."""

    def __init__(self, server, query: str = "", last: str = ""):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        headers = {"Authorization": f"Bearer {TOKEN}"} | ({"Last-Event-ID": last} if last else {})
        self.connection.request("GET", f"/api/v1/live?{query}", headers=headers)
        self.answer = self.connection.getresponse()
        self.last = last

    def message(self) -> dict | None:
        """Return the call of the next message; `None` for a message without one."""
        found = None
        while line := self.answer.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            if name == "id":
                self.last = value
            elif name == "data":
                found = json.loads(value)
        return found

    def close(self):
        self.answer.close()
        self.connection.close()


def call_app(app, target: str, **environ):
    """Call a WSGI application as a server would."""
    parts, heads = urlsplit(target), []
    given = {"PATH_INFO": parts.path, "QUERY_STRING": parts.query, **environ}
    setup_testing_defaults(given)
    body = b"".join(app(given, lambda status, headers: heads.append((status, dict(headers)))))
    return int(heads[0][0][:3]), heads[0][1], body
