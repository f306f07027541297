"""Compares the SDKs' interfaces with the originals: time taken from the caller, and processor time, for each event.

Two processes, one with the original and one with ours, take turns sending to the same service in a third process. Three times are
measured: the time of the call; the time that a caller loses while it works between its calls, because background threads compete with
it for the interpreter; and the processor time of the whole process until everything is delivered.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import sink

ROOT = Path(__file__).parents[2]
ROUNDS = 8
EVENTS = 300
WHAT = ("the call", "time taken from a busy caller", "processor time")
CALLER = """
import sys, threading, time
port, case, whose = sys.argv[1:]
url, ours = f"http://127.0.0.1:{port}", whose == "ours"
if ours:
    from taximeter import compat
    compat.install("teer", "tokentally", "token_trackr", "paygent_sdk", "tokenr")
    def settle():
        assert compat.flush(60).pending == 0
else:
    def settle():
        while threading.active_count() > base or queue and queue():
            time.sleep(0.001)
how = {"background": True} if ours and case.endswith("background") else {}
queue = None
if case.startswith("teer"):
    from teer import TeerClient
    client = TeerClient("k", track_url=url, **how)
    payload = {"provider": "openai", "model": "gpt-4o", "function_id": "f", "usage": {"input": 1000, "output": 2000}}
    def send():
        client.ingest.send(payload)
elif case.startswith("tokentally"):
    from tokentally import TokenTally
    client = TokenTally("tt_k", base_url=url, **how)
    def send():
        client.track(tokens_in=150, tokens_out=300, model="gpt-4o", provider="openai", metadata={"feature": "chat"})
elif case.startswith("paygent 1"):
    from paygent_sdk import Client, UsageData
    client = Client("k", url, **how)
    client.set_log_level(40)
    usage = UsageData("OpenAI", "gpt-4o", 1000, 500, 1500)
    def send():
        client.send_usage("agent-123", "customer-456", "email-sent", usage)
elif case.startswith("paygent 4"):
    from paygent_sdk import Client, RawUsageData
    client = Client("k")
    client.base_url = url
    usage = RawUsageData("OpenAI", "gpt-4o", 1000, 500)
    def send():
        client.send_usage_v2("agent-123", "customer-456", "chat", usage)
    if not ours:
        queue = client._executor._work_queue.qsize
elif case == "token_trackr":
    from token_trackr import TokenTrackrClient, TokenTrackrConfig
    client = TokenTrackrClient(TokenTrackrConfig(backend_url=url, api_key="k"))
    def send():
        client.record("bedrock", "anthropic.claude-3-sonnet", 100, 50, 1500)
else:
    import tokenr
    tokenr.init(token="k", url=url, agent_id="my-app")
    tokenr.configure(timeout=60)
    def send():
        tokenr.track("openai", "gpt-4o", 1000, 500, feature_name="chat", tags={"plan": "pro"})
def work():  # a quarter of a millisecond
    total = 0
    for number in range(5000):
        total += number
    return total
def nothing():
    pass
def timed(times, one, other):
    began = time.perf_counter()
    for _ in range(times):
        one()
        other()
    return (time.perf_counter() - began) / times
for _ in range(20):
    send()
base = 1 if case == "tokenr" else 11
settle()
for line in sys.stdin:
    times = int(line)
    cpu = time.process_time()
    call = timed(times, send, nothing)
    settle()
    cpu = (time.process_time() - cpu) / times
    alone = timed(times, work, nothing)
    busy = timed(times, work, send)
    settle()
    print(call, busy - alone, cpu, flush=True)
"""

CASES = {
    "teer": "0.1.7, which also waits",
    "tokentally": "0.4.0, which also waits",
    "paygent 1": "1.0.0, which also waits",
    "teer background": "0.1.7, which always waits",
    "tokentally background": "0.4.0, which always waits",
    "paygent 1 background": "1.0.0, which always waits",
    "tokenr": "0.1.3",
    "paygent 4": "4.9.7",
    "token_trackr": None,
}
"""The cases, and the original that each is compared with. Token Trackr's original is on no registry."""


def _python(case: str, whose: str) -> str:
    """Return the interpreter. Paygent 1.0.0 needs its own environment, because 4.9.7 has the same package name."""
    of_its_own = case.startswith("paygent 1") and whose == "original"
    return str(ROOT / ".venv-paygent" / "bin" / "python") if of_its_own else sys.executable


def _caller(port: str, case: str, whose: str, environment: dict[str, str]) -> tuple[subprocess.Popen[str], Callable[[], list[float]]]:
    process = subprocess.Popen(
        [_python(case, whose), "-c", CALLER, port, case, whose],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip

    def run() -> list[float]:
        assert process.stdin is not None
        assert process.stdout is not None
        print(EVENTS, file=process.stdin, flush=True)
        return [float(number) * 1e6 for number in process.stdout.readline().split()]

    return process, run


def main() -> None:
    # Skips the look-up of the cloud's metadata service.
    surroundings = {**os.environ, "TOKEN_TRACKR_METADATA_URL": ""}
    with sink.running() as port, tempfile.TemporaryDirectory() as state:
        environment = {**surroundings, "TAXIMETER_STATE_DIR": state, "HOME": state}
        for case, original_is in CASES.items():
            whose = ("ours", "original") if original_is else ("ours",)
            callers = [_caller(str(port), case, one, environment) for one in whose]
            taken = [[run() for _, run in callers] for _ in range(ROUNDS)][1:]
            for process, _ in callers:
                process.communicate()
            for place, what in enumerate(WHAT):
                own, *theirs = (statistics.median(times[kind][place] for times in taken) for kind in range(len(whose)))
                beside = f"; {original_is}: {theirs[0]:.0f} us; {theirs[0] / own:.1f} x" if theirs else ""
                print(f"{case}, {what}: ours {own:.1f} us{beside}")
