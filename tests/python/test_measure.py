"""A measured call is always recorded, whatever its usage object or fields do. What is invalid is counted and logged."""

from __future__ import annotations

import ast
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

import taximeter
from conftest import events_of
from taximeter.fields import FIELDS, TRACK, Field


def kind_of(field: Field) -> str:
    """Return the type of a field as the extension's stub has it."""
    kind = field.kind.__name__ if isinstance(field.kind, type) else getattr(field.kind, "__forward_arg__", None) or str(field.kind)
    return kind.removeprefix("typing.").removesuffix(" | None")


class Trap(RuntimeError):
    pass


class DumpRaises:
    def model_dump(self):
        raise Trap("the secret prompt")


class AttributeRaises:
    def __getattr__(self, name):
        raise Trap(name)


class PropertyRaises:
    @property
    def model_dump(self):
        raise Trap


class DumpIsNoMapping:
    def model_dump(self):
        return 7


class ComparisonRaises(int):
    def __ge__(self, other):
        raise Trap

    __le__ = __lt__ = __gt__ = __eq__ = __ge__
    __hash__ = int.__hash__


class MappingRaises(dict):
    def keys(self):
        raise Trap

    def __iter__(self):
        raise Trap

    def items(self):
        raise Trap


class ReprRaises:
    def __repr__(self):
        raise Trap


class IndexRaises:
    def __index__(self):
        raise Trap


class TruthRaises:
    def __bool__(self):
        raise Trap


def endless():
    usage: dict = {"prompt_tokens": 1}
    usage["details"] = usage
    return usage


def deep():
    usage: dict = {}
    for _ in range(100_000):
        usage = {"details": usage}
    return usage


