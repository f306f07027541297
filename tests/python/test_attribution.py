from __future__ import annotations

import asyncio
import enum
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timezone
from decimal import Decimal
from uuid import UUID

import pytest

import taximeter
from conftest import events_of, without_address


def track(meter):
    return meter.track(provider="openai", model="gpt-4o", input_tokens=1)


def teams(meter):
    return [event.get("team") for event in events_of(meter)]


def test_inner_scopes_override_and_tags_merge(state):
    meter = taximeter.Meter(state_dir=state, team="default", agent="default", tags={"env": "prod"})
    with taximeter.attribute(team="outer", tags={"plan": "free", "a": 1}):
        with taximeter.attribute(team="inner", tags={"plan": "pro"}):
            meter.track(provider="openai", model="gpt-4o", input_tokens=1, tags={"a": 2})
        track(meter)
    track(meter)
    inner, outer, none = events_of(meter)
    assert (inner["team"], inner["agent"], inner["tags"]) == (
        "inner",
        "default",
        {"env": "prod", "plan": "pro", "a": "2"},
    )
    assert (outer["team"], outer["tags"]) == ("outer", {"env": "prod", "plan": "free", "a": "1"})
    assert (none["team"], none["tags"]) == ("default", {"env": "prod"})
    meter.close()


def test_every_kind_of_function_can_be_decorated(meter):
    @taximeter.attribute(team="plain")
    def plain():
        track(meter)

    @taximeter.attribute(team="generator")
    def generator():
        track(meter)
        yield 1
        track(meter)

    @taximeter.attribute(team="async")
    async def coroutine():
        await asyncio.sleep(0)
        track(meter)

    @taximeter.attribute(team="async generator")
    async def async_generator():
        yield track(meter)

    async def work():
        await asyncio.gather(coroutine(), coroutine())
        assert [item async for item in async_generator()]

    plain()
    assert list(generator()) == [1]
    asyncio.run(work())
    assert teams(meter) == ["plain", "generator", "generator", "async", "async", "async generator"]
    assert plain.__name__ == "plain"


def test_a_decorated_function_can_be_recursive(meter):
    @taximeter.attribute(team="deep")
    def down(n):
        track(meter)
        if n:
            down(n - 1)

    down(5)
    track(meter)
    assert teams(meter) == ["deep"] * 6 + [None]


def test_tasks_and_to_thread_inherit_and_executors_need_bind(meter):
    async def work():
        with taximeter.attribute(team="task"):
            task = asyncio.create_task(asyncio.to_thread(track, meter))
        await task

    asyncio.run(work())
    with ThreadPoolExecutor(1) as pool, taximeter.attribute(team="bound"):
        pool.submit(track, meter).result()
        pool.submit(taximeter.bind(track, meter)).result()
        thread = threading.Thread(target=taximeter.bind(track), args=(meter,))
        thread.start()
        thread.join()
    assert teams(meter) == ["task", None, "bound", "bound"]


class Plan(enum.Enum):
    PRO = "pro"
    ODD = object()


class Kind(enum.IntEnum):
    FIRST = 1


class ObjectId:
    def __str__(self):
        return "507f1f77bcf86cd799439011"


class Whole:
    """An integer of another library, such as numpy's."""

    def __index__(self):
        return 3

    def __str__(self):
        return "3"


class Loud:
    """An object whose text could contain secrets."""

    def __str__(self):
        raise AssertionError("asked for a text")

    __repr__ = __str__


