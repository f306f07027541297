"""`track` records plain calls on a fast path. It gives the same events as the general path, whatever the arguments are."""

from __future__ import annotations

import enum
import gc
import inspect
import threading
import uuid
from collections import Counter, OrderedDict
from contextlib import nullcontext
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taximeter
from conftest import events_of

CALL = {"provider": "openai", "model": "gpt-4o", "input_tokens": 1200, "output_tokens": 350}
TEXTS = ("provider", "model", "agent", "feature", "team", "customer", "user", "session")
COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens")


class Text(str):
    __slots__ = ()


class Number(int):
    __slots__ = ()


class Name(str):
    __slots__ = ()


class Colour(enum.Enum):
    RED = "red"


class Table(dict):
    pass


WORDS = st.sampled_from(
    ["openai", "gpt-4o", "claude-haiku-4-5", "anthropic", "text-embedding-3-small", " OpenAI ", "acme", "é", "日本", "😀"]
)
ODD_TEXTS = st.one_of(
    st.text(max_size=12),
    st.text(st.characters(categories=["Cs", "Lu"]), min_size=1, max_size=4),
    st.sampled_from(
        [
            "",
            " ",
            "x" * 512,
            "é" * 300,
            "x" * 5_000,
            Text("acme"),
            Text(""),
            None,
            7,
            1.5,
            True,
            b"raw",
            Colour.RED,
            object,
            uuid.UUID(int=7),
        ]
    ),
)
ODD_COUNTS = st.one_of(
    st.integers(0, 10**12), st.integers(-(10**30), 10**30),
    st.sampled_from([10**12, 10**12 + 1, 2**63, 2**64 - 1, 2**64, -1, True, Number(5), 3.0, 2.5, float("nan"), "12", None, object()]),
)  # fmt: skip
TEXT = st.one_of(WORDS, WORDS, ODD_TEXTS)
COUNT = st.one_of(st.integers(0, 5_000), ODD_COUNTS)
PAIRS = st.dictionaries(TEXT.filter(lambda key: key is not object), TEXT, max_size=5)
TAGS = st.one_of(
    PAIRS, PAIRS, PAIRS.map(Table), PAIRS.map(OrderedDict), PAIRS.map(MappingProxyType), st.sampled_from([None, [], "a=b", 7]),
    st.integers(6, 70).map(lambda count: {f"key-{number}": "x" * (count * 5) for number in range(count)}),
    st.just({"k" * 200: "v", "a": "v" * 600}),
)  # fmt: skip
RARE = {
    "latency_ms": st.sampled_from([12.5, 0, -1, "x", None]),
    "status": st.sampled_from(["success", "error", "odd", None]),
    "operation": TEXT,
    "usage": st.sampled_from([{"web_searches": 2}, {"odd": 1}, None, 7]),
    "cost_usd": st.sampled_from(["0.5", None, "x"]),
}
FIELDS = dict.fromkeys(TEXTS, TEXT) | dict.fromkeys(COUNTS, COUNT) | {"tags": TAGS} | RARE


@st.composite
def calls(draw) -> dict:
    """Return arguments in any order. Most have a known provider and model, so that they are recorded."""
    names = draw(st.lists(st.sampled_from(sorted(FIELDS)), unique=True, max_size=9))
    values = {name: draw(FIELDS[name]) for name in names}
    if draw(st.integers(0, 3)):
        values |= CALL if draw(st.booleans()) else {"provider": draw(WORDS), "model": draw(WORDS)}
    return dict(draw(st.permutations(list(values.items()))))


