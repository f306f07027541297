"""Compares what metering adds to the calls of the OpenAI client with what OpenTelemetry's and other instrumentations add.

Each caller is a process of its own, in the environment of the peers (`make bench` creates it), with the same client. The callers take
turns: in each round, each makes the same calls of a fake provider on loopback. What an instrumentation adds is its caller's processor
time less that of a caller without one in the same round. A ratio is ours divided by the peer's, round by round.

The numbers of a peer are right if its collector got the input, output and cached tokens of every call.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import taximeter
from stream_server import USAGE

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venv-peers" / "bin" / "python"
OURS = "taximeter"
PEERS = {
    "opentelemetry": "opentelemetry-instrumentation-genai-openai",
    "openinference": "openinference-instrumentation-openai",
    "langfuse": "langfuse",
    "logfire": "logfire",
    "openllmetry": "opentelemetry-instrumentation-openai",
}
"""The peers, with their packages."""
CALLS = {"plain": 100, "stream": 25, "async": 2}
"""How often each call is made in a turn. `async` is 100 calls at once."""
QUICK_CALLS = {"plain": 100, "stream": 10, "async": 1}
"""The same for a change under review. Streams and calls at once take most of the time."""
TURNS = 2
"""Turns in a round."""
TITLES = {"plain": "a plain call", "stream": "a stream of 200 chunks", "async": "one of 100 concurrent async calls"}
ROUNDS = 12
CHECKED = 3
"""Calls of each sort whose spans are checked."""
Taken = dict[str, tuple[float, float]]
"""The processor time of a call of each caller, of its thread and of its process, in microseconds."""


class Caller:
    """A process that makes calls on command."""

    def __init__(self, kind: str, port: str, sink: str, state: str) -> None:
        paths = [str(Path(taximeter.__file__).parents[1]), os.environ.get("PYTHONPATH")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "TAXIMETER_STATE_DIR": state}
        environment |= {"PYTHONDONTWRITEBYTECODE": "", "OTEL_SDK_DISABLED": "", "NO_PROXY": "127.0.0.1"}
        command = [str(PYTHON), str(HERE / "peer_caller.py"), kind, port, sink]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=state
        )
        self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def do(self, what: str, times: int = 1) -> tuple[float, float]:
        """Return the processor time of one call in microseconds: of its thread, and of the process since the last answer."""
        assert self._process.stdin is not None
        print(what, times, file=self._process.stdin, flush=True)
        thread, process = self._read().split()
        return float(thread), float(process)

    def end(self) -> None:
        """End the process."""
        self._process.communicate()


@contextmanager
def _server(python: str, file: str) -> Iterator[str]:
    """Run a server in another process, and yield its port."""
    with subprocess.Popen([python, str(HERE / file)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def _numbers(name: str, value: object) -> Iterator[tuple[str, float]]:
    """Yield the names and counts in an attribute of a span, also those within JSON."""
    if isinstance(value, str) and value.startswith("{"):
        value = json.loads(value)
    if isinstance(value, dict):
        for inner, one in value.items():
            yield from _numbers(f"{name}.{inner}", one)
    elif isinstance(value, int | float):
        yield name, value


def _is_complete(attributes: dict[str, Any]) -> bool:
    """Return whether a span has the input, output and cached tokens of the provider's report."""
    counts = [one for name, value in attributes.items() for one in _numbers(name, value)]

    def has(words: Sequence[str], *values: int) -> bool:
        return any(value in values and any(word in name for word in words) for name, value in counts)

    cached, prompt = USAGE["prompt_tokens_details"]["cached_tokens"], USAGE["prompt_tokens"]
    # Some give the whole input, and some the input without the cached part.
    is_input = has(("input", "prompt"), prompt, prompt - cached)
    return is_input and has(("output", "completion"), USAGE["completion_tokens"]) and has(("cache",), cached)


