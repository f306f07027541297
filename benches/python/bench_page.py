"""Measures the dashboard in Chromium: the time of a load, the memory of its server, and what it costs a writer.

`run.py page` makes a ledger of 200,000 calls. `LEDGER=DIRECTORY run.py page` reads the ledger in a state directory instead.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

import taximeter
from taximeter import dashboard

CALLS = 200_000
LOADS = 20
VIEWERS = 16
ROUNDS = 5
WRITTEN = 100_000
WATCH = """
const note = (name, selector) => {
  if (window[name] === undefined && document.querySelector(selector)) window[name] = performance.now();
};
new MutationObserver(() => {
  note("firstPanel", ".tile, #series svg, #top table");
  note("wholePage", "html[data-ready]");
}).observe(document, { subtree: true, childList: true, attributes: true });
"""
"""Notes when the first panel has its figures, and when all have."""


def main() -> None:
    files = Path(dashboard.__file__).parent.joinpath("static").iterdir()
    print(f"page, scripts and styles, gzipped: {sum(len(gzip.compress(one.read_bytes())) for one in files) / 1000:.1f} kB")
    with tempfile.TemporaryDirectory() as made:
        state = os.environ.get("LEDGER", made)
        if state == made:
            fill(made)
        calls = taximeter.Ledger(f"{state}/ledger.db").report(()).total.calls
        print(f"a ledger of {calls:,} calls")
        with served(state) as (server, row), sync_playwright() as tools:
            browser = tools.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            begin = processor_seconds(server)
            loads(browser, row)
            used = (processor_seconds(server) - begin) / (LOADS + 1)
            print(f"processor time of the server for a load: {used * 1000:.0f} ms")
            viewers(server, row, state)
            browser.close()
    with tempfile.TemporaryDirectory() as made:
        beside_a_writer(made)


def fill(state: str) -> None:
    """Record calls of 90 days."""
    meter = taximeter.Meter(state_dir=state)
    chance, now = random.Random(3), datetime.now(timezone.utc)
    models = [
        ("openai", "gpt-4o"),
        ("openai", "gpt-4o-mini"),
        ("anthropic", "claude-sonnet-4-5"),
        ("me", "own"),
    ]
    for number in range(CALLS):
        provider, model = chance.choice(models)
        meter.track(
            provider=provider, model=model, input_tokens=chance.randrange(5_000), output_tokens=chance.randrange(900),
            started_at=now - timedelta(days=90 * chance.random()), customer=f"c{chance.randrange(2_000)}", team=chance.choice("abcd"),
            user=f"u{chance.randrange(5_000)}", latency_ms=chance.lognormvariate(7, 0.6), ttft_ms=chance.lognormvariate(5.5, 0.5),
            error="RateLimitError" if number % 80 == 0 else None,
        )  # fmt: skip
    meter.close(120)


@contextmanager
def served(state: str) -> Iterator[tuple[subprocess.Popen, dict]]:
    """Run `taximeter serve`. Yield the process and the row that it prints."""
    command = [sys.executable, "-m", "taximeter", "serve", "--state-dir", state, "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        text = ""
        while not text.endswith("\n}\n"):
            text += server.stdout.readline()
        try:
            yield server, json.loads(text)["rows"][0]
        finally:
            server.kill()


def processor_seconds(process: subprocess.Popen) -> float:
    """Return the processor time that a process has used. It hardly depends on what else the machine does."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def loads(browser: Browser, row: dict) -> None:
    """Measure loads of the page, each in a new tab of a browser that has been there before."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(WATCH)
    first, whole, asked = [], [], {}
    for number in range(LOADS + 1):
        page = context.new_page()
        page.goto(row["address"] if not number else f"http://127.0.0.1:{row['port']}/")
        page.locator("html[data-ready]").wait_for(timeout=120_000)
        page.wait_for_timeout(50)
        if number:
            first.append(page.evaluate("firstPanel"))
            whole.append(page.evaluate("wholePage"))
            for name, ms in page.evaluate(
                "performance.getEntriesByType('resource').map((one) => [new URL(one.name).pathname, one.duration])"
            ):
                asked.setdefault(name, []).append(ms)
        page.close()
    print(f"first panel: {shown(first)}")
    print(f"whole page: {shown(whole)}")
    for name, found in sorted(asked.items(), key=lambda one: -statistics.median(one[1]))[:8]:
        print(f"  {name}: {shown(found)}")
    context.close()


def shown(values: list[float]) -> str:
    ordered = sorted(values)
    return f"p50 {statistics.median(ordered):.0f} ms, p95 {ordered[int(0.95 * (len(ordered) - 1))]:.0f} ms"


def viewers(server: subprocess.Popen, row: dict, state: str) -> None:
    """Measure the memory of the server after loads, with as many live viewers as there can be."""
    token = Path(state, "serve.token").read_text().strip()
    streams = [follow(row, token) for _ in range(VIEWERS)]
    time.sleep(2)
    found = dict(line.split(":", 1) for line in Path(f"/proc/{server.pid}/status").read_text().splitlines())
    now, most = (int(found[name].split()[0]) / 1000 for name in ("VmRSS", "VmHWM"))
    print(f"resident with {VIEWERS} live viewers: {now:.0f} MB, at most {most:.0f} MB")
    for stream in streams:
        stream.close()


def follow(row: dict, token: str):
    address = f"http://{urlsplit(row['address']).netloc}/api/v1/live"
    stream = urllib.request.urlopen(urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"}), timeout=60)
    stream.readline()
    return stream


WRITER = f"""
import sys, time, taximeter
meter = taximeter.Meter(state_dir=sys.argv[1])
begin = time.perf_counter()
for number in range({WRITTEN}):
    meter.track(provider="openai", model="gpt-4o", input_tokens=number % 5_000, output_tokens=10, customer=f"c{{number % 2_000}}")
assert meter.flush(120).pending == 0
print(time.perf_counter() - begin)
meter.close()
"""


def beside_a_writer(state: str) -> None:
    """Measure the rate of committed calls of another process, in turns without and with an open page with live calls."""
    written(state)
    ratios = []
    with served(state) as (_, row), sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context()
        page = opened(context.new_page(), row["address"])
        for _ in range(ROUNDS):
            page.close()
            alone = written(state)
            page = opened(context.new_page(), f"http://127.0.0.1:{row['port']}/")
            page.keyboard.press("l")
            ratios.append(alone / written(state))
        browser.close()
    each = ", ".join(f"{one:.2f}" for one in ratios)
    print(f"a writer beside an open page: {statistics.median(ratios):.2f} × its rate alone ({each})")


def opened(page: Page, address: str) -> Page:
    page.goto(address)
    page.locator("html[data-ready]").wait_for(timeout=60_000)
    return page


def written(state: str) -> float:
    return float(subprocess.run([sys.executable, "-c", WRITER, state], check=True, capture_output=True, text=True).stdout)