def site(names: tuple[str, ...]):
    """Compile a call site with these keywords."""
    space: dict = {}
    exec(f"def call(track, v): return track({', '.join(f'{name}=v[{name!r}]' for name in names)})", space)
    return space["call"]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Return two meters: one is called by its function, the other one by the method that has only the general path."""
    pair = [taximeter.Meter(state_dir=tmp_path_factory.mktemp(name), linger_ms=0) for name in ("fast", "general")]
    for meter in pair:
        meter.track(**CALL)
    yield pair
    for meter in pair:
        meter.close(5)


def seen(meter: taximeter.Meter, count: int) -> list[dict]:
    """Return the last events, without what differs between two calls."""
    assert meter.flush(60).pending == 0
    events = taximeter.Ledger(meter.settings.ledger).last(count) if count else []
    return [{name: value for name, value in event.items() if name not in {"id", "started_at"}} for event in events]


def counts(meter: taximeter.Meter) -> dict:
    stats = meter.stats()
    return {name: stats[name] for name in ("tracked", "refused", "remarks")}


def outcome(receipt: taximeter.Receipt) -> tuple:
    return bool(receipt), receipt.cost_usd, receipt.refused


WAYS = ("site", "again", "repeated", "dict", "names")


@pytest.mark.slow
@settings(max_examples=300)
@given(st.lists(st.tuples(calls(), st.sampled_from(WAYS)), min_size=1, max_size=6), st.booleans())
def test_both_paths_record_the_same_events(two, given_calls, is_scoped):
    fast, general = two
    recorded = 0
    known = None
    with taximeter.attribute(team="scope", agent="scope", tags={"plan": "scope", "env": "prod"}) if is_scoped else nullcontext():
        for values, how in given_calls:
            names = tuple(values)
            if how == "site" or known is None or known[0] != names:
                # The call site before is dropped. A later tuple of names can get the address of its own.
                known = names, site(names)
            # A site that has repeated the same objects for a while is expected to go on.
            for _ in range(12 if how == "repeated" else 1):
                if how == "dict":
                    receipt = fast.track(**values)
                elif how == "names":
                    receipt = fast.track(**{Name(name): value for name, value in values.items()})
                else:
                    receipt = known[1](fast.track, values)
                assert outcome(receipt) == outcome(general._engine.core.track(**values))
                recorded += bool(receipt)
    assert seen(fast, recorded) == seen(general, recorded)
    assert counts(fast) == counts(general)


def test_a_site_that_repeats_its_texts_notices_another_one(meter):
    call = site(tuple(CALL))
    for number in range(60):
        # Each text is a new object, which can get the address of one before.
        values = {**CALL, "model": (b"gpt-4o" if number % 20 < 15 else b"gpt-4").decode(), "provider": b"openai".decode()}
        assert call(meter.track, values)
    same = {**CALL, "model": b"gpt-4o".decode()}
    for number in range(30):
        assert call(meter.track, {**same, "output_tokens": number})
    events = events_of(meter)
    assert [event["model"] for event in events] == (["gpt-4o"] * 15 + ["gpt-4"] * 5) * 3 + ["gpt-4o"] * 30
    assert [event["output_tokens"] for event in events[60:]] == list(range(30))


@pytest.mark.slow
def test_a_call_site_that_is_collected_and_others_at_its_address_are_told_apart(meter):
    expected = Counter()
    for number in range(600):
        # The same length, so that a later tuple can get the address of an earlier one.
        name = ("team", "agent", "feature", "customer")[number % 4]
        names = ("provider", "model", name) if number % 3 else (name, "model", "provider")
        call = site(names)
        for _ in range(2):
            assert call(meter.track, {"provider": "openai", "model": "gpt-4o", name: f"{name}-value"})
            expected[name] += 1
        del call
        if number % 50 == 0:
            gc.collect()
    found = Counter()
    for event in events_of(meter):
        (name,) = set(event) & {"team", "agent", "feature", "customer"}
        assert event[name] == f"{name}-value"
        found[name] += 1
    assert found == expected


def test_threads_record_their_own_arguments(meter):
    def work(number: int) -> None:
        names = [("provider", "model", "team", "input_tokens"), ("input_tokens", "team", "model", "provider")]
        own = [site(order) for order in names]
        for count in range(500):
            own[count % 2](meter.track, {"provider": "openai", "model": "gpt-4o", "team": f"t{number}", "input_tokens": count})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    meter.flush(30)
    rows = taximeter.Ledger(meter.settings.ledger).report("team")
    assert {row.key["team"]: (row.calls, row.input_tokens) for row in rows} == {f"t{n}": (500, sum(range(500))) for n in range(8)}


def test_prices_that_change_between_two_calls_take_effect_at_once(meter):
    def cost():
        return meter.track(provider="openai", model="gpt-4o", input_tokens=1_000_000).cost_usd

    (before,) = {cost() for _ in range(20)}
    meter._engine.configure(
        {"prices": {"rates": {"openai/gpt-4o": {"input_tokens": {"per_1m": "7"}, "output_tokens": {"per_1m": "1"}}}}}
    )
    assert (before, cost()) == (taximeter.price("gpt-4o", {"input_tokens": 1_000_000}).usd, 7)
    meter._engine.configure({"enabled": False})
    assert meter.track(**CALL).refused == "disabled"
    meter._engine.configure({"enabled": True, "prices": {"rates": {}}, "team": "default"})
    assert cost() == before
    assert events_of(meter)[-1]["team"] == "default"


def test_invalid_calls_raise_the_errors_of_the_method(meter):
    for arguments, keywords in [((), {"modell": "x"}), (("openai",), {}), (("openai",), {"model": "x"}), ((), {Name("modell"): "x"})]:
        with pytest.raises(TypeError) as fast:
            meter.track(*arguments, **keywords)
        with pytest.raises(TypeError) as general:
            meter._engine.core.track(*arguments, **keywords)
        assert str(fast.value) == str(general.value)
    for _ in range(3):
        with pytest.raises(TypeError, match=r"^track\(\): there is no 'custmer'; did you mean 'customer'\?$"):
            meter.track(provider="openai", model="gpt-4o", custmer="acme")
    with pytest.raises(TypeError, match=r"^track\(\): there is no 'zzzz'; there are agent, batch, "):
        taximeter.track(provider="openai", model="gpt-4o", zzzz=1)
    assert meter.stats()["tracked"] == 0
    assert meter.track().refused == "missing_provider"


def test_the_function_has_the_signature_and_the_docstring_of_the_method(meter):
    method = meter._engine.core.track
    assert inspect.signature(meter.track) == inspect.signature(method)
    assert (meter.track.__doc__, meter.track.__name__) == (method.__doc__, "track")
    assert meter.track.__self__ is meter._engine.core