VALUES = [
    ("text", "text"),
    (7, "7"),
    (True, "True"),
    (1.5, "1.5"),
    (Decimal("1.20"), "1.20"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (date(2026, 11, 29), "2026-11-29"),
    (datetime(2026, 11, 29, 1, 2, tzinfo=timezone.utc), "2026-11-29T01:02:00+00:00"),
    (Plan.PRO, "pro"),
    (Plan.ODD, "ODD"),
    (Kind.FIRST, "1"),
    (b"bytes", "bytes"),
    (b"\xff\x00", "ff00"),
    (ObjectId(), "507f1f77bcf86cd799439011"),
    (Whole(), "3"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), VALUES, ids=without_address)
def test_attribution_values_become_texts_everywhere(meter, value, text):
    with taximeter.attribute(customer=value, tags={"tag": value}):
        track(meter)
    assert meter.track(provider="openai", model="gpt-4o", customer=value, tags={"tag": value})
    for event in events_of(meter):
        assert (event["customer"], event["tags"]) == (text, {"tag": text})
    assert sum(meter.stats()["remarks"].values()) == 0


@pytest.mark.parametrize(
    "value", [object(), Loud(), [], {}, ObjectId, int, Exception("secret")], ids=lambda value: type(value).__name__
)
def test_a_value_that_cannot_be_recorded_is_left_out_and_counted(meter, caplog, value):
    def count() -> int:
        return taximeter.stats()["remarks"]["invalid_text"]

    before = count()
    taximeter.default_meter._engine.warnings._last.clear()
    with taximeter.attribute(customer=value, team="kept", tags={"odd": value, "even": 2, Loud: "x"}):
        track(meter)
    (event,) = events_of(meter)
    assert "customer" not in event
    assert (event["team"], event["tags"]) == ("kept", {"even": "2"})
    assert count() == before + 3
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said.startswith("taximeter: customer: not a text")
    assert "secret" not in said
    with taximeter.attribute(tags=value):
        track(meter)


def test_an_unknown_name_is_an_error_with_the_most_similar_name():
    with pytest.raises(TypeError, match=r"attribute\(\): there is no 'custmer'; did you mean 'customer'\?"):
        taximeter.attribute(custmer="acme")


def test_bound_functions_keep_their_kind_and_their_attribution(meter):
    async def coroutine(name, *, suffix=""):
        await asyncio.sleep(0)
        return track(meter)

    def generator():
        sent = yield track(meter)
        assert sent == "sent"
        yield track(meter)
        return "returned"

    async def asynchronous():
        sent = yield track(meter)
        assert sent == "sent"
        yield track(meter)

    with taximeter.attribute(team="bound"):
        later = [
            taximeter.bind(coroutine, "name", suffix="x"), taximeter.bind(lambda: coroutine("other")), taximeter.bind(generator),
            taximeter.bind(lambda: generator()), taximeter.bind(asynchronous), taximeter.bind(lambda: asynchronous()),
        ]  # fmt: skip
    assert inspect.iscoroutinefunction(later[0])
    assert inspect.isgeneratorfunction(later[2])
    assert inspect.isasyncgenfunction(later[4])

    async def run():
        await later[0]()
        await later[1]()
        for one in (later[2](), later[3]()):
            next(one)
            one.send("sent")
            with pytest.raises(StopIteration, match="returned"):
                next(one)
        for one in (later[4](), later[5]()):
            await anext(one)
            track(meter)  # the consumer's own call
            await one.asend("sent")
            await one.aclose()

    asyncio.run(run())
    assert teams(meter) == ["bound"] * 6 + ["bound", None, "bound"] * 2


def test_measure_times_the_block_and_records_the_usage(meter):
    with meter.measure(provider="anthropic", model="claude-sonnet-5", feature="summaries") as call:
        call.first_token()
        call.set(finish_reason="end_turn")
        call.set_usage({"input_tokens": 101, "output_tokens": 53, "cache_read_input_tokens": 709})
    (event,) = events_of(meter)
    assert call.receipt.id == event["id"]
    assert event["usage"] == {"input_tokens": 810, "output_tokens": 53, "cache_read_tokens": 709}
    assert event["latency_ms"] >= event["ttft_ms"] > 0
    assert (event["feature"], event["finish_reason"], event["status"]) == ("summaries", "end_turn", "success")


def test_measure_passes_exceptions_on_and_records_only_their_class(meter):
    error = KeyError("the secret prompt")
    with pytest.raises(KeyError) as caught, meter.measure(provider="openai", model="gpt-4o"):
        raise error
    assert caught.value is error
    (event,) = events_of(meter)
    assert (event["status"], event["error"], event["usage_status"]) == ("error", "KeyError", "missing")
    assert "secret" not in str(event)


@pytest.mark.parametrize("usage", [7, {"bananas": 1}, {"prompt_tokens": -5}, {"prompt_tokens": "7"}])
def test_a_call_with_invalid_usage_is_recorded_without_it_and_counted(meter, usage):
    with meter.measure(provider="openai", model="gpt-4o") as call:
        call.set_usage(usage)
    assert call.receipt
    assert call.receipt.cost_usd is None
    (event,) = events_of(meter)
    assert (event["usage"], event["usage_status"]) == ({}, "missing")
    assert meter.stats()["remarks"]["unreadable_usage"] == 1


def test_a_scope_is_active_in_a_generator_but_not_in_its_consumer(meter):
    @taximeter.attribute(team="generator")
    def generator():
        while True:
            track(meter)
            try:
                yield
            except KeyError:
                track(meter)

    first, second = generator(), generator()
    next(first)
    next(second)
    track(meter)
    first.throw(KeyError)
    first.close()
    track(meter)
    second.close()
    track(meter)
    assert teams(meter) == ["generator", "generator", None, "generator", "generator", None, None]


def test_one_scope_object_serves_overlapping_tasks(meter):
    scope = taximeter.attribute(team="acme")

    async def work(before, inside):
        await asyncio.sleep(before)
        with scope:
            await asyncio.sleep(inside)
            track(meter)
        track(meter)

    async def main():
        await asyncio.gather(work(0, 0.03), work(0.01, 0.001), work(0.02, 0.04))
        track(meter)

    asyncio.run(main())
    assert sorted(teams(meter), key=str) == [None] * 4 + ["acme"] * 3


def test_measure_takes_keywords_for_usage(meter):
    with meter.measure(provider="openai", model="gpt-4o") as call:
        call.set_usage(input_tokens=3)
    assert events_of(meter)[0]["usage"] == {"input_tokens": 3}
