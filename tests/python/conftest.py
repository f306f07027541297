"""Fixtures: a separate state directory, subprocesses, and the fake provider."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import taximeter
from taximeter import instrument

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
sys.path.insert(0, str(EXAMPLES))

from collector import Collector  # noqa: E402
from fake_provider import FakeProvider  # noqa: E402

# Days of reports are those of the machine's time zone. In the tests it is UTC on every machine.
os.environ["TZ"] = "UTC"
if hasattr(time, "tzset"):
    time.tzset()

# The duration of an example depends on the load of the host.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")

SLOW = {
    "test_budget_commands", "test_cli_json", "test_cli_page", "test_cli_screens", "test_clickhouse", "test_client_behaviour",
    "test_compat_failures", "test_compat_paygent4", "test_compat_readmes", "test_compat_tokenr", "test_dashboard_clickhouse",
    "test_dashboard_page", "test_dashboard_page_live", "test_delivery", "test_endpoints", "test_environments", "test_examples",
    "test_families", "test_field_calls", "test_grafana", "test_hosts", "test_journals", "test_ledger_locks", "test_ledger_replaced",
    "test_ledger_upgrade", "test_metrics", "test_network", "test_other_owner", "test_otlp_collector", "test_outage", "test_outbox",
    "test_owner_locks", "test_page_types", "test_process", "test_prune", "test_scanner", "test_signals", "test_sinks", "test_soak",
    "test_testing",
}  # fmt: skip
"""Files that `make test-fast` skips. Single slow tests of other files are marked there."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip files of slow tests without importing them. A file that the command line names is imported."""
    is_named = any(collection_path == Path(one.partition("::")[0]).resolve() for one in config.args)
    return True if config.option.markexpr == "not slow" and collection_path.stem in SLOW and not is_named else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker("slow")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "way(family, *ways): ways to call a client that the test covers; see test_providers_page.py")


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's settings and state from the tests. No short test runs while an hour, or a day, ends."""
    keep_clear_of_the_end(HOUR, 10)
    for name in [name for name in os.environ if name.startswith("TAXIMETER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "no-state"))
    # Skips the look-up of the cloud's metadata service.
    monkeypatch.setenv("TOKEN_TRACKR_METADATA_URL", "")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a new state directory. The working directory has no settings."""
    path = tmp_path / "state"
    monkeypatch.setenv("TAXIMETER_STATE_DIR", str(path))
    monkeypatch.chdir(tmp_path)
    return path


@pytest.fixture
def meter(state: Path) -> Iterator[taximeter.Meter]:
    """Yield a meter with its own state directory."""
    meter = taximeter.Meter(state_dir=state)
    yield meter
    meter.close(5)


@pytest.fixture
def metered(meter: taximeter.Meter) -> Iterator[taximeter.Meter]:
    """Yield the meter, with all clients metered."""
    meter.instrument()
    yield meter
    instrument.deactivate()


@pytest.fixture
def outboxes(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Reset the interfaces that work in the background, with a new state and home directory. Yield the state directory."""
    from taximeter.compat import _outbox, tokenr

    monkeypatch.setenv("HOME", str(state.parent / "home"))
    taximeter.init(instrument=False, state_dir=state)
    yield state
    tokenr.configure(enabled=False, token=None)
    for _, outbox in _outbox.all_outboxes():
        outbox.close(1)
    _outbox._outboxes.clear()
    taximeter.close()


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as server:
        yield server


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture
def run(state: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs Python text in a subprocess with the state directory."""

    def start(text: str, *arguments: str, check: bool = True, timeout: float = 300, **environment: str):
        outcome = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(text), *arguments],
            env={**os.environ, "PYTHONPATH": str(EXAMPLES), "TAXIMETER_STATE_DIR": str(state), **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=state.parent,
        )
        if check:
            assert outcome.returncode == 0, outcome.stderr
        return outcome

    return start


@pytest.fixture
def cli(state: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the command line with the state directory."""

    def call(*arguments: str, code: int = 0):
        outcome = subprocess.run(
            [sys.executable, "-m", "taximeter", *arguments], capture_output=True, text=True, timeout=300, check=False,
            env={**os.environ, "TAXIMETER_STATE_DIR": str(state)}, cwd=state.parent,
        )  # fmt: skip
        assert outcome.returncode == code, outcome
        return outcome

    return call


def rows(outcome: subprocess.CompletedProcess[str]) -> list[Any]:
    """Return the rows of a command's JSON."""
    return json.loads(outcome.stdout)["rows"]


def events_of(meter: taximeter.Meter) -> list[dict]:
    """Flush a meter, and return all events of its ledger."""
    report = meter.flush(60)
    assert report.pending == 0, meter.stats()
    return list(taximeter.Ledger(meter.settings.ledger).events())


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait until a condition is true. The limit is for machines that are many times as slow as usual."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)


DAY, HOUR, HALF_HOUR = 86_400, 3_600, 1_800
"""Seconds. At the end of a half-hour, a day begins in some time zone."""


def keep_clear_of_the_end(period: int, seconds: float) -> None:
    """Wait for the next period (UTC) if this one ends within so many seconds, which tests need that mean "today"."""
    left = period - time.time() % period
    if left < seconds:
        time.sleep(left + 1)


def leave_behind(run, urls: list[str], count: int) -> list[str]:
    """Leave undelivered events of a killed process. Return their ids."""
    outcome = run(
        """
        import os, sys, taximeter
        taximeter.init(destination=sys.argv[2:], instrument=False)
        for _ in range(int(sys.argv[1])):
            print(taximeter.track(provider="openai", model="gpt-4o", input_tokens=1).id)
        sys.stdout.flush()
        os.kill(os.getpid(), 9)
        """,
        str(count), *urls, check=False,
    )  # fmt: skip
    return outcome.stdout.split()


def without_address(value: object) -> str:
    """Name a test's value. The processes of pytest-xdist must agree on the names, so an address does not belong there."""
    text = repr(value)
    return type(value).__name__ if " at 0x" in text else text


@pytest.fixture(scope="session")
def dashboard_calls(tmp_path_factory):
    """Return the ledger that the tests of the dashboard read; see `dashboard_server.filled`."""
    from dashboard_server import filled  # it imports this module

    return filled(tmp_path_factory.mktemp("served"))
