"""Measures what metering adds to a client's calls: processor time of the caller's process, memory, and start-up time.

The provider is a separate process, so that its time is not counted. A bare and a metered caller are two more, which take turns.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 60
CALLER = """
import gc, itertools, os, sys, time
port, kind = sys.argv[1:]
if kind == "metered":
    import taximeter
    taximeter.init()
import openai
QUESTION = [{"role": "user", "content": "q"}]
client = openai.OpenAI(api_key="k", base_url=f"http://127.0.0.1:{port}/v1")

def stream(chunks=200, read=None):
    options = {"include_usage": True}
    made = client.chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True, max_tokens=chunks, stream_options=options)
    for _ in itertools.islice(made, read):
        pass
    made.close()

def plain():
    client.chat.completions.create(model="gpt-4o", messages=QUESTION)

def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6

for line in sys.stdin:
    name, times = line.split()
    if name == "resident":
        print(resident(), 0, flush=True)
        continue
    call = {"stream": stream, "plain": plain, "long": lambda: stream(100_000), "abandoned": lambda: stream(50, 2)}[name]
    thread, process = time.thread_time(), time.process_time()
    for _ in range(int(times)):
        call()
    print((time.thread_time() - thread) / int(times), (time.process_time() - process) / int(times), flush=True)
"""
INIT = """
import sys, time, taximeter
begin = time.perf_counter(); taximeter.init(); took = (time.perf_counter() - begin) * 1000
clients = {"openai", "anthropic", "google.genai", "botocore", "mistralai", "cohere", "groq", "together", "ollama"}
assert not clients & sys.modules.keys()
print(took)
"""


OWN = """
import time, taximeter, httpx2
taximeter.init()
import openai
from taximeter import default_meter
from taximeter.instrument import call, http
usage = {"prompt_tokens": 1009, "completion_tokens": 307, "total_tokens": 1316, "prompt_tokens_details": {"cached_tokens": 503}}
message = {"index": 0, "message": {"role": "assistant", "content": "The meter is running."}, "finish_reason": "stop"}
answer = httpx2.Response(200, json={"id": "c", "object": "chat.completion", "model": "gpt-4o", "choices": [message], "usage": usage})
answer.read()
fields = {"provider": "openai", "model": "gpt-4o", "operation": "chat", "service_tier": None}
took = []
for _ in range(5):
    begin = time.thread_time()
    for _ in range(2000):
        with call.Call({"model": "gpt-4o", "messages": []}):
            http.follow(default_meter, "openai", fields, answer)
    took.append((time.thread_time() - begin) / 2000 * 1e6)
print(min(took))
"""


class Caller:
    """A process that makes calls on command."""

    def __init__(self, port: str, kind: str, environment: dict[str, str]) -> None:
        command = [sys.executable, "-c", CALLER, port, kind]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def do(self, what: str, times: int = 1) -> tuple[float, float]:
        """Return the processor time of one call, of its thread and of the whole process; or the resident memory in megabytes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(what, times, file=self._process.stdin, flush=True)
        first, second = self._process.stdout.readline().split()
        return float(first), float(second)

    def end(self) -> None:
        """End the process."""
        self._process.communicate()


def _times(bare: Caller, metered: Caller) -> None:
    for what, name, times in (("a stream of 200 chunks", "stream", 5), ("a plain call", "plain", 20)):
        taken = [(bare.do(name, times), metered.do(name, times)) for _ in range(ROUNDS)][2:]
        for place, whose in enumerate(("of the caller's thread", "of the process, delivery included")):
            one, other = (statistics.median(pair[kind][place] for pair in taken) for kind in (0, 1))
            added = statistics.median(pair[1][place] - pair[0][place] for pair in taken)
            print(f"{what}, {whose}: {one * 1e6:.0f} us, metered {other * 1e6:.0f} us; {added * 1e6:+.1f} us ({added / one:+.1%})")


def _memory(metered: Caller) -> None:
    metered.do("stream", 50)
    for what, name, times in (("a stream of 100,000 chunks", "long", 1), ("2,000 abandoned streams", "abandoned", 2000)):
        before, _ = metered.do("resident")
        metered.do(name, times)
        print(f"resident after {what}: {metered.do('resident')[0] - before:+.1f} MB")


def main() -> None:
    server = subprocess.Popen([sys.executable, Path(__file__).with_name("stream_server.py")], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "TAXIMETER_STATE_DIR": state, "PYTHONDONTWRITEBYTECODE": ""}
        bare, metered = (Caller(port, kind, environment) for kind in ("bare", "metered"))
        try:
            _times(bare, metered)
            _memory(metered)
            bare.end()
            metered.end()
        finally:
            server.kill()
            server.wait()
        own = subprocess.run([sys.executable, "-c", OWN], env=environment, cwd=state, capture_output=True, text=True, check=True)
        print(f"the meter's own part of a plain call, in a loop, with warm caches: {float(own.stdout):.1f} us")
        command = [sys.executable, "-c", INIT]
        starts = [subprocess.run(command, env=environment, cwd=state, capture_output=True, text=True, check=True) for _ in range(16)]
        took = [float(start.stdout) for start in starts][1:]
        print(f"init(), nine families installed, none imported: {statistics.median(took):.1f} ms (worst: {max(took):.1f} ms)")
