"""Other versions of clients, and libraries on top of them, each in its own environment: `make environments`."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import taximeter
from conftest import EXAMPLES, ROOT
from fake_families import FakeFamilies
from taximeter.meter import engine_of
from vendor import VendorServer

REFUSED = {
    "oldest": ["BadRequestError"],
    "layers": ["BadRequestError", "HTTPError", "HTTPError", "HTTPError"],
    "amazon": ["BadRequest", "BadRequest", "ClientError", "ClientError", "ClientError", "ResourceExhausted"],
}
"""The exceptions of the calls that the provider refuses, one event for each."""
SCRIPTS = ROOT / "tests" / "environments"


@pytest.fixture
def families() -> Iterator[FakeFamilies]:
    with FakeFamilies() as server:
        yield server


def outcomes(environment: str, mode: str, families: FakeFamilies, state: Path) -> dict:
    python = ROOT / f".venv-{environment}" / "bin" / "python"
    assert python.exists(), "this test needs `make environments`"
    path = os.pathsep.join(map(str, (SCRIPTS, ROOT / "python", EXAMPLES)))
    done = subprocess.run(
        [python, "-W", "error::RuntimeWarning", SCRIPTS / f"{environment}.py", families.url, mode],
        env={**os.environ, "PYTHONPATH": path, "TAXIMETER_STATE_DIR": str(state)},
        cwd=state.parent, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("environment", ["oldest", "layers", "amazon"])
def test_users_see_the_same_and_every_response_is_one_event(environment, families, state):
    bare = outcomes(environment, "bare", families, state)
    assert not [
        name for name, outcome in bare.items() if isinstance(outcome, list) and outcome[:1] == ["raised"] and "refused" not in name
    ], bare
    families.billed.clear()
    families.requests.clear()
    assert outcomes(environment, "metered", families, state) == bare
    recorded = list(taximeter.Ledger(state / "ledger.db").events())
    refused = [event for event in recorded if event["status"] == "error" and event["usage_status"] == "missing"]
    events = [event for event in recorded if event not in refused]
    assert {event["team"] for event in refused} <= {"callers"}
    assert sorted(event["error"] for event in refused) == REFUSED[environment]
    assert sorted(event["model"] for event in events) == sorted(billed["model"] for billed in families.billed)
    assert {event.get("team") for event in events} == {"callers"}
    assert all(b"taximeter" not in body and "taximeter" not in json.dumps(headers) for _, headers, body in families.requests)
    asked = [event for event in events if event["usage_status"] != "missing"]
    assert {event["usage_status"] for event in asked} == {"complete"}
    lives = [event["usage"].get("cache_write_1h_tokens", 0) for event in events if event["provider"] == "aws.bedrock"]
    # Also of whole Converse responses, although this botocore's model of the service lacks them.
    assert (len(lives), sum(map(bool, lives))) == ((8, 8) if environment == "amazon" else (0, 0))
    # An estimate by a layer does not count as usage.
    unreported = [event["usage_status"] for event in events if "unreported" in event["model"]]
    assert unreported == (["missing"] if environment == "layers" else [])
    assert sum(event["usage"]["output_tokens"] for event in asked if "output_tokens" in event["usage"]) > 0


@pytest.mark.parametrize("environment", ["oldest", "layers", "amazon"])
def test_budgets_admit_each_call_once_and_refuse_before_a_byte_is_sent(environment, families, state):
    bare = outcomes(environment, "bare", families, state)
    families.billed.clear()
    assert outcomes(environment, "limited", families, state) == bare
    events = list(taximeter.Ledger(state / "ledger.db").events())
    (standing,) = standings(state)
    counted = sum(event["usage"].get(f"{which}_tokens", 0) for event in events for which in ("input", "output") if event.get("usage"))
    # Layers and retries hold once. A response without usage is charged the estimate.
    unreported = any(event["usage_status"] == "missing" and event["status"] != "error" for event in events)
    assert (standing["calls"], standing["held"]) == (len(families.billed), "0")
    assert (int(standing["used"]) > counted) if unreported else (int(standing["used"]) == counted)
    families.requests.clear()
    refused = outcomes(environment, "refused", families, state / "other")
    others = {
        name: outcome
        for name, outcome in refused.items()
        if not isinstance(outcome, list) or outcome[:2] != ["raised", "BudgetExceeded"]
    }
    assert others == ({"langchain's callbacks, copied": True} if environment == "layers" else {})
    assert families.requests == []


def standings(state: Path) -> list[dict]:
    meter = taximeter.Meter(state_dir=state)
    try:
        return engine_of(meter).budgets.all_standings()
    finally:
        meter.close(5)


def run_callbacks(families: FakeFamilies, vendor: VendorServer, mode: str, state: Path, *paths: Path) -> tuple[set, list[str]]:
    python = ROOT / ".venv-layers" / "bin" / "python"
    path = os.pathsep.join(map(str, (SCRIPTS, *paths)))
    done = subprocess.run(
        [python, SCRIPTS / "callbacks.py", families.url, vendor.url, mode],
        env={**os.environ, "PYTHONPATH": path, "TAXIMETER_STATE_DIR": str(state)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    requests, vendor.requests[:] = list(vendor.requests), []
    # The original creates a customer before it is needed, for each callback, and also by its id when it has a name.
    customers = {request.json["externalId"] for request in requests if request.path == "/api/v1/customers/create-or-get"}
    return customers, sorted(json.dumps(request.json) for request in requests if request.path == "/api/v2/usage")


def test_langchains_callback_for_paygent_reports_like_the_original(families, state, tmp_path):
    # Only the original's own package is taken from the development environment.
    original = importlib.util.find_spec("paygent_sdk")
    (tmp_path / "original").mkdir()
    (tmp_path / "original" / "paygent_sdk").symlink_to(Path(original.origin).parent)
    with VendorServer() as vendor:
        theirs = run_callbacks(families, vendor, "original", state, tmp_path / "original")
        ours = run_callbacks(families, vendor, "ours", state, ROOT / "python")
        assert ours == theirs
        assert (len(ours[1]), len(ours[0])) == (15, 2) and "secret" not in str(ours)
        for mode in ("ledger", "metered"):
            folder = state / mode
            _, usage = run_callbacks(families, vendor, mode, folder, ROOT / "python")
            events = [
                one for one in taximeter.Ledger(folder / "ledger.db").events() if one.get("customer") and one["status"] != "error"
            ]
            # Each call is one row, with the callback's attribution, whether it is metered otherwise or not.
            assert len(usage) == len(events) == 7
            assert {event["customer"] for event in events} == {"customer", "c2"}
            reported = [(event["model"], event["feature"], event["usage"]["input_tokens"]) for event in events if event["usage"]]
            assert len(reported) == 6 and ("own-1", "i2", 100) in reported
