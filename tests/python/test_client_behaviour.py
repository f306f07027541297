"""Metered clients behave like unmetered ones: responses, streams, signatures, imports and memory."""

from __future__ import annotations

import gc
import importlib
import inspect
import pickle
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal

import anthropic
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import events_of
from taximeter import _core, instrument
from taximeter.instrument import bindings, import_hook

QUESTION = [{"role": "user", "content": "a secret question"}]
COUNTS = st.integers(0, 10**9)


@pytest.fixture
def gpt(provider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="sk-secret", base_url=f"{provider.url}/v1") as client:
        yield client


@pytest.fixture
def claude(provider) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="sk-secret", base_url=provider.url) as client:
        yield client


def chat(client, **more):
    return client.chat.completions.create(model="gpt-4o", messages=QUESTION, **more)


def test_raw_responses_have_their_headers_and_can_be_parsed_twice(metered, gpt):
    raw = gpt.chat.completions.with_raw_response.create(model="gpt-4o", messages=QUESTION)
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse() is raw.parse()
    streamed = gpt.chat.completions.with_raw_response.create(model="gpt-4o", messages=QUESTION, stream=True)
    assert streamed.status_code == 200
    assert [chunk.choices[0].delta.content for chunk in streamed.parse()][:2] == ["The", " meter"]
    with gpt.chat.completions.with_streaming_response.create(model="gpt-4o", messages=QUESTION, stream=True) as response:
        lines = [line for line in response.iter_lines() if line]
        assert lines[-1] == "data: [DONE]"
        assert response.http_response.elapsed
    assert len(events_of(metered)) == 3


def test_streams_keep_their_type_context_manager_and_helpers(metered, gpt, claude):
    with chat(gpt, stream=True) as stream:
        assert type(stream) is openai.Stream
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert next(stream).choices
    asked = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": QUESTION}
    with claude.messages.stream(**asked) as helper:
        assert type(helper) is anthropic.MessageStream
        kinds = [event.type for event in helper]
        assert kinds[-1] == "message_stop"
        assert helper.get_final_message().usage.output_tokens == 53
    assert type(claude.messages.create(**asked, stream=True)) is anthropic.Stream
    gc.collect()
    assert len(events_of(metered)) == 3


def test_methods_keep_their_names_and_signatures(metered):
    create = openai.resources.chat.completions.Completions.create
    assert (create.__name__, create.__module__) == ("create", "openai.resources.chat.completions.completions")
    assert {"messages", "model", "stream_options"} <= inspect.signature(create).parameters.keys()
    assert pickle.loads(pickle.dumps(create)) is create


def test_abandoned_streams_leak_nothing(metered, gpt):
    def abandon(number):
        for _ in range(number):
            next(iter(chat(gpt, stream=True)))
        gc.collect()

    def ours():
        return sum(str(type(thing).__module__).startswith("taximeter.instrument.") for thing in gc.get_objects())

    abandon(3)
    before = ours()
    abandon(30)
    assert ours() == before
    assert len(events_of(metered)) == 33


@given(st.data())
def test_parts_never_exceed_their_total_and_add_up(data):
    uncached, read, written, output = (data.draw(COUNTS) for _ in range(4))
    thinking = data.draw(st.integers(0, output))
    price = _core.Meter(scope=lambda: None, warn=lambda *_: None, configure=lambda: None).price
    disjoint = {
        "input_tokens": uncached, "cache_read_input_tokens": read, "cache_creation_input_tokens": written, "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": thinking},
    }  # fmt: skip
    total = {
        "prompt_tokens": uncached + read + written, "completion_tokens": output,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": thinking},
    }  # fmt: skip
    found = [summary("anthropic", disjoint), summary("openai", total)]
    for usage in found:
        assert usage["input_tokens"] == uncached + read + written
        assert usage.get("cache_read_tokens", 0) + usage.get("cache_write_tokens", 0) + uncached == usage["input_tokens"]
        assert usage.get("output_reasoning_tokens", 0) <= usage["output_tokens"] == output
    costs = [price("claude-sonnet-4-5", usage, "anthropic", None, None, None, None, None, None).usd for usage in found]
    rates = {"input": Decimal(3), "read": Decimal("0.3"), "write": Decimal("3.75"), "output": Decimal(15)}
    if uncached + read + written <= 200_000:
        amounts = {"input": uncached, "read": read, "write": written, "output": output}
        assert costs == [sum(rates[part] * amount for part, amount in amounts.items()) / 10**6] * 2


def summary(family, usage):
    import json

    scanner = _core.Scanner(family, provider=family, content_type="application/json")
    scanner.feed(json.dumps({"usage": usage}).encode())
    return scanner.finish()["usage"]


def test_no_http_library_is_imported_without_a_client(run):
    run(
        """
        import sys, taximeter
        taximeter.init()
        taximeter.status()
        heavy = {"httpx", "httpx2", "openai", "anthropic", "botocore", "google", "langchain_core", "litellm", "requests", "asyncio"}
        assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
        """
    )


def test_a_reloaded_client_is_metered(run, provider):
    run(
        f"""
        import importlib, sys, taximeter
        taximeter.init()
        import openai
        importlib.reload(sys.modules["openai._base_client"])
        for name in [name for name in sys.modules if name.partition(".")[0] == "openai"]:
            del sys.modules[name]
        import openai
        openai.OpenAI(api_key="k", base_url="{provider.url}/v1").embeddings.create(model="text-embedding-3-small", input="x")
        taximeter.flush()
        assert taximeter.stats()["tracked"] == 1, taximeter.stats()
        """
    )


def test_a_client_that_another_thread_is_importing_is_metered(tmp_path, meter, monkeypatch):
    """`init()` is called while another thread runs a client's module, after the import hooks were asked for it."""
    (tmp_path / "cohere" / "core").mkdir(parents=True)
    (tmp_path / "cohere" / "__init__.py").write_text("")
    (tmp_path / "cohere" / "core" / "__init__.py").write_text("")
    (tmp_path / "cohere" / "core" / "http_client.py").write_text(
        "import time, builtins\nbuiltins.taximeter_test_started.set()\nbuiltins.taximeter_test_go.wait(120)\n"
        "class HttpClient:\n    def request(self, **options): pass\n    def stream(self, **options): pass\nclass AsyncHttpClient(HttpClient): pass\n"
    )
    import builtins

    for name in [name for name in sys.modules if name.partition(".")[0] == "cohere"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(bindings.hooked_modules, "cohere.core.http_client", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if not isinstance(finder, import_hook.Finder)])
    monkeypatch.setattr(builtins, "taximeter_test_started", threading.Event(), raising=False)
    monkeypatch.setattr(builtins, "taximeter_test_go", threading.Event(), raising=False)
    importer = threading.Thread(target=importlib.import_module, args=("cohere.core.http_client",))
    importer.start()
    try:
        assert builtins.taximeter_test_started.wait(120)
        meter.instrument()
        assert instrument.status()["cohere"].state == "absent"
        builtins.taximeter_test_go.set()
        importer.join()
        assert instrument.status()["cohere"].state == "bound"
    finally:
        builtins.taximeter_test_go.set()
        importer.join()
        instrument.deactivate()
        for name in [name for name in sys.modules if name.partition(".")[0] == "cohere"]:
            del sys.modules[name]
        bindings.hooked_modules.pop("cohere.core.http_client", None)
