"""The estimate of a call's input: the walk over the request that a client was given. Nothing of the request may break it."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest

import taximeter
from taximeter import _core

TEXT = "The quick brown fox jumps over the lazy dog. " * 20
USER = {"role": "user", "content": TEXT}


class Message(pydantic.BaseModel):
    role: str = "user"
    content: str = TEXT


@dataclasses.dataclass
class Plain:
    role: str = "user"
    content: str = TEXT


class Raising:
    """An object whose attributes raise."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class Listed(list):
    """A list that raises when it is read."""

    def __iter__(self):
        yield USER
        raise RuntimeError("no more")


@pytest.fixture
def estimate(meter: taximeter.Meter):
    """Return a function that returns the estimated tokens of a request, and whether a part of it could not be counted."""
    budgets = _core.Budgets(meter._engine.core)
    budgets.set(json.dumps([{"name": "all", "unit": "tokens", "amount": str(10**15), "period": {"kind": "total"}}]))

    def ask(request: Any, model: str = "gpt-4o") -> tuple[int, bool]:
        before = budgets.stats()["unestimated"]
        ticket = budgets.admit(None, "openai", model, request, max_output=0)
        assert isinstance(ticket, _core.Ticket)
        ticket.end("failed")
        return ticket.input_tokens, budgets.stats()["unestimated"] > before

    return ask


def near(tokens: int) -> Any:
    """Return what compares equal to counts that differ by the names and kinds of parts of a message."""
    return pytest.approx(tokens, abs=6)


def test_the_texts_of_a_request_are_counted_as_the_tokenizer_does(estimate):
    tokens = taximeter.count_tokens(TEXT, model="gpt-4o")[0]
    # A message takes four tokens more, and its role one.
    assert estimate({"messages": [USER]}) == (tokens + 5, False)
    assert estimate([USER, USER]) == (2 * (tokens + 5), False)
    assert estimate(TEXT) == (tokens, False)
    assert estimate({}) == (0, False)


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": (USER,)},
        {"messages": [Message()]},
        {"messages": [Plain()]},
        {"messages": [SimpleNamespace(**USER)]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": TEXT}]}]},
        {"system": None, "contents": [{"role": "user", "parts": [{"text": TEXT}]}]},
        {"model": "gpt-4o", "temperature": 0.5, "stream": True, "metadata": {"note": TEXT}, "user": TEXT, "messages": [USER]},
    ],
)
def test_a_prompt_counts_the_same_in_every_form(estimate, request_):
    found, is_incomplete = estimate(request_)
    assert (found, is_incomplete) == (near(estimate({"messages": [USER]})[0]), False)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}},
        {"type": "image", "source": {"type": "base64", "data": "A" * 100_000}},
        {"type": "input_image", "image_url": "https://example.com/a.png"},
        {"inlineData": {"mimeType": "image/png", "data": "A" * 100_000}},
        {"image": {"format": "png", "source": {"bytes": b"\x00" * 1000}}},
    ],
)
def test_an_image_counts_2000_tokens(estimate, part):
    assert estimate({"messages": [{"role": "user", "content": [part]}]}) == (2_005, False)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "A" * 100_000, "format": "wav"}},
        {"type": "file", "file": {"file_id": "f"}},
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
        {"fileData": {"fileUri": "gs://a"}},
        b"bytes",
    ],
)
def test_what_cannot_be_counted_is_said(estimate, part):
    found, is_incomplete = estimate({"messages": [{"role": "user", "content": [part, {"type": "text", "text": TEXT}]}]})
    assert is_incomplete
    assert found == near(estimate({"messages": [USER]})[0])


def test_tools_are_a_part_of_the_prompt(estimate):
    tool = {"type": "function", "function": {"name": "weather", "description": TEXT, "parameters": {
        "type": "object", "properties": {"a_long_name_of_a_city": {"type": "string"}}}}}  # fmt: skip
    assert estimate({"messages": [USER], "tools": [tool]})[0] > 2 * taximeter.count_tokens(TEXT, model="gpt-4o")[0]


def test_long_texts_are_counted_by_their_bytes(estimate):
    found, is_incomplete = estimate("x " * (1 << 20))
    assert not is_incomplete
    assert (2 << 20) / 3 * 0.95 < found < (2 << 20) / 3 * 1.1
    found, is_incomplete = estimate(["x " * (1 << 21), "x " * (1 << 21)])
    assert is_incomplete, "at most 4 MB are looked at"
    assert found < (4 << 20) / 3 * 1.1


def test_odd_objects_break_nothing(estimate):
    cycle: list[Any] = [USER]
    cycle.append(cycle)
    deep: Any = USER
    for _ in range(100):
        deep = [deep]
    assert estimate(cycle)[1]
    assert estimate(deep) == (0, True)
    whole = estimate([USER])[0]
    for odd in (Raising(), 5, 1.5, None, object(), {5: TEXT}, {"_hidden": TEXT}, (text for text in [TEXT]), float("nan")):
        assert estimate([USER, odd])[0] == whole
    assert estimate(Listed())[0] == whole
    assert estimate([USER, Message])[0] >= whole, "a class stands for its schema"
    assert estimate("\ud800" + TEXT)[0] > 0, "a lone surrogate"
    assert estimate({"messages": [USER]}, model="no-such-model")[0] > 0
