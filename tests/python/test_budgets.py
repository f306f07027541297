"""Budgets as a program uses them: `check`, `reserve`, `measure`, `budget`, thresholds, webhooks, several processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

import taximeter
from conftest import wait_for
from taximeter.budgets.periods import boundaries
from taximeter.meter import engine_of
from test_storage import BECOME_NOBODY

# 1,000 input and 300 output tokens of gpt-4o cost $0.0055.
CALL = {"provider": "openai", "model": "gpt-4o"}


def made(**fields) -> taximeter.Budget:
    return taximeter.Budget("customer-day", **{"usd": "0.01", "per": "day", "by": "customer", **fields})


@pytest.fixture
def limited(state):
    """Return a function that makes a meter with budgets and the state directory of the test."""
    meters = []

    def make(*budgets, **settings) -> taximeter.Meter:
        meters.append(taximeter.Meter(state_dir=state, budgets=budgets, **settings))
        return meters[-1]

    yield make
    for meter in meters:
        meter.close(5)


def spend(meter, customer="acme", tokens=1000, **fields) -> taximeter.Receipt:
    return meter.track(**CALL, input_tokens=tokens, customer=customer, **fields)


def used(meter, **fields) -> Decimal | int:
    (standing,) = meter.check(**fields)
    return standing.used


def test_what_calls_cost_is_charged_by_key_and_limits_of_keys_apply(limited):
    meter = limited(made(limits={"trial-*": "0.001", "big": "5"}))
    spend(meter)
    spend(meter)
    spend(meter, "other")
    (acme,) = meter.check(customer="acme")
    assert (acme.budget, acme.key, acme.unit, acme.amount) == ("customer-day", "acme", "usd", Decimal("0.01"))
    assert (acme.used, acme.held, acme.left, acme.calls) == (Decimal("0.005"), 0, Decimal("0.005"), 2)
    assert acme.resets_at.tzinfo is not None
    amounts = {key: meter.check(customer=key)[0].amount for key in ("other", "trial-1", "big")}
    assert amounts == {"other": Decimal("0.01"), "trial-1": Decimal("0.001"), "big": Decimal(5)}
    assert used(meter, customer="other") == Decimal("0.0025")


def test_a_check_uses_the_attribution_in_force_and_names_the_nearest_field(limited):
    meter = limited(made())
    spend(meter)
    with taximeter.attribute(customer="acme"):
        assert used(meter) == Decimal("0.0025")
        assert used(meter, customer="other") == 0
    with pytest.raises(TypeError, match="did you mean 'customer'"):
        meter.check(custmer="acme")


def test_a_reserved_call_holds_its_estimate_and_is_charged_what_it_used(limited):
    meter = limited(made())
    with meter.reserve(**CALL, customer="acme", input_tokens=1000, max_output_tokens=300) as reserved:
        assert reserved.estimated_usd == Decimal("0.0055")
        (standing,) = meter.check(customer="acme")
        assert (standing.used, standing.held, standing.left) == (0, Decimal("0.0055"), Decimal("0.0045"))
        receipt = reserved.track(input_tokens=1000, output_tokens=100)
    assert receipt.cost_usd == Decimal("0.0035")
    (standing,) = meter.check(customer="acme")
    assert (standing.used, standing.held, standing.calls) == (Decimal("0.0035"), 0, 1)


def test_a_call_that_does_not_fit_is_not_made(limited):
    meter = limited(made())
    with pytest.raises(taximeter.BudgetExceeded) as caught:
        with meter.reserve(**CALL, customer="acme", input_tokens=1000, max_output_tokens=1000):
            pytest.fail("the block ran")
    error = caught.value
    assert (error.budget, error.key, error.amount, error.used, error.held) == ("customer-day", "acme", Decimal("0.01"), 0, 0)
    assert (error.estimate, error.is_held, error.reason) == (Decimal("0.0125"), False, "exceeded")
    assert 0 < error.retry_after <= 25 * 3600
    assert meter.check(customer="acme")[0].held == 0


def test_what_others_hold_may_be_free_again(limited):
    meter = limited(made())
    asked = {**CALL, "customer": "acme", "input_tokens": 1000, "max_output_tokens": 300}
    with meter.reserve(**asked) as reserved:
        with pytest.raises(taximeter.BudgetExceeded, match="when these calls have ended") as caught:
            meter.reserve(**asked).__enter__()
        assert caught.value.is_held
        reserved.release()
        with meter.reserve(**asked) as other:
            other.release()
    assert meter.check(customer="acme")[0] == meter.check(customer="new")[0]._replace(key="acme")


@pytest.mark.parametrize(
    ("error", "policy", "charged"),
    [
        (None, "input", "0.0025"),
        (None, "release", "0"),
        (ValueError, "input", "0"),
        (TimeoutError, "input", "0.0025"),
        (KeyboardInterrupt, "input", "0.0025"),
        (asyncio.CancelledError, "release", "0"),
    ],
)
def test_a_block_that_ends_without_an_event_is_charged_by_how_it_ended(limited, error, policy, charged):
    meter = limited(made(cancelled=policy))
    try:
        with meter.reserve(**CALL, customer="acme", input_tokens=1000, max_output_tokens=300):
            if error is not None:
                raise error
    except BaseException as raised:
        assert type(raised) is error
    (standing,) = meter.check(customer="acme")
    assert (standing.used, standing.held) == (Decimal(charged), 0)


def test_a_measured_call_asks_before_the_block(limited):
    meter = limited(made())
    estimate = {"input_tokens": 1000, "max_output_tokens": 300}
    with meter.measure(**CALL, customer="acme", reserve=estimate) as call:
        assert meter.check(customer="acme")[0].held == Decimal("0.0055")
        call.set_usage({"input_tokens": 1000, "output_tokens": 200})
    assert call.receipt.cost_usd == used(meter, customer="acme") == Decimal("0.0045")
    tracked = meter.stats()["tracked"]
    with pytest.raises(taximeter.BudgetExceeded):
        with meter.measure(**CALL, customer="acme", reserve={**estimate, "max_output_tokens": 400}):
            pytest.fail("the block ran")
    assert meter.stats()["tracked"] == tracked
    with pytest.raises(TypeError, match="did you mean 'max_output_tokens'"):
        meter.measure(**CALL, reserve={"max_output_token": 5}).__enter__()


@pytest.mark.parametrize(("error", "charged"), [(RuntimeError, "0"), (TimeoutError, "0.0025")])
def test_a_measured_call_that_raises_is_charged_once(limited, error, charged):
    meter = limited(made())
    with pytest.raises(error):
        with meter.measure(**CALL, customer="acme", reserve={"input_tokens": 1000, "max_output_tokens": 300}):
            raise error
    (standing,) = meter.check(customer="acme")
    assert (standing.used, standing.held) == (Decimal(charged), 0)
    assert meter.stats()["tracked"] == 1


@pytest.mark.parametrize("value", [-1, 1.5, True, "many", 10**13])
def test_an_invalid_estimate_is_an_error_that_names_it(limited, value):
    meter = limited(made())
    with pytest.raises(taximeter.UsageError, match="max_output_tokens must be a whole number"):
        meter.reserve(**CALL, max_output_tokens=value).__enter__()


def test_text_of_the_request_is_counted_but_not_kept(limited, state):
    meter = limited(made(usd="1"))
    request = {"messages": [{"role": "user", "content": "canary word " * 500}]}
    with meter.reserve(**CALL, customer="acme", request=request, max_output_tokens=0) as reserved:
        held = meter.check(customer="acme")[0].held
        reserved.release()
    assert Decimal("0.0025") <= held <= Decimal("0.01")
    assert not [path for path in state.rglob("*") if path.is_file() and b"canary" in path.read_bytes()]


def test_a_budget_of_a_run_limits_its_calls_in_memory(limited):
    meter = limited()
    with taximeter.budget(usd="0.004") as run:
        spend(meter)
        assert (run.used, run.left) == (Decimal("0.0025"), Decimal("0.0015"))
        with pytest.raises(taximeter.BudgetExceeded, match="budget run: ") as caught:
            meter.reserve(**CALL, input_tokens=1000, max_output_tokens=0).__enter__()
        assert caught.value.retry_after is None
    spend(meter)
    assert run.used == Decimal("0.0025")
    assert "used=0.0025" in repr(run)


def test_an_inner_run_never_gets_more_than_is_left_of_the_outer_one(limited):
    meter = limited()
    with (
        taximeter.budget(calls=2, name="outer") as outer,
        taximeter.attribute(customer="acme"),
        taximeter.budget(calls=5, name="inner") as inner,
    ):
        spend(meter)
        assert (outer.used, inner.used) == (1, 1)
        spend(meter)
        with pytest.raises(taximeter.BudgetExceeded, match="budget outer"):
            meter.reserve(**CALL).__enter__()


def test_tasks_threads_and_executors_share_the_budget_of_a_run(limited):
    meter = limited()

    async def tasks() -> None:
        await asyncio.gather(*(asyncio.to_thread(spend, meter) for _ in range(3)))

    with taximeter.budget(calls=100) as run:
        asyncio.run(tasks())
        with ThreadPoolExecutor(2) as executor:
            for _ in range(2):
                executor.submit(taximeter.bind(spend), meter).result()
            executor.submit(spend, meter).result()
    assert run.used == 5


async def test_a_run_can_be_an_asynchronous_block_and_ends_with_it(limited):
    meter = limited()
    async with taximeter.budget(tokens=1500) as run:
        spend(meter)
        assert run.left == 500
    spend(meter)
    assert run.used == 1000


def test_each_call_of_a_decorated_function_has_a_budget_of_its_own(limited):
    meter = limited()

    def ask() -> None:
        with meter.reserve(**CALL, input_tokens=1, max_output_tokens=1) as reserved:
            reserved.track(input_tokens=1, output_tokens=1)

    @taximeter.budget(calls=1)
    def plain(count: int) -> None:
        for _ in range(count):
            ask()

    @taximeter.budget(calls=1)
    async def asynchronous(count: int) -> None:
        plain(1)
        for _ in range(count):
            ask()

    @taximeter.budget(calls=2)
    def generated(count: int):
        for number in range(count):
            ask()
            yield number

    plain(1)
    plain(1)
    asyncio.run(asynchronous(0))
    assert [*generated(2), *generated(2)] == [0, 1, 0, 1]
    for call in (lambda: plain(2), lambda: [*generated(3)], lambda: asyncio.run(asynchronous(1))):
        with pytest.raises(taximeter.BudgetExceeded):
            call()


@pytest.mark.parametrize(
    "amounts", [{}, {"usd": 0.5}, {"usd": "0"}, {"usd": "1", "calls": 1}, {"tokens": -1}, {"usd": "1", "name": "A b"}]
)
def test_a_run_needs_one_valid_amount(amounts):
    with pytest.raises(taximeter.ConfigError, match=r"taximeter\.budget: "):
        taximeter.budget(**amounts)


def test_a_threshold_is_acted_upon_once_for_each_key(limited, caplog):
    crossed = []
    meter = limited(made(warn_at=(0.5, 0.2), on_threshold=crossed.append))
    with caplog.at_level(logging.WARNING, "taximeter"):
        for _ in range(5):
            spend(meter)
        spend(meter, "other")
    assert [(one.key, str(one.threshold)) for one in crossed] == [
        ("acme", "0.2"), ("acme", "0.5"), ("acme", "1"), ("other", "0.2"),
    ]  # fmt: skip
    assert [one.used for one in crossed] == [Decimal("0.0025"), Decimal("0.005"), Decimal("0.01"), Decimal("0.0025")]
    assert "budget customer-day, 'acme': 20 % reached: $0.0025 of $0.01 used; it resets at" in caplog.text


def test_a_callback_that_raises_is_counted_and_changes_nothing(limited, caplog):
    def fail(standing) -> None:
        raise RuntimeError("canary")

    meter = limited(made(warn_at=(), on_threshold=fail))
    for _ in range(4):
        assert spend(meter)
    assert meter.stats()["remarks"]["callback_failed"] == 1
    assert "customer-day (RuntimeError)" in caplog.text
    assert "canary" not in caplog.text


def test_a_webhook_gets_each_threshold_with_one_id(limited, collector):
    url = f"http://127.0.0.1:{collector.port}/hook/canary?key=canary"
    meter = limited(made(warn_at=(0.5,), webhook=url))
    for _ in range(4):
        spend(meter)
    wait_for(lambda: len(collector.requests) >= 2)
    bodies = [json.loads(request["raw"]) for request in collector.requests]
    assert {request["path"] for request in collector.requests} == {"/hook/canary?key=canary"}
    assert sorted(body["threshold"] for body in bodies) == ["0.5", "1"]
    assert len({body["id"] for body in bodies}) == 2
    half = next(body for body in bodies if body["threshold"] == "0.5")
    assert {name: half[name] for name in ("budget", "key", "unit", "amount", "used")} == {
        "budget": "customer-day", "key": "acme", "unit": "usd", "amount": "0.01", "used": "0.005",
    }  # fmt: skip
    assert half["period_start"] < half["resets_at"]
    assert half["resets_at"].endswith("Z")


def test_a_second_definition_may_change_amounts_but_not_what_is_counted(limited):
    spend(limited(made()))
    meter = limited(made(usd="0.02", warn_at=(0.9,)))
    (standing,) = meter.check(customer="acme")
    assert (standing.amount, standing.used) == (Decimal("0.02"), Decimal("0.0025"))
    for fields in ({"by": "team"}, {"per": "month"}, {"tz": "Europe/Paris"}, {"where": {"team": "a"}}, {"usd": None, "calls": 5}):
        with pytest.raises(taximeter.ConfigError, match="customer-day"):
            limited(made(**fields))


def test_periods_that_run_out_are_renewed(limited, monkeypatch):
    # As of a process that has run for three hours and knew five.
    old = lambda source, now: boundaries(source, now - 3 * 3600)[:5]
    monkeypatch.setattr("taximeter.budgets.definition.boundaries", old)
    engine = engine_of(limited(made(per="hour")))
    before = engine.stats()["budgets"]["boundaries_until"]
    monkeypatch.setattr(engine.limits, "_next_renewal", 0.0)
    engine.stats()
    renewed = engine.budgets.stats()["boundaries_until"]
    assert before + 390 * 3600 < renewed
    engine.act_on_budgets("budget_boundaries")
    assert engine.budgets.stats()["boundaries_until"] == renewed


def test_budgets_need_a_state_directory(state):
    with pytest.raises(taximeter.ConfigError, match="budgets: "):
        taximeter.Meter(state_dir=state, backend="memory", budgets=[made()])


def test_a_meter_that_is_off_admits_everything(limited):
    meter = limited(made(), enabled=False)
    with meter.reserve(**CALL, customer="acme", input_tokens=10**9) as reserved:
        assert not reserved.track(input_tokens=1)
    assert meter.check(customer="acme") == ()


def test_the_counts_of_budgets_are_in_stats_and_metrics(limited):
    meter = limited(made())
    spend(meter, 'a"b')
    with meter.reserve(**CALL, customer="acme", input_tokens=100, max_output_tokens=0) as reserved:
        reserved.track(input_tokens=100)
    with pytest.raises(taximeter.BudgetExceeded):
        meter.reserve(**CALL, customer="acme", input_tokens=10**6).__enter__()
    counts = meter.stats()["budgets"]
    assert (counts["definitions"], counts["admitted"], counts["refused"], counts["state"]) == (1, 1, 1, "ok")
    assert (Decimal(counts["estimated_usd"]), Decimal(counts["actual_usd"])) == (Decimal("0.00025"), Decimal("0.00025"))
    text = meter.prometheus()
    assert 'taximeter_budget_calls_total{outcome="refused"} 1\n' in text
    # Customers are no labels: the budget has the one that is closest to its limit.
    assert 'taximeter_budget_used{budget="customer-day",key="",unit="usd"} 0.0025\n' in text
    assert 'taximeter_budget_limit{budget="customer-day",key="",unit="usd"} 0.01\n' in text
    assert "acme" not in text


def test_threads_never_exceed_the_limit_together(limited):
    meter = limited(made(usd="0.05"))
    admitted = []

    def work() -> None:
        for _ in range(20):
            try:
                with meter.reserve(**CALL, customer="acme", input_tokens=1000, max_output_tokens=0) as reserved:
                    admitted.append(reserved.track(input_tokens=1000).cost_usd)
            except taximeter.BudgetExceeded:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == used(meter, customer="acme") == Decimal("0.05")


def test_processes_share_one_budget(limited, run):
    meter = limited(made())
    spend(meter)
    outcome = run(
        """
        import taximeter
        taximeter.init(instrument=False)
        (standing,) = taximeter.check(customer="acme")
        print(standing.used)
        taximeter.track(provider="openai", model="gpt-4o", input_tokens=1000, customer="acme")
        """
    )
    assert outcome.stdout == "0.0025\n"
    assert used(meter, customer="acme") == Decimal("0.005")


CROSS = """
    import os, sys, taximeter
    budget = taximeter.Budget("b", usd="0.001", per="day", warn_at=(), webhook=sys.argv[1])
    taximeter.init(instrument=False, budgets=[budget])
    taximeter.track(provider="openai", model="gpt-4o", input_tokens=1000)
    os._exit(0)
