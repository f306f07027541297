"""Real networks: private authorities, proxies, slow connections, hanging servers and frozen processes."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
import trustme

import taximeter
from collector import Collector
from conftest import wait_for


@pytest.fixture
def authority():
    return trustme.CA()


def server_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


ONE = """
import sys, taximeter
taximeter.init(destination=sys.argv[1], instrument=False)
taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
report = taximeter.flush(float(sys.argv[2]))
print(report.pending, next(iter(taximeter.stats()["destinations"].values()))["last_error"])
"""


def test_a_private_authority_is_trusted_through_ca_bundle(authority, tmp_path, state):
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    with Collector(server_side(authority)) as collector:
        meter = taximeter.Meter(destination=taximeter.Destination(collector.url, ca_bundle=pem), state_dir=state)
        receipt = meter.track(provider="openai", model="gpt-4o", input_tokens=1)
        assert meter.flush(60).pending == 0, meter.stats()
        assert list(collector.events) == [receipt.id]
        meter.close()


def test_a_private_authority_is_trusted_through_the_environment(authority, tmp_path, run):
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    with Collector(server_side(authority)) as collector:
        assert run(ONE, collector.url, "10", SSL_CERT_FILE=str(pem)).stdout.strip() == "0 None"
        assert len(collector.events) == 1


def test_events_are_kept_if_the_authority_is_unknown(authority, run):
    with Collector(server_side(authority)) as collector:
        outcome = run(ONE, collector.url, "1").stdout
        assert outcome.startswith("1 127.0.0.1: ")
        assert "certificate" in outcome.lower()
        assert not collector.requests


def test_a_replaced_certificate_changes_nothing(authority, tmp_path, state):
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    with Collector(server_side(authority)) as collector:
        meter = taximeter.Meter(destination=taximeter.Destination(collector.url, ca_bundle=pem), state_dir=state)
        meter.track(provider="openai", model="gpt-4o", input_tokens=1)
        assert meter.flush(60).pending == 0
    with Collector(server_side(authority), collector.port) as again:
        meter.track(provider="openai", model="gpt-4o", input_tokens=1)
        wait_for(lambda: meter.flush(1).pending == 0)
        assert len(again.events) == 1
    meter.close()


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_bundle_without_a_certificate_is_rejected(tmp_path, state, text):
    bundle = tmp_path / "ca.pem"
    bundle.write_text(text)
    with pytest.raises(taximeter.ConfigError, match="ca_bundle"):
        taximeter.Meter(destination=taximeter.Destination("cloudevents+https://c.example/", ca_bundle=bundle), state_dir=state)


@pytest.mark.parametrize(
    ("argument", "value"), [("timeout", 0), ("timeout", "soon"), ("timeout", True), ("timeout", float("nan")), ("ca_bundle", 7)]
)
def test_bad_arguments_are_named(argument, value):
    with pytest.raises(taximeter.ConfigError, match=argument):
        taximeter.Destination("cloudevents+https://c.example/", **{argument: value})


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Content-Encoding"])
def test_headers_that_a_request_has_of_its_own_are_refused(name):
    with pytest.raises(taximeter.ConfigError, match=f"headers: {name.lower()} depends on the body"):
        taximeter.Destination("cloudevents+https://c.example/", headers={name: "5"})


@pytest.mark.parametrize("url", ["c.example\\@other.example/", "c.example/\r\nX: y", "c.example/\0"])
def test_a_url_that_readers_take_in_different_ways_is_refused(url):
    with pytest.raises(taximeter.ConfigError, match="url: it has a backslash or a control character"):
        taximeter.Destination(f"cloudevents+https://{url}")
    # Secrets that a file ends with a line break are usual.
    assert taximeter.Destination("cloudevents+https://c.example/\n").host == "c.example"


PROXIED = """
import sys, taximeter
# Unencrypted, so that a collector can be this test's proxy.
taximeter.init(destination=taximeter.Destination("cloudevents+http://collector.invalid/v1", allow_http=True), instrument=False)
taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
print(taximeter.flush(float(sys.argv[1])).pending)
"""


def test_other_hosts_are_reached_through_the_proxy(run):
    with Collector() as proxy:
        assert run(PROXIED, "60", HTTP_PROXY=f"http://127.0.0.1:{proxy.port}").stdout.strip() == "0"
        (request,) = proxy.requests
        assert request["path"] == "http://collector.invalid/v1"


@pytest.mark.parametrize("exempt", ["collector.invalid", ".invalid", "*"])
def test_exempt_hosts_bypass_the_proxy(run, exempt):
    with Collector() as proxy:
        assert run(PROXIED, "2", HTTP_PROXY=f"http://127.0.0.1:{proxy.port}", NO_PROXY=exempt).stdout.strip() == "1"
        assert not proxy.requests


class SlowLine:
    """A proxy that passes `rate` bytes per second to a server, and breaks some connections."""

    def __init__(self, port: int, rate: int, cuts: float) -> None:
        self._to, self._rate, self._cuts = port, rate, cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cut = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        random.seed(3)
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                limit = random.randrange(2000) if random.random() < self._cuts else None
                # A small buffer, so that data arrives while it is sent.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                threading.Thread(target=self._carry, args=(client, server, limit), daemon=True).start()
                threading.Thread(target=self._carry, args=(server, client, None), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        carried = 0
        with contextlib.suppress(OSError):
            while data := source.recv(512):
                carried += len(data)
                if limit is not None and carried > limit:
                    self.cut += 1
                    break
                if target.getpeername()[1] == self._to:
                    time.sleep(len(data) / self._rate)
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._listener.close()


def test_a_slow_unreliable_connection_delivers_everything_in_small_batches(state):
    """Sending everything takes five times as long as a response may. 8 KiB/s with 1 s stand for 1 KiB/s with 10 s."""
    with Collector() as collector:
        line = SlowLine(collector.port, rate=8192, cuts=0.3)
        url = f"cloudevents+http://127.0.0.1:{line.port}/"
        meter = taximeter.Meter(destination=taximeter.Destination(url, timeout=3), state_dir=state)
        ids = {
            # Random sessions, so that compression does not shrink the requests to nothing.
            meter.track(provider="openai", model="gpt-4o", input_tokens=1, session=random.randbytes(32).hex()).id
            for _ in range(400)
        }
        wait_for(lambda: meter.flush(0.5).pending == 0)
        assert set(collector.events) == ids
        assert line.cut
        assert min(len(request["raw"]) for request in collector.requests) < 8192
        meter.close()
        line.close()


def test_a_hanging_collector_times_out_after_a_third_of_the_timeout(state):
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"cloudevents+http://127.0.0.1:{listener.getsockname()[1]}/"
    meter = taximeter.Meter(destination=taximeter.Destination(url, timeout=9), state_dir=state)
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    begun = time.monotonic()
    meter.flush(0.01)
    wait_for(lambda: "timed out" in (next(iter(meter.stats()["destinations"].values()))["last_error"] or ""))
    assert 2.5 < time.monotonic() - begun < 9
    meter.close(0)
    listener.close()


FROZEN = """
import sys, taximeter
taximeter.init(destination=sys.argv[1], instrument=False)
for line in sys.stdin:
    taximeter.track(provider="openai", model="gpt-4o", input_tokens=1)
    report = taximeter.flush(60)
    print(report.pending, next(iter(taximeter.stats()["destinations"].values()))["retries"], flush=True)