FAULTS = {
    "model_dump raises": lambda call: call.set_usage(DumpRaises()),
    "model_dump returns no mapping": lambda call: call.set_usage(DumpIsNoMapping()),
    "an attribute raises": lambda call: call.set_usage(AttributeRaises()),
    "a property raises": lambda call: call.set_usage(PropertyRaises()),
    "a comparison raises": lambda call: call.set_usage({"prompt_tokens": ComparisonRaises(3)}),
    "iteration raises": lambda call: call.set_usage(MappingRaises(prompt_tokens=3)),
    "a count's repr raises": lambda call: call.set_usage({"prompt_tokens": [ReprRaises()], "bananas": ReprRaises()}),
    "a count's index raises": lambda call: call.set_usage(input_tokens=IndexRaises()),
    "a count is negative": lambda call: call.set_usage(input_tokens=-1),
    "a count is not a number": lambda call: call.set_usage(input_tokens="many"),
    "a count is not whole": lambda call: call.set_usage(input_tokens=1.5, output_tokens=1),
    "a count is too large": lambda call: call.set_usage(output_tokens=10**13),
    "seconds are not a number": lambda call: call.set_usage(input_audio_seconds=float("nan")),
    "usage is not a mapping": lambda call: call.set(usage=7),
    "usage contains itself": lambda call: call.set_usage(endless()),
    "usage is very deep": lambda call: call.set_usage(deep()),
    "inclusive raises as a bool": lambda call: call.set_usage({"input_tokens": 1, "total_tokens": 1}, inclusive=TruthRaises()),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_call_with_unreadable_usage_is_recorded_without_it(meter, caplog, name):
    with meter.measure(provider="openai", model="gpt-4o", feature="kept") as call:
        FAULTS[name](call)
    assert call.receipt, name
    (event,) = events_of(meter)
    assert (event["usage"], event["usage_status"], event["cost_usd"], event["feature"]) == ({}, "missing", None, "kept")
    stats = meter.stats()
    assert stats["remarks"]["unreadable_usage"] == 1
    assert sum(stats["refused"].values()) == 0
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "unreadable_usage" in said
    assert "secret" not in said


def test_an_unknown_field_is_rejected_immediately(meter):
    with pytest.raises(TypeError, match=r"measure\(\): there is no 'featrue'; did you mean 'feature'\?"):
        meter.measure(provider="openai", model="gpt-4o", featrue="x")
    assert meter.stats()["tracked"] == 0
    with meter.measure(provider="openai", model="gpt-4o") as call:
        with pytest.raises(TypeError, match=r"set\(\): there is no 'finish_reson'; did you mean 'finish_reason'\?"):
            call.set(finish_reson="stop")
        with pytest.raises(TypeError, match=r"set_usage\(\): there is no 'input_tokns'; did you mean 'input_tokens'\?"):
            call.set_usage(input_tokns=2)
        call.set_usage(input_tokens=2, output_tokens=1)
        call.set(finish_reason="stop")
    (event,) = events_of(meter)
    assert (event["usage"], event["finish_reason"]) == ({"input_tokens": 2, "output_tokens": 1}, "stop")


def test_the_receipt_is_false_until_the_block_ends(meter):
    with meter.measure(provider="openai", model="gpt-4o") as call:
        assert not call.receipt
        assert (call.receipt.refused, call.receipt.cost_usd) == ("unfinished", None)
        assert repr(call) == "Measurement(provider='openai', model='gpt-4o', receipt=Receipt(refused='unfinished'))"
    assert call.receipt
    assert call.receipt.id in repr(call)
    with pytest.raises(ValueError, match="not a reason"):
        taximeter.Receipt.refusal("bananas")


def test_an_error_in_building_the_event_loses_no_call(meter, monkeypatch):
    monkeypatch.setattr(taximeter.Measurement, "_counts", lambda self, provider: 1 / 0)
    with pytest.raises(Trap), meter.measure(provider="openai", model="gpt-4o", team="kept") as call:
        call.set_usage(input_tokens=1)
        raise Trap
    (event,) = events_of(meter)
    assert (event["team"], event["usage_status"], event["status"], event["error"]) == ("kept", "missing", "error", "Trap")
    assert meter.stats()["remarks"]["unreadable_usage"] == 1
    assert call.receipt.id == event["id"]


def test_the_blocks_exception_is_raised_even_if_its_usage_cannot_be_read(meter):
    with pytest.raises(Trap, match="the block's"), meter.measure(provider="openai", model="gpt-4o") as call:
        call.set_usage(DumpRaises())
        raise Trap("the block's")
    (event,) = events_of(meter)
    assert (event["status"], event["error"], event["usage_status"]) == ("error", "Trap", "missing")


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({"input_tokens": 3.0, "output_tokens": None}, {"input_tokens": 3}),
        ({"input_audio_seconds": 1.25}, {"input_audio_seconds": 1.25}),
        ({"input_tokens": 0}, {"input_tokens": 0}),
        ({"output_tokens": 10**12}, {"output_tokens": 10**12}),
    ],
)
def test_counts_that_track_accepts_are_kept(meter, counts, usage):
    with meter.measure(provider="openai", model="gpt-4o") as call:
        call.set_usage(SimpleNamespace(), **counts)
    (event,) = events_of(meter)
    assert (event["usage"], event["usage_status"]) == (usage, "complete")
    assert sum(meter.stats()["remarks"].values()) == 0


def test_the_table_of_fields_matches_track(meter):
    stub = ast.parse((Path(taximeter.__file__).parent / "_core.pyi").read_text("utf-8"))
    (meter_class,) = [node for node in stub.body if isinstance(node, ast.ClassDef) and node.name == "Meter"]
    (track,) = [node for node in meter_class.body if isinstance(node, ast.FunctionDef) and node.name == "track"]
    typed = {argument.arg: ast.unparse(argument.annotation).removesuffix(" | None") for argument in track.args.kwonlyargs}
    assert typed == {name: kind_of(field) for name, field in FIELDS.items()}
    with pytest.raises(TypeError):
        meter.track(provider="openai", model="gpt-4o", colour="red")
    assert meter.track(**dict.fromkeys(TRACK)) is not None
    assert meter.track(**{**dict.fromkeys(TRACK), "provider": "openai", "model": "gpt-4o", "cost_usd": Decimal(1)})