"""


def test_a_webhook_of_a_killed_process_is_called_by_the_next_one(limited, run, collector):
    collector.rule = lambda events: 503
    url = f"http://127.0.0.1:{collector.port}/hook"
    run(CROSS, url)
    collector.rule = lambda events: 200
    before = collector.received
    limited(taximeter.Budget("b", usd="0.001", per="day", warn_at=(), webhook=url))
    wait_for(lambda: collector.received > before)
    assert len(collector.events) == 1


def test_a_webhook_is_called_although_its_process_is_killed_before_it_is_journaled(limited, run, collector):
    url = f"http://127.0.0.1:{collector.port}/hook"
    # The process ends when the core has counted the call, before Python acts on the threshold.
    end = "taximeter.meter.limits.Limits.act = lambda self: os._exit(0)"
    run(CROSS.replace("taximeter.track", f"import taximeter.meter.limits\n    {end}\n    taximeter.track"), url)
    assert not collector.events
    meter = limited(taximeter.Budget("b", usd="0.001", per="day", warn_at=(), webhook=url))
    # A second look at the ended process makes sure of its end.
    wait_for(lambda: spend(meter) and collector.events)
    meter.close(5)
    (event,) = collector.events.values()
    assert event["threshold"] == "1"


def test_processes_that_cross_at_once_send_one_webhook(run, state, collector):
    url = f"http://127.0.0.1:{collector.port}/hook"
    text = CROSS.replace("os._exit(0)", "taximeter.close(10)")
    with ThreadPoolExecutor(8) as executor:
        outcomes = [*executor.map(lambda _: run(text, url), range(8))]
    assert sum("100 % reached" in outcome.stderr for outcome in outcomes) == 1
    assert len(collector.events) == 1


@pytest.mark.parametrize("policy", ["allow", "block"])
@pytest.mark.parametrize("damage", ["no directory", "damaged state", "newer state", "damaged definitions"])
def test_counts_that_cannot_be_read_follow_the_policy_of_the_budget(limited, state, caplog, damage, policy):
    limited(made()).close()
    budgets = state / "budgets"
    if damage == "no directory":
        for path in budgets.iterdir():
            path.unlink()
        budgets.rmdir()
        budgets.write_text("")
    elif damage == "damaged definitions":
        (budgets / "definitions.json").write_text("{")
    else:
        words = bytearray((budgets / "state").read_bytes())
        words[:16] = b"\xff" * 16 if damage == "damaged state" else words[:8] + b"\xff" * 8
        (budgets / "state").write_bytes(words)
    if damage == "damaged definitions":
        with pytest.raises(taximeter.ConfigError, match=r"definitions\.json"):
            limited(made(unavailable=policy))
        return
    meter = limited(made(unavailable=policy))
    # A damaged state is made anew, and what was counted is read from the ledger.
    is_unavailable = damage != "damaged state"
    assert ("the counts of budgets cannot be read or written" in caplog.text) == is_unavailable
    for calls in (1, 2):
        asked = meter.reserve(**CALL, customer="acme", input_tokens=10, max_output_tokens=10)
        if is_unavailable and policy == "block":
            with pytest.raises(taximeter.BudgetUnavailable):
                asked.__enter__()
        else:
            with asked as reserved:
                assert reserved.track(input_tokens=10)
        assert meter.stats()["budgets"]["unavailable"] == (calls if is_unavailable else 0)
    if damage == "no directory":
        # Once the state can be used, the definitions and what was charged meanwhile are in it.
        budgets.unlink()
        spend(meter, tokens=1)
        assert meter.check(customer="acme")[0].calls == (3 if policy == "allow" else 1)
        wait_for((budgets / "definitions.json").exists)
        assert limited().check(customer="acme")[0].budget == "customer-day"


UNAVAILABLE = """
import taximeter
budget = taximeter.Budget("b", usd="1", per="day", unavailable=sys.argv[2])
taximeter.init(instrument=False, state_dir=sys.argv[1], budgets=[budget])
for _ in range(3):
    try:
        with taximeter.reserve(provider="openai", model="gpt-4o", input_tokens=10) as reserved:
            reserved.track(input_tokens=10)
    except taximeter.BudgetUnavailable:
        print("blocked")
    else:
        print("admitted")
