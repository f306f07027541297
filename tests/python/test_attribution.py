from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import taximeter
from conftest import events_of


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


def test_a_value_of_the_wrong_type_raises_a_type_error_immediately():
    with pytest.raises(TypeError, match="team"):
        taximeter.attribute(team=object())
    with pytest.raises(TypeError, match="tag"):
        taximeter.attribute(tags={"a": []})


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
