"""The JSON of every command is what `docs/json.md` says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading

import jsonschema
import pytest

import taximeter
from conftest import events_of
from pages import DOCS

MONEY = {"type": ["string", "null"], "pattern": r"^-?\d+(\.\d+)?$"}
COUNT = {"type": "integer", "minimum": 0}
SUMS = dict.fromkeys(("calls", "errors", "unpriced", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"), COUNT) | {"cost_usd": MONEY, "cache_saved_usd": MONEY}  # fmt: skip


def closed(properties: dict, required: object = None) -> dict:
    return {
        "type": "object", "properties": properties, "required": list(required or properties), "additionalProperties": False
    }  # fmt: skip


TEXT, MAYBE = {"type": "string"}, {"type": ["string", "null"]}
BOOLEAN = {"type": "boolean"}
REPORT = {"type": "object", "properties": SUMS, "required": list(SUMS)}
CALL = {"type": "object", "required": ["id", "started_at", "provider", "model", "status", "usage_status", "cost_usd", "cost_status"]}
WINDOWS = {window: {} for window in ("1m", "5m", "1h")}
REPRICED = {"provider": TEXT, "model": TEXT, "before_usd": MONEY, "after_usd": MONEY}
MERGED = closed({"catalog": TEXT, **{name: {"type": "array"} for name in ("changes", "held", "kept", "dated", "left_out")}})
COMMANDS = {
    (): REPORT,
    ("report", "--by", "customer,tag:plan,day"): REPORT,
    **{(name,): REPORT for name in ("hourly", "daily", "weekly", "monthly", "customers", "session", "errors", "unpriced")},
    ("calls",): CALL,
    ("top",): closed({"model": MAYBE, "calls_per_minute": closed(WINDOWS), "usd_per_hour": closed(WINDOWS | {"1h": MONEY}), "errors": COUNT}),
    ("statusline",): closed({"today_usd": MONEY, "month_usd": MONEY, "last_hour_usd": MONEY, "unpriced": COUNT, "budget": MAYBE}),
    ("what-if", "--model", "gpt-4o-mini"): closed({**REPRICED, "calls": COUNT}),
    ("reprice", "--dry-run"): closed({**REPRICED, "changed": COUNT, "newly_priced": COUNT}),
    ("price", "gpt-4o", "--input", "5"): closed(
        {
            "usd": MONEY, "input_usd": MONEY, "output_usd": MONEY, "status": TEXT, "notes": {}, "provider": TEXT, "model": TEXT, "match": TEXT,
            "catalog": TEXT, "valid_from": MAYBE, "explanation": {},
        }
    ),
    ("tokens", "text", "--model", "gpt-4o", "--cost"): closed(
        {"model": TEXT, "tokens": COUNT, "encoding": TEXT, "exact": BOOLEAN, "cost_usd": MONEY}
    ),
    ("models", "gpt-4o"): closed({"provider": TEXT, "model": TEXT, "retired": BOOLEAN, "catalog": TEXT}),
    ("prices", "list", "gpt-4o"): closed({"kind": TEXT, "name": TEXT, "rates": {}}),
    ("prices", "diff", "--from", "catalog.json"): MERGED,
    ("budgets",): {"type": "object", "required": ["budget", "key", "amount", "used", "held", "left", "percent"]},
    ("doctor",): closed({"check": TEXT, "ok": BOOLEAN, "detail": TEXT}),
    ("drain",): closed({name: {} for name in ("delivered", "left", "expired", "damaged", "reasons", "failures")}),
    ("dead-letters",): closed({name: {} for name in ("at", "destination", "status", "reason", "event")}),
    ("journals",): {"type": "object", "required": ["name", "owner", "destinations"]},
}  # fmt: skip
FURTHER = {
    "overview": {"by", "today", "forecast", "last_hour_usd"}, "what-if": {"model"}, "reprice": {"dry_run"},
    "prices list": {"catalog", "as_of"}, "journals": {"quarantine"}, "query": {"columns"},
    **{name: {"by"} for name in ("report", "hourly", "daily", "weekly", "monthly", "customers", "session", "errors", "unpriced")},
}  # fmt: skip
ACTIONS = {
    ("query", "SELECT model, count(*) AS calls FROM events GROUP BY model"): closed({"model": TEXT, "calls": COUNT}),
    ("ledger", "check"): closed({"ok": BOOLEAN, "faults": {"type": "array"}, "events": COUNT, "bytes": COUNT, "free_bytes": COUNT}),
    ("ledger", "compact"): closed({"bytes_before": COUNT, "bytes_after": COUNT}),
    ("backup", "copy.db"): closed({"file": TEXT, "events": COUNT, "bytes": COUNT}),
    ("restore", "copy.db"): closed({"file": TEXT, "events": COUNT, "bytes": COUNT, "kept": MAYBE}),
    ("prune", "--before", "400d", "--dry-run"): closed({"deleted": COUNT, "free_bytes": COUNT, "dry_run": BOOLEAN}),
    ("budgets", "set", "small", "--usd", "1", "--per", "day"): closed({"set": TEXT}),
    ("budgets", "set", "small", "--usd", "2"): closed({"changed": TEXT}),
    ("budgets", "reset", "small"): closed({"reset": COUNT}),
    ("budgets", "rm", "small"): closed({"removed": TEXT}),
    ("budgets", "recount"): closed({"recounted": COUNT}),
    ("dead-letters", "retry"): closed({"retried": COUNT, "left": COUNT}),
    ("dead-letters", "drop"): closed({"dropped": COUNT}),
    ("journals", "requeue"): closed({"requeued": COUNT, "damaged": COUNT, "left": COUNT, "delivered": COUNT}),
    ("clickhouse", "ddl"): closed({"statement": TEXT}),
}  # fmt: skip
"""Commands that do something, in the order in which the test runs them."""
HEAD = {"schema_version", "command", "timezone", "since", "until", "rows", "total"}


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """Return a state directory with calls of each kind, and a budget."""
    from conftest import ROOT

    state = tmp_path_factory.mktemp("json") / "state"
    budget = taximeter.Budget("daily", usd="100", per="day", by="customer")
    meter = taximeter.Meter(state_dir=state, timezone="UTC", budgets=[budget])
    for name in ("[/foo]", "\x1b[2J", "株式会社"):
        meter.track(
            provider="openai", model="gpt-4o", input_tokens=1000, output_tokens=5, customer=name, session="s", tags={"plan": "pro"}
        )
    meter.track(provider="openai", model="no-such-model", input_tokens=7, usage={"input_tokens": 7, "web_searches": 1})
    meter.track(provider="openai", model="gpt-4o", status="error", error="RateLimitError", usage_status="missing")
    events_of(meter)
    meter.close()
    rates = "input_tokens = { per_token = 0.001 }, web_searches = { per_search = 0.01 }"
    (state.parent / "taximeter.toml").write_text(f'prices.rates."openai/no-such-model" = {{ {rates} }}\n')
    (state.parent / "text").write_text("Hello")
    (state.parent / "catalog.json").write_bytes((ROOT / "data" / "catalog.json").read_bytes())
    return state


def call(state, *arguments: str) -> str:
    outcome = subprocess.run(
        [sys.executable, "-m", "taximeter", *arguments], capture_output=True, encoding="utf-8", timeout=300, check=False,
        env={**os.environ, "TAXIMETER_STATE_DIR": str(state), "PYTHONIOENCODING": "utf-8"}, cwd=state.parent,
    )  # fmt: skip
    assert outcome.returncode in {0, 1}, outcome.stderr
    return outcome.stdout


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_the_json_of_a_command_has_the_documented_form(used, arguments):
    document = json.loads(call(used, *arguments, "--json", "-z", "Asia/Tokyo"))
    command = document["command"]
    assert set(document) == HEAD | FURTHER.get(command, set())
    assert (document["schema_version"], document["timezone"]) == (1, "Asia/Tokyo")
    assert list(document)[:5] == ["schema_version", "command", "timezone", "since", "until"]
    assert list(document)[-2:] == ["rows", "total"]
    assert command == (name_of(arguments) if arguments else "overview")
    for row in document["rows"]:
        jsonschema.validate(row, COMMANDS[arguments])
    if command not in {"dead-letters", "journals", "prices diff"}:
        assert document["rows"]
    if COMMANDS[arguments] is REPORT:
        jsonschema.validate(document["total"], closed(SUMS))


def name_of(arguments: tuple[str, ...]) -> str:
    has_action = arguments[0] in {"prices", "ledger", "budgets", "journals", "clickhouse"} and len(arguments) > 1
    return " ".join(arguments[: 2 if has_action else 1])


def test_the_json_of_an_action_has_the_documented_form(used):
    for arguments, schema in ACTIONS.items():
        document = json.loads(call(used, *arguments, "--json"))
        command = document["command"]
        assert command == name_of(arguments)
        assert set(document) == HEAD | FURTHER.get(command, set())
        assert document["rows"], arguments
        for row in document["rows"]:
            jsonschema.validate(row, schema)


def test_serve_tells_its_address_before_it_serves(used):
    process = subprocess.Popen(
        [sys.executable, "-m", "taximeter", "serve", "--port", "0", "--json"], stdout=subprocess.PIPE, encoding="utf-8",
        env={**os.environ, "TAXIMETER_STATE_DIR": str(used)},
    )  # fmt: skip
    # Without an answer, the end of the process ends the test.
    limit = threading.Timer(60, process.kill)
    limit.start()
    try:
        lines: list[str] = []
        while not lines or lines[-1] not in {"}\n", ""}:
            lines.append(process.stdout.readline())
        document = json.loads("".join(lines))
    finally:
        process.send_signal(signal.SIGINT)
        process.stdout.close()
        code = process.wait(60)
        limit.cancel()
    assert set(document) == HEAD
    assert (document["command"], code) == ("serve", 130)
    (row,) = document["rows"]
    jsonschema.validate(row, closed({"address": TEXT, "port": COUNT, "ledger": TEXT}))


def test_lines_of_tail_and_export_are_calls(used):
    for arguments in (("tail", "--no-follow", "--json"), ("export",), ("export", "--json")):
        lines = call(used, *arguments).splitlines()
        assert len(lines) == 5
        for line in lines:
            jsonschema.validate(json.loads(line), CALL)
    (row,) = json.loads(call(used, "show", json.loads(lines[0])["id"], "--json"))["rows"]
    assert row == json.loads(lines[0])


def test_the_page_names_every_command_and_field(used):
    page = re.sub("```.*?```", "", (DOCS / "json.md").read_text("utf-8"), flags=re.DOTALL)
    told = set(re.findall(r"`([^`]+)`", page))
    for arguments, schema in (COMMANDS | ACTIONS).items():
        if arguments:
            assert name_of(arguments) in told
        for name in schema.get("properties", schema["required"]):
            assert name in told or name == "key", (arguments, name)
    for names in FURTHER.values():
        assert names <= told | {"by"}


def test_options_work_before_and_after_the_command(used):
    before, after = (call(used, *arguments) for arguments in (("--json", "-z", "UTC", "daily"), ("daily", "--json", "-z", "UTC")))
    assert json.loads(before) == json.loads(after)
    assert call(used, "--csv", "customers") == call(used, "customers", "--csv")