print(taximeter.stats()["budgets"]["unavailable"])
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a disk and become another user")
@pytest.mark.parametrize("policy", ["allow", "block"])
@pytest.mark.parametrize("place", ["full disk", "read-only directory"])
def test_a_state_that_cannot_be_written_follows_the_policy_of_the_budget(tmp_path, place, policy):
    disk = Path(tempfile.mkdtemp(dir="/tmp"))
    become = ""
    if place == "full disk":
        # Smaller than the state, and larger than the definitions.
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "none", disk], check=False).returncode:
            pytest.skip("this container cannot mount a disk")
    else:
        disk.chmod(0o555)
        become = BECOME_NOBODY
    try:
        outcome = subprocess.run(
            [sys.executable, "-c", "import sys\n" + become + UNAVAILABLE, disk / "state", policy], cwd="/", capture_output=True,
            text=True, timeout=300, check=False, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
    finally:
        if place == "full disk":
            subprocess.run(["umount", disk], check=True)
        disk.rmdir()
    assert outcome.stdout.split() == ["admitted" if policy == "allow" else "blocked"] * 3 + ["3"], outcome.stderr
    assert "the counts of budgets cannot be read or written" in outcome.stderr


def test_the_state_takes_at_most_the_size_in_the_settings(limited):
    meter = limited(taximeter.Budget("each", calls=1, per="total", by="user", unavailable="block"), budget_state_mb=3)
    with pytest.raises(taximeter.BudgetUnavailable, match="budget_state_mb"):
        for user in range(10_000):
            meter.reserve(**CALL, user=str(user), input_tokens=1).__enter__()
    assert user > 6_000  # more than three quarters of the first state
    with pytest.raises(taximeter.ConfigError, match="budget_state_mb: 1 is not a number of megabytes from 3"):
        limited(budget_state_mb=1)


def reserve(meter, **fields):
    """Ask for a call of 1,000 input tokens without output: $0.0025 of gpt-4o. Return `admitted`, or why it is refused."""
    try:
        with meter.reserve(**{**CALL, "customer": "acme", "input_tokens": 1000, "max_output_tokens": 0, **fields}) as reserved:
            reserved.release()
    except taximeter.BudgetExceeded as error:
        return error.reason
    return "admitted"


def test_a_share_is_this_machine_s_part_of_the_amount(limited):
    meter = limited(made(share=0.25, limits={"big": "0.02"}))
    assert meter.check(customer="acme")[0].amount == Decimal("0.0025")
    assert meter.check(customer="big")[0].amount == Decimal("0.005")
    assert (reserve(meter), reserve(meter, input_tokens=1001)) == ("admitted", "exceeded")


def test_any_room_admits_a_call_where_that_is_wanted(limited):
    meter = limited(made(admit="room"))
    assert reserve(meter, max_output_tokens=10_000) == "admitted"
    spend(meter, tokens=3999)
    assert reserve(meter) == "admitted"
    spend(meter, tokens=1)
    assert reserve(meter) == "exceeded"


def test_a_budget_that_only_warns_admits_everything(limited, caplog):
    meter = limited(made(action="warn", warn_at=()))
    spend(meter, tokens=10_000)
    assert reserve(meter) == "admitted"
    assert "100 % reached: $0.025 of $0.01 used" in caplog.text


@pytest.mark.parametrize(
    ("policy", "outcome", "charged"), [("allow", "admitted", "0"), ("block", "unpriced", "0"), ("0.004", "admitted", "0.008")]
)
def test_calls_without_a_price_follow_the_policy(limited, policy, outcome, charged):
    meter = limited(made(unpriced=policy))
    assert reserve(meter, model="no-such-model") == outcome
    for _ in range(2):
        meter.track(provider="openai", model="no-such-model", input_tokens=5, customer="acme")
    (standing,) = meter.check(customer="acme")
    assert (standing.used, standing.calls, standing.unpriced) == (Decimal(charged), 2, 2)
    assert reserve(meter, model="no-such-model") == ("exceeded" if policy == "0.004" else outcome)


@pytest.mark.parametrize(
    ("policy", "outcome", "keys"), [("count", "admitted", [""]), ("skip", "admitted", []), ("block", "absent", [""])]
)
def test_calls_without_a_key_follow_the_policy(limited, policy, outcome, keys):
    meter = limited(made(absent=policy))
    assert reserve(meter, customer=None) == outcome
    meter.track(**CALL, input_tokens=1000)
    assert [one.key for one in meter.check()] == keys


def test_tokens_and_calls_are_counted_without_a_price(limited):
    meter = limited(
        taximeter.Budget("tokens", tokens=2500, rolling="1h"),
        taximeter.Budget("calls", calls=2, per="total", where={"model": "no-*"}),
    )
    unknown = {"model": "no-such-model", "max_output_tokens": 500}
    assert reserve(meter, **unknown) == "admitted"
    meter.track(provider="openai", model="no-such-model", input_tokens=1000, output_tokens=200)
    assert {one.budget: (one.used, one.left) for one in meter.check(model="no-such-model")} == {
        "tokens": (1200, 1300),
        "calls": (1, 1),
    }
    assert [one.budget for one in meter.check(model="gpt-4o")] == ["tokens"]
    assert (reserve(meter, **unknown), reserve(meter, max_output_tokens=301)) == ("exceeded", "exceeded")
    assert reserve(meter, max_output_tokens=300) == "admitted"


def test_a_model_matches_by_its_dated_names(limited):
    meter = limited(made(by="model", where={"model": "gpt-4o"}))
    meter.track(provider="openai", model="gpt-4o-2024-08-06", input_tokens=1000)
    spend(meter)
    assert used(meter, model="gpt-4o") == Decimal("0.005")
    assert meter.check(model="gpt-4o-mini") == ()


def test_typical_calls_hold_what_calls_like_them_took(limited):
    meter = limited(made(usd="1", estimate="typical"))
    request = {**CALL, "customer": "acme", "input_tokens": 0, "max_output_tokens": 4000}

    def held() -> Decimal:
        with meter.reserve(**request) as reserved:
            amount = meter.check(customer="acme")[0].held
            reserved.track(output_tokens=100)
        return amount

    assert held() == Decimal("0.04")
    for _ in range(20):
        held()
    assert held() == Decimal("0.002")


FORKS = """
    import json, os, threading, taximeter
    taximeter.init(instrument=False, budgets=[taximeter.Budget("b", tokens=10**12, per="total")])

    def call():
        with taximeter.reserve(provider="openai", model="gpt-4o", input_tokens=10, max_output_tokens=0) as reserved:
            reserved.track(input_tokens=7)

    counts, stop = [0] * 8, threading.Event()

    def work(number):
        while not stop.is_set():
            call()
            counts[number] += 1

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    [thread.start() for thread in threads]
    children = []
    for _ in range(12):
        child = os.fork()
        if child == 0:
            [call() for _ in range(10)]
            taximeter.close(10)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 12
    stop.set()
    [thread.join() for thread in threads]
    taximeter.close(10)
    (standing,) = taximeter.check()
    print(json.dumps([standing.used, standing.held, standing.calls, 7 * (sum(counts) + 120)]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_forks_under_eight_threads_neither_lose_nor_double_a_charge(run):
    used, held, calls, expected = json.loads(run(FORKS).stdout)
    assert (used, held, calls) == (expected, 0, expected // 7)


@pytest.mark.parametrize(
    ("fields", "call", "around", "counted"),
    [
        ({"where": {"team": "search"}}, {"team": "search"}, {}, True),
        ({"where": {"team": "search"}}, {"team": "other"}, {}, False),
        ({"where": {"team": "search"}}, {}, {}, False),
        ({"where": {"team": "sea*"}}, {}, {"team": "search"}, True),
        ({"where": {"team": "search"}}, {"team": "other"}, {"team": "search"}, False),
        ({"where": {"tag:env": "prod"}}, {"tags": {"env": "prod"}}, {}, True),
        ({"where": {"tag:env": "prod"}}, {"tags": {"env": "test"}}, {"tags": {"env": "prod"}}, False),
        ({"where": {"tag:env": "prod"}}, {"tags": {"other": "prod"}}, {"tags": {"env": "prod"}}, True),
        ({"where": {"feature": "default"}}, {}, {}, True),
        ({"where": {"model": "gpt-4o"}}, {"model": "gpt-4o-2024-08-06"}, {}, True),
        ({"where": {"model": "gpt-4o"}}, {"model": "gpt-4o-mini"}, {}, False),
        ({"where": {"provider": "azure.ai.openai"}}, {}, {}, False),
        ({"by": "user", "absent": "skip"}, {}, {}, False),
        ({"by": "user", "absent": "skip"}, {"user": "u"}, {}, True),
        ({"by": "user", "absent": "block"}, {}, {}, True),
    ],
)
def test_plain_calls_count_for_the_budgets_that_they_match_and_for_no_others(limited, fields, call, around, counted):
    meter = limited(taximeter.Budget("b", calls=10**6, per="total", **fields), feature="default")
    with taximeter.attribute(**around) if around else contextlib.nullcontext():
        for _ in range(30):  # more than make a call site's texts known
            assert meter.track(**{**CALL, "input_tokens": 1, **call})
    assert [one["calls"] for one in engine_of(meter).standings()] == ([30] if counted else [])
