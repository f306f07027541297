"""Sends events to a real Arize Phoenix, also from processes that are killed, and compares what it has with the ledger: `make phoenix`.

Phoenix takes 850 MB, so this is not part of the tests. It needs no network but loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import taximeter

KILLS = 20
SENDER = """
import random, sys, taximeter
meter = taximeter.Meter(destination=["ledger", sys.argv[2]], state_dir=sys.argv[1])
for _ in range(20):
    meter.track(
        provider="anthropic", model="claude-sonnet-4-5", operation="chat", input_tokens=1000 + random.randrange(999),
        output_tokens=random.randrange(99), cache_read_tokens=random.randrange(500), cache_write_tokens=random.randrange(500),
        session=f"s{random.randrange(5)}",
    )
print(flush=True)
meter.flush(5)
"""
SPANS = """query ($after: String) { projects { edges { node { spans(first: 1000, after: $after) {
    pageInfo { hasNextPage endCursor }
    edges { node { spanId tokenCountPrompt tokenCountCompletion attributes } }
} } } } }"""


def main() -> None:
    """Run Phoenix, send, compare, and print what was found.

    Raises:
        SystemExit: Phoenix has something else than the ledger.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phoenix", type=Path, help="the command `phoenix`")
    phoenix = parser.parse_args().phoenix
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as state, Phoenix(phoenix, Path(place)) as server:
        destination = f"otlp+http://127.0.0.1:{server.port}"
        for _ in range(KILLS):
            with subprocess.Popen([sys.executable, "-c", SENDER, state, destination], stdout=subprocess.PIPE) as sender:
                sender.stdout.readline()
                # Within the first requests: some events are sent, and not yet counted as delivered.
                time.sleep(random.uniform(0, 0.5))
                sender.kill()
        meter = taximeter.Meter(destination=["ledger", destination], state_dir=state)
        meter.drain()
        known = taximeter.Ledger(meter.ledger_path).report().total
        meter.close()
        found = server.spans(known.calls)
    ids = [json.loads(span["attributes"])["taximeter"]["event"]["id"] for span in found]
    sums = tuple(sum(span[name] for span in found) for name in ("tokenCountPrompt", "tokenCountCompletion"))
    print(f"{known.calls} events after {KILLS} kills: Phoenix has {len(ids)} spans of {len(set(ids))} events, tokens {sums}")
    if (len(ids), len(set(ids)), *sums) != (known.calls, known.calls, known.input_tokens, known.output_tokens):
        raise SystemExit(f"the ledger has {known}")


class Phoenix:
    """A server on loopback."""

    def __init__(self, command: Path, place: Path) -> None:
        self.port = 16006
        self._environment = {
            **os.environ,
            "PHOENIX_WORKING_DIR": str(place),
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(self.port),
            "PHOENIX_GRPC_PORT": "14317",
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        }
        self._command = command
        self._log = place / "log"

    def __enter__(self) -> Phoenix:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([self._command, "serve"], env=self._environment, stdout=log, stderr=log)
        for _ in range(600):
            try:
                self._ask("query { serverStatus { insufficientStorage } }")
                return self
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.5)
        raise SystemExit(f"Phoenix does not answer: {self._log.read_text()[-1000:]}")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        url = f"http://127.0.0.1:{self.port}/graphql"
        answer = json.load(
            urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": "application/json"}), timeout=60)
        )
        if "errors" in answer:
            raise SystemExit(answer["errors"])
        return answer["data"]

    def spans(self, expected: int) -> list[dict[str, Any]]:
        """Return all spans, once there are as many as expected and no more come."""
        found: list[dict[str, Any]] = []
        for _ in range(60):
            before, found, after = len(found), [], None
            while True:
                (project,) = [edge["node"]["spans"] for edge in self._ask(SPANS, after=after)["projects"]["edges"]]
                found += [edge["node"] for edge in project["edges"]]
                if not project["pageInfo"]["hasNextPage"]:
                    break
                after = project["pageInfo"]["endCursor"]
            if len(found) == before >= expected:
                break
            time.sleep(1)
        return found


if __name__ == "__main__":
    main()