def _check(callers: dict[str, Caller], sink: str, state: str) -> dict[str, str]:
    """Make a few calls of each sort. Return whether the numbers that each caller delivered are right, or what is wrong."""
    results = {}
    for kind, caller in callers.items():
        for what in CALLS:
            caller.do(what, 1 if what == "async" else CHECKED)
        caller.do("flush")
        expected = 2 * CHECKED + 100
        if kind == OURS:
            total = taximeter.Ledger(f"{state}/{kind}/ledger.db").report(()).total
            found = (total.calls, total.input_tokens, total.cache_read_tokens, total.output_tokens)
            cached = USAGE["prompt_tokens_details"]["cached_tokens"]
            sums = (expected, *(expected * one for one in (USAGE["prompt_tokens"], cached, USAGE["completion_tokens"])))
            results[kind] = "right" if found == sums else f"{found} instead of {sums}"
        elif kind in PEERS:
            with urllib.request.urlopen(f"{sink}/{kind}", timeout=60) as answer:
                complete = sum(map(_is_complete, json.load(answer)))
            results[kind] = "right" if complete == expected else f"of {complete} calls instead of {expected}"
    return results


def _measure(callers: dict[str, Caller], what: str, rounds: int, times: int) -> list[Taken]:
    """Return the times of each round. Within a round, the callers take turns, so that a busy moment of the machine meets them all."""
    for caller in callers.values():
        caller.do(what, times)
    taken: list[Taken] = []
    for _ in range(rounds):
        sums = {kind: [0.0, 0.0] for kind in callers}
        for _ in range(TURNS):
            for kind in random.sample(list(callers), len(callers)):
                for place, time in enumerate(callers[kind].do(what, times)):
                    sums[kind][place] += time / TURNS
        taken.append({kind: (thread, process) for kind, (thread, process) in sums.items()})
    return taken


def _span(values: Sequence[float], digits: int) -> str:
    """Return the minimum, the median and the maximum."""
    return ", ".join(f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values)))


def _print(what: str, taken: list[Taken], numbers: dict[str, str]) -> None:
    print(f"\n{TITLES[what]}; without instrumentation {statistics.median(one['bare'][1] for one in taken):,.0f} µs\n")
    print("| | thread: µs added | process: µs added | thread: ours / its | process: ours / its | numbers |")
    print("|---|---|---|---|---|---|")
    added = {
        kind: [[one[kind][place] - one["bare"][place] for one in taken] for place in (0, 1)] for kind in taken[0] if kind != "bare"
    }
    for kind, both in added.items():
        columns = [_span(times, 0) for times in both]
        if kind == OURS:
            columns += ["", ""]
        else:
            pairs = [zip(ours, its, strict=True) for ours, its in zip(added[OURS], both, strict=True)]
            columns += [_span([one / other for one, other in pair], 2) for pair in pairs]
        print(f"| {kind} | {' | '.join(columns)} | {numbers[kind]} |")


def _versions() -> None:
    code = "import sys; from importlib.metadata import version; print(*(f'{one} {version(one)}' for one in sys.argv[1:]), sep=', ')"
    command = [str(PYTHON), "-c", code, "openai", *PEERS.values(), "opentelemetry-sdk"]
    print("versions:", subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())


def main(kinds: Sequence[str] = tuple(PEERS), rounds: int = ROUNDS, calls: Mapping[str, int] = CALLS) -> None:
    """Measure and print.

    Args:
        kinds: The peers to compare with.
        rounds: How often each caller makes each sort of call.
        calls: How often each sort is made in a turn.
    """
    if not PYTHON.exists():
        print("the environment of the peers is missing: make .venv-peers/.ready")
        return
    _versions()
    with tempfile.TemporaryDirectory() as state, ExitStack() as stack:
        port = stack.enter_context(_server(sys.executable, "stream_server.py"))
        sink = f"http://127.0.0.1:{stack.enter_context(_server(str(PYTHON), 'peer_sink.py'))}"
        callers = {}
        for kind in ("bare", OURS, *kinds):
            Path(state, kind).mkdir()
            callers[kind] = Caller(kind, port, sink, f"{state}/{kind}")
            stack.callback(callers[kind].end)
        numbers = _check(callers, sink, state)
        for what, times in calls.items():
            _print(what, _measure(callers, what, rounds, times), numbers)


def quick() -> None:
    """Measure beside the cheapest peer only, in fewer rounds."""
    main(("opentelemetry",), 4, QUICK_CALLS)


if __name__ == "__main__":
    quick() if "--quick" in sys.argv else main()
