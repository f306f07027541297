"""The five SDKs' interfaces beside the originals: time taken from the caller, and processor time, for each event.

One process sends by turns through the original and through ours, to the same service, which is another process.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable

import sink

ROUNDS = 12
EVENTS = 50
CALLER = """
import sys, time
port, name, whose = sys.argv[1:]
if whose == "ours":
    from taximeter import compat
    compat.install(name)
url = f"http://127.0.0.1:{port}"
if name == "teer":
    from teer import TeerClient
    client = TeerClient("k", track_url=url)
    payload = {"provider": "openai", "model": "gpt-4o", "function_id": "f", "usage": {"input": 1000, "output": 2000}}
    def send():
        client.ingest.send(payload)
else:
    from tokentally import TokenTally
    client = TokenTally("tt_k", base_url=url)
    def send():
        client.track(tokens_in=150, tokens_out=300, model="gpt-4o", provider="openai", metadata={"feature": "chat"})
send()
for line in sys.stdin:
    times = int(line)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        send()
    print((time.perf_counter() - wall) / times, (time.process_time() - cpu) / times, flush=True)
"""


def _caller(port: str, name: str, whose: str, environment: dict[str, str]) -> tuple[subprocess.Popen[str], Callable[[], list[float]]]:
    process = subprocess.Popen(
        [sys.executable, "-c", CALLER, port, name, whose], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )

    def run() -> list[float]:
        assert process.stdin is not None
        assert process.stdout is not None
        print(EVENTS, file=process.stdin, flush=True)
        return [float(number) * 1e6 for number in process.stdout.readline().split()]

    return process, run


def main() -> None:
    with sink.running() as port, tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "TAXIMETER_STATE_DIR": state}
        for name, version in (("teer", "0.1.7"), ("tokentally", "0.4.0")):
            (one, original), (other, ours) = (_caller(str(port), name, whose, environment) for whose in ("original", "ours"))
            taken = [(original(), ours()) for _ in range(ROUNDS)][1:]
            for process in (one, other):
                process.communicate()
            for place, what in enumerate(("taken from the caller", "processor time")):
                theirs, own = (statistics.median(pair[kind][place] for pair in taken) for kind in (0, 1))
                print(f"{name}, an answered event, {what}: {version} {theirs:.0f} us, ours {own:.0f} us; {theirs / own:.1f} x")
