"""A real ClickHouse server on 127.0.0.1: the one that the wheel `chdb-core` carries, with users of different rights."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from taximeter import Destination

PYTHON = Path(__file__).parents[2] / ".venv-clickhouse" / "bin" / "python"
START = """
import os, chdb._chdb as c
c.query(
    "SYSTEM START LISTEN HTTP; SELECT sleepEachRow(1) FROM system.numbers "
    "SETTINGS max_block_size=1, function_sleep_max_microseconds_per_block=0 FORMAT Null",
    "TabSeparated", path=os.path.abspath("data"),
)
"""
"""Runs `clickhouse-local` as a server. This way in is private, so the version of the wheel is pinned."""
SHUT = (
    "chdb-core no longer starts a ClickHouse server over HTTP the way that tests/python/clickhouse_server.py starts it: pin the version "
    "in tests/environments/clickhouse.txt to 26.9.0 again, or find another server"
)
USER = """<{name}><password>{key}</password><networks><ip>::/0</ip></networks><profile>{profile}</profile><quota>default</quota>{grants}</{name}>"""


class ClickHouse:
    """A server in a directory. It keeps its data when it is killed and started again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"clickhouse+http://127.0.0.1:{self.port}/default"
        self.process: subprocess.Popen | None = None
        self.users(writer="GRANT INSERT ON default.taximeter_events", reader="GRANT SELECT ON default.*")
        (directory / "config.xml").write_text(
            f"<clickhouse><listen_host>127.0.0.1</listen_host><http_port>{self.port}</http_port>"
            "<users_config>users.xml</users_config><max_server_memory_usage>2000000000</max_server_memory_usage></clickhouse>"
        )

    def users(self, *, writer: str = "", reader: str = "", profile: str = "") -> None:
        """Write the users' rights, which take effect with the next start. `profile` has settings of the writer."""
        grants = {"default": "", "writer": writer, "reader": reader}
        profiles = {"default": "default", "writer": "writer", "reader": "readonly"}
        keys = {"default": "", "writer": "writer-key-4711", "reader": "reader-key-4711"}
        made = [
            USER.format(
                name=name,
                key=keys[name],
                profile=profiles[name],
                grants=f"<grants><query>{grants[name]}</query></grants>" if grants[name] else "",
            )
            for name in grants
        ]
        (self.directory / "users.xml").write_text(
            f"<clickhouse><profiles><default/><writer>{profile}</writer><readonly><readonly>1</readonly></readonly></profiles>"
            f"<quotas><default/></quotas><users>{''.join(made)}</users></clickhouse>"
        )

    def start(self) -> ClickHouse:
        assert PYTHON.exists(), "this test needs `make environments`"
        log = self.directory / "log"
        with log.open("ab") as out:
            self.process = subprocess.Popen([PYTHON, "-c", START], cwd=self.directory, stdout=out, stderr=out)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=5).read() == b"Ok.\n":
                    return self
            except OSError:
                time.sleep(0.05)
        self.kill()
        raise AssertionError(f"{SHUT}. It said: {log.read_text()[-500:]}")

    def kill(self) -> None:
        """End the server as `kill -9` does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)
            self.process = None

    def restart(self, **users: str) -> None:
        """Kill the server, and start it again with the rights of these users, if there are any."""
        self.kill()
        if users:
            self.users(**users)
        self.start()

    def run(self, statement: str, **settings: str) -> str:
        query = urllib.parse.urlencode({"wait_end_of_query": "1", **settings})
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/?{query}", data=statement.encode())
        try:
            return urllib.request.urlopen(request, timeout=300).read().decode().strip()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{statement[:200]}: {error.read().decode()[:500]}") from None

    def post(self, query: str, body: bytes) -> None:
        """Send a request that a `Recorder` has kept."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/?{query}", data=body, headers={"Content-Encoding": "gzip"})
        try:
            urllib.request.urlopen(request, timeout=300).read()
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()[:500]) from None

    def number(self, expression: str, rest: str = "") -> int:
        return int(self.run(f"SELECT {expression} FROM taximeter_events {rest}"))

    def destination(self, **options) -> Destination:
        return Destination(self.url, **{"user": "writer", "token": "writer-key-4711", **options})


class Recorder:
    """A server that accepts every request and keeps its query and body. `answer` is its response: status, headers and body."""

    def __init__(self, answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")) -> None:
        self.requests: list[tuple[str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                outer.requests.append((self.path.partition("?")[2], body))
                status, headers, answered = answer
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(answered))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answered)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"clickhouse+http://127.0.0.1:{self._server.server_port}/default"

    def __enter__(self) -> Recorder:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def destination(self, **options) -> Destination:
        return Destination(self.url, **options)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a command that reads as the reader."""
    return {**os.environ, "CLICKHOUSE_USER": "reader", "CLICKHOUSE_PASSWORD": "reader-key-4711", **more}