"""


def test_a_resumed_process_delivers_within_two_attempts(state):
    """Simulate a container that is paused for 15 minutes while the server closes the connection."""
    with (
        Collector() as collector,
        subprocess.Popen(
            [sys.executable, "-c", FROZEN, collector.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TAXIMETER_STATE_DIR": str(state)},
        ) as process,
    ):

        def one() -> list[int]:
            process.stdin.write("\n")
            process.stdin.flush()
            return [int(part) for part in process.stdout.readline().split()]

        try:
            assert one() == [0, 0]
            process.send_signal(signal.SIGSTOP)
            collector.hang_up()
            time.sleep(1)
            process.send_signal(signal.SIGCONT)
            pending, retries = one()
            assert (pending, retries <= 1) == (0, True)
            assert len(collector.events) == collector.received == 2
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def test_a_collector_that_is_stopped_and_resumed_gets_everything(state):
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True, cwd=os.path.dirname(__file__)
    ) as process:
        try:
            url = process.stdout.readline().strip()
            meter = taximeter.Meter(destination=taximeter.Destination(url, timeout=1), state_dir=state)
            process.send_signal(signal.SIGSTOP)
            slowest = 0.0
            for _ in range(500):
                begun = time.perf_counter()
                assert meter.track(provider="openai", model="gpt-4o", input_tokens=1)
                slowest = max(slowest, time.perf_counter() - begun)
            assert meter.flush(1.5).pending == 500
            process.send_signal(signal.SIGCONT)
            wait_for(lambda: meter.flush(1).pending == 0)
            meter.close()
            process.send_signal(signal.SIGUSR1)
            assert process.stdout.readline().strip() == "500"
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()
    assert slowest < 5


STOPPED = """
import signal
from collector import Collector
with Collector() as collector:
    print(collector.url, flush=True)
    signal.signal(signal.SIGUSR1, lambda *_: print(len(collector.events), flush=True))
    while True:
        signal.pause()
"""
