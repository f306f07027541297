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


def test_functions_of_every_kind_are_decorated(meter):
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


def test_a_decorated_function_may_call_itself(meter):
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


def test_a_value_of_the_wrong_type_is_a_type_error_where_it_is_written():
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


def test_measure_lets_the_users_exception_through_and_keeps_its_class_only(meter):
    error = KeyError("the secret prompt")
    with pytest.raises(KeyError) as caught, meter.measure(provider="openai", model="gpt-4o"):
        raise error
    assert caught.value is error
    (event,) = events_of(meter)
    assert (event["status"], event["error"], event["usage_status"]) == ("error", "KeyError", "missing")
    assert "secret" not in str(event)


def test_measure_takes_usage_that_is_none_without_raising(meter):
    with meter.measure(provider="openai", model="gpt-4o") as call:
        call.set_usage(7)
    with meter.measure(provider="openai", model="gpt-4o") as call:
        call.set_usage(input_tokens=3)
    assert [event["usage"] for event in events_of(meter)][-1] == {"input_tokens": 3}
