"""The gate of the extension: what is admitted, refused and charged. Definitions are written as `taximeter.budgets` writes them."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

import taximeter
from taximeter import _core, attribution

MODEL = {"provider": "openai", "model": "gpt-4o"}
"""2.5 USD for a million input tokens, 10 USD for a million output tokens."""


@pytest.fixture
def budgets(meter: taximeter.Meter) -> _core.Budgets:
    return _core.Budgets(core_of(meter))


def core_of(meter: taximeter.Meter) -> _core.Meter:
    return meter._engine.core


def define(budgets: _core.Budgets, **fields: Any) -> None:
    budgets.set(json.dumps([{"name": "day", "unit": "usd", "amount": "1", "period": {"kind": "total"}, **fields}]))


def admit(budgets: _core.Budgets, input_tokens: int = 0, max_output: int = 0, **fields: Any) -> Any:
    scope = _core.Scope(None, **fields) if fields else None
    return budgets.admit(scope, "openai", "gpt-4o", None, input_tokens=input_tokens, max_output=max_output)


def used(budgets: _core.Budgets) -> dict[str, tuple[str, str]]:
    return {"/".join(one["key"]): (one["used"], one["held"]) for one in budgets.all_standings()}


def test_a_call_is_admitted_only_if_its_estimate_fits(budgets):
    assert admit(budgets, 1, 1) is None, "no budgets"
    define(budgets, by=["customer"], limits=[["big", "2"]])
    assert budgets.is_active
    ticket = admit(budgets, 200_000, 50_000, customer="acme")
    assert ticket.estimated_usd == Decimal(1)
    assert (ticket.input_tokens, ticket.output_tokens) == (200_000, 50_000)
    refusal = admit(budgets, 4, 0, customer="acme")
    assert (refusal.reason, refusal.budget, refusal.key, refusal.unit) == ("exceeded", "day", ("acme",), "usd")
    assert (refusal.amount, refusal.used, refusal.held, refusal.estimate) == (1, 0, 1, Decimal("0.00001"))
    assert refusal.is_held and refusal.retry_after == 1 and refusal.resets_at is None
    assert isinstance(admit(budgets, 4, 0, customer="other"), _core.Ticket), "another key"
    assert isinstance(admit(budgets, 400_000, 100_000, customer="big"), _core.Ticket), "a limit of its own"
    budgets.track(ticket, **MODEL, input_tokens=100_000, output_tokens=10_000, customer="acme")
    assert ticket.is_settled
    assert used(budgets)["acme"] == ("0.35", "0")
    assert budgets.stats()["refused"] == 1


def test_calls_without_a_ticket_are_charged(budgets, meter):
    define(budgets, by=["customer", "tag:env"])
    for _ in range(20):  # more than make a call site's texts known
        meter.track(**MODEL, input_tokens=4_000, output_tokens=0, customer="acme", tags={"env": "prod"})
    with taximeter.attribute(customer="other"):
        meter.track(**MODEL, input_tokens=4_000)
    assert used(budgets) == {"acme/prod": ("0.2", "0"), "other/": ("0.01", "0")}


@pytest.mark.parametrize(
    ("end", "charged"),
    [
        (lambda b, t: b.track(t, **MODEL, input_tokens=4_000, output_tokens=0), "0.01"),
        (lambda b, t: b.track(t, **MODEL, usage_status="missing"), "0.03"),
        (lambda b, t: b.track(t, **MODEL, input_tokens=400, output_tokens=1, usage_status="partial"), "0.02"),
        (lambda b, t: b.track(t, **MODEL, status="error", error="APIStatusError"), "0"),
        (lambda b, t: t.end("failed"), "0"),
        (lambda b, t: t.end("cancelled"), "0.02"),
    ],
)
def test_every_end_has_its_charge(budgets, end: Callable[[Any, Any], Any], charged: str):
    define(budgets)
    ticket = admit(budgets, 8_000, 1_000)
    end(budgets, ticket)
    assert ticket.is_settled
    ticket.end("cancelled")
    budgets.track(ticket, **MODEL, input_tokens=1)
    assert {("", (charged, "0"))} == set(used(budgets).items()) or (charged == "0" and not used(budgets))


def test_an_abandoned_call_holds_nothing(budgets):
    define(budgets)
    admit(budgets, 8_000, 1_000)
    gc.collect()
    assert used(budgets) == {"": ("0.02", "0")}
    assert budgets.stats()["abandoned"] == 1


def test_a_response_settles_its_ticket(budgets, meter):
    define(budgets)
    ticket = admit(budgets, 8_000, 1_000)
    scanner = _core.Scanner("openai", provider="openai", content_type="application/json")
    scanner.feed(b'{"model":"gpt-4o-2024-08-06","usage":{"prompt_tokens":4000,"completion_tokens":0},"choices":[]}')
    assert scanner.record(core_of(meter), dict(MODEL), {}, None, None, None, None, ticket) is None
    assert used(budgets) == {"": ("0.01", "0")}


def test_calls_without_a_price_follow_the_budget(budgets):
    define(budgets, unpriced="block")
    refusal = budgets.admit(None, "openai", "no-such-model", None, input_tokens=1)
    assert (refusal.reason, refusal.detail) == ("unpriced", "the price of the model is unknown")
    define(budgets, unpriced="0.25")
    budgets.track(
        budgets.admit(None, "openai", "no-such-model", None, input_tokens=1), provider="openai", model="no-such-model", input_tokens=9
    )
    assert used(budgets) == {"": ("0.25", "0")}


def test_a_run_has_at_most_what_is_left_of_the_run_around_it(budgets, meter):
    outer, inner = _core.RunBudget(usd="0.05", name="outer"), _core.RunBudget(usd="0.04", name="inner")
    scope = inner.scope(outer.scope(None))
    admitted = budgets.admit(scope, "openai", "gpt-4o", None, input_tokens=8_000, max_output=0)
    refusal = budgets.admit(scope, "openai", "gpt-4o", None, input_tokens=12_000, max_output=0)
    assert (refusal.budget, refusal.is_held) == ("inner", True)
    admitted.end("failed")
    owner = object()
    attribution.enter(owner, _core.Scope(scope, customer="acme"))
    try:
        meter.track(**MODEL, input_tokens=4_000, output_tokens=0)
    finally:
        attribution.leave(owner)
    for run in (outer, inner):
        assert (run.standing()["used"], run.standing()["held"], run.standing()["calls"]) == ("0.01", "0", 1)


def test_the_text_of_a_request_is_counted(budgets):
    define(budgets, unit="tokens", amount="100000")
    text = "word " * 1_000
    request = {
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": text}, {"role": "user", "content": [{"type": "text", "text": text}]}],
        "tools": [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}],
    }
    ticket = budgets.admit(None, "openai", "gpt-4o", request, max_output=10, choices=2)
    assert 2_000 <= ticket.input_tokens <= 2_100
    assert ticket.output_tokens == 20
    image = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:" + "a" * 99_999}}]}]}
    assert 2_000 <= budgets.admit(None, "openai", "gpt-4o", image).input_tokens <= 2_010
    foreign = budgets.admit(None, "anthropic", "claude-haiku-4-5", {"system": text, "messages": []}, max_output=1)
    assert 1_400 <= foreign.input_tokens <= 1_420


def test_snapshots_count_for_the_model(budgets):
    define(budgets, unit="calls", amount="9", by=["model"], where={"model": ["gpt-4o"]})
    for model in ("gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-mini"):
        budgets.track(None, provider="openai", model=model, input_tokens=1)
    assert used(budgets) == {"gpt-4o": ("2", "0")}


def test_another_scope_under_the_same_name_is_an_error(budgets, state):
    define(budgets)
    define(budgets, amount="2")
    with pytest.raises(ValueError, match=r'budget "day": name exists with another unit'):
        define(budgets, by=["team"])
    other = _core.Budgets(core_of(taximeter.Meter(state_dir=state)))
    assert json.loads(other.definitions())[0]["amount"] == "2"
    assert other.stats()["definitions"] == 1, "a process that has defined nothing"
    assert budgets.remove("day") and not budgets.remove("day")
    assert budgets.stats()["definitions"] == 0


def test_thresholds_are_crossed_once(budgets, monkeypatch):
    monkeypatch.setattr("taximeter.meter.limits.Limits.act", lambda limits: None)
    define(budgets, warn_at=["0.5", "1"], webhook="http://127.0.0.1/hook")
    for _ in range(3):
        budgets.track(None, **MODEL, input_tokens=100_000)
    (half,) = budgets.take_crossings()
    assert (half["budget"], half["threshold"], half["webhook"], len(half["id"])) == ("day", "0.5", "http://127.0.0.1/hook", 32)
    assert budgets.take_crossings() == []
    budgets.reset("day", None)
    assert used(budgets) == {}
