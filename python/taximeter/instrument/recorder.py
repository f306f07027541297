"""Records one event for each response, whichever way the response ends."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol

from .. import _core, attribution
from ..budgets.refusal import raise_for
from ..errors import BudgetExceeded

# Loaded now, because the garbage collector can end a response, with a warning, while the program imports a module. If that
# imports a module for the first time, the program's import raises `KeyError` before Python 3.12 (CPython's gh-91351).
from ..meter import warnings as _warnings  # noqa: F401
from . import layers
from .call import Call
from .forks import generation
from .gates import Find, admitted, settle
from .guard import report, run_guarded
from .shims import Forwarding

if TYPE_CHECKING:
    from ..meter import Engine

__all__ = ["Admit", "Recorder", "Scanner", "Watched", "recorded", "recorded_async", "scanner_for"]


_SHARED: Final = ("provider", "operation", "call_id", "trace_id", "span_id", "started_at", "service_tier", "region")
"""The fields that events of other models in a response share with the response's own event."""


class Scanner(Protocol):
    """Reads a response: `_core.Scanner`, or an object that already knows the usage."""

    def feed(self, data: bytes) -> bytes | None:
        """Read passing data. Return what to pass on instead, or `None` for the same data."""

    def rest(self) -> bytes | None:
        """Return data that was held back and must still be passed on after the end."""

    def finish(self) -> Mapping[str, Any] | None:
        """Return what was found; `None` if there is nothing more to record."""


Admit = Callable[[Mapping[str, Any]], bool]
"""Decides from what was found in a response whether it is an event."""


def scanner_for(
    meter: Engine, wire: str, provider: str, content_type: str, *, gzip: bool = False, strip: bool = False, data: bytes | None = None
) -> _core.Scanner:
    """Return the extension's scanner of one response, with the meter's setting for usage reports; see `_core.Scanner`."""
    keeps = meter.keeps_provider_usage
    return _core.Scanner(wire, provider=provider, content_type=content_type, gzip=gzip, strip=strip, keep=keeps, data=data)


class Recorder:
    """Follows one response to its end, whichever way it ends, and records one event."""

    __slots__ = (
        "_admit", "_call", "_cutting", "_fields", "_generation", "_ids", "_made", "_meter", "_scanner", "_scope", "_settles",
        "_ticket", "_was_cut",
    )  # fmt: skip

    def __init__(
        self,
        meter: Engine,
        scanner: Scanner | None,
        fields: dict[str, Any],
        call: Call | None,
        *,
        admit: Admit | None = None,
        settles: bool = False,
        scope: _core.Scope | None = None,
        ticket: _core.Ticket | None = None,
        is_over: bool = False,
    ) -> None:
        """Begin to follow a response.

        Args:
            meter: The meter that records the event.
            scanner: Reads the response.
            fields: The known fields of the event. What the response says overrides them.
            call: The call that made the request.
            admit: Decides from what was found whether the response is an event.
            settles: Whether `admit` accepts every response whose work has ended.
            scope: Attribution that comes before that of the call.
            ticket: What the request holds in budgets.
            is_over: Whether the response has ended, so that no budget can close it.
        """
        self._meter = meter
        self._admit = admit
        self._settles = settles or admit is None
        self._scanner = scanner
        self._fields: dict[str, Any] | None = fields
        self._call = call
        # Of the span in which the call was made, which has ended when a stream does.
        self._ids = attribution.active_span() if call is None else call.ids
        layers.take()
        self._ticket = ticket
        self._was_cut = False
        self._cutting = None if ticket is None or is_over or not ticket.is_cutting else _counting(scanner)
        """What counts the output of a stream that a budget may close."""
        # A stream may end in another context than it began in, so the attribution is stored now.
        current = attribution.current() if call is None else call.scope
        self._scope = scope.over(current) if scope is not None and current is not None else scope or current
        self._made = time.perf_counter()
        self._generation = generation()

    def feed(self, data: bytes) -> bytes:
        """Show passing data to the scanner. Return what to pass on.

        Raises:
            BudgetExceeded: A budget with `cut=True` closes the stream, because it has used too much.
        """
        try:
            replaced = self._scanner.feed(data) if self._scanner is not None else None
        except Exception as error:
            self._report("reading a response", error)
            return data
        if self._cutting is not None and self._ticket is not None and (refusal := self._cutting.over(self._ticket)) is not None:
            self._cutting, self._was_cut = None, True
            raise_for(refusal)
        return data if replaced is None else replaced

    def feed_guarded(self, show: Callable[[Any], bytes], item: Any) -> None:
        """Show the scanner the result of `show` for an item."""
        try:
            data = show(item)
        except Exception as error:
            self._report("reading a part of a stream", error)
        else:
            self.feed(data)

    def rest(self) -> bytes:
        """Return data that was held back and must be passed on after the end."""
        try:
            return (self._scanner.rest() if self._scanner is not None else None) or b""
        except Exception as error:
            self._report("reading the end of a response", error)
            return b""

    def _report(self, what: str, error: Exception) -> None:
        fields = self._fields or {}
        report(f"{what} of {fields.get('provider')}/{fields.get('model')}", error, meter=self._meter)

    def finish(self, error: type[BaseException] | None = None, *, is_cut: bool = False) -> None:
        """Record the event. Only the first call has an effect.

        Args:
            error: The class of the exception that ended the response.
            is_cut: Whether the reader stopped before the end, or possibly so.
        """
        fields, self._fields = self._fields, None
        # A forked child has a copy. The process that made the call records it.
        if fields is None or self._generation != generation():
            return
        try:
            found = self._finish_scan(error, fields, is_cut=is_cut)
            if found is None:
                return
            attribution.enter(self, self._scope)
            try:
                events = self._outcomes(error, fields, found)
                ticket = self._settled(events, is_cut=is_cut)
                for event in events:
                    settle(self._meter, ticket, event)
                    ticket = None
            finally:
                attribution.leave(self)
        except Exception as failure:
            report(f"recording a call of {fields.get('provider')}/{fields.get('model')}", failure, meter=self._meter)

    def __enter__(self) -> None:
        """Record the event when the block ends, with its error. Closing a generator does not count as an error."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.finish(None if kind is GeneratorExit else kind, is_cut=kind is not None)

    def __del__(self) -> None:
        # The reader of the response has dropped it. Attributes may be missing if `__init__` failed.
        if getattr(self, "_fields", None) is not None:
            self.finish(is_cut=True)

    def _settled(self, events: Sequence[Mapping[str, Any]], *, is_cut: bool) -> _core.Ticket | None:
        """Settle the ticket if no event can, and return it. An event does not charge a settled ticket again."""
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            return None
        if not events:
            # The work has only begun. Its event comes when the response is fetched, and is charged then.
            ticket.end("failed")
        elif self._was_cut:
            pass  # what was generated is charged with the event
        elif events[0]["usage_status"] == "missing" and (events[0].get("error") or (is_cut and not events[0]["finish_reason"])):
            ticket.end("cancelled")
        return ticket

    def _finish_scan(self, error: type[BaseException] | None, fields: dict[str, Any], *, is_cut: bool) -> Mapping[str, Any] | None:
        """Return what was found in the response; `None` if its event is recorded already."""
        scanner = self._scanner
        if scanner is None:
            return {"usage_status": "missing", "gap": "usage_not_json"}
        core = self._meter.core
        ticket = self._ticket
        is_open = is_cut and ticket is not None
        if error is not None or core is None or not self._settles or is_open or type(scanner) is not _core.Scanner:
            return scanner.finish()
        # The extension records the usual event itself: as many Python lines as here would take longer than the call's other work.
        call = self._call
        if call is None or not call.started:
            return scanner.record(core, fields, self._ids, self._scope, None, None, None, ticket)
        latency, made = (time.perf_counter() - call.started) * 1000, (self._made - call.started) * 1000
        return scanner.record(core, fields, self._ids, self._scope, call.started_at, latency, made, ticket)

    def _outcomes(self, error: type[BaseException] | None, fields: dict[str, Any], found: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the event of the response, and further events for other models that took part in it."""
        if self._admit is not None and not self._admit(found):
            return []
        if (gap := found.get("gap")) and not fields.get("usage") and not self._was_cut:
            self._meter.count_remark(gap, f"{fields['provider']}/{found.get('model') or fields.get('model')}")
        event = fields | self._outcome(error, fields, found)
        shared = {name: event.get(name) for name in _SHARED}
        return [event, *({**shared, "model": model, "usage": usage} for model, usage in found.get("parts", ()))]

    def _outcome(self, error: type[BaseException] | None, fields: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        asked = fields.get("model")
        outcome: dict[str, Any] = {
            "model": found.get("model") or (asked if isinstance(asked, str) else None) or "unknown",
            "usage": found.get("usage"),
            "usage_status": found["usage_status"],
            "finish_reason": found.get("finish_reason"),
            "service_tier": found.get("service_tier") or fields.get("service_tier"),
            "region": found.get("region") or fields.get("region"),
            "cost_usd": found.get("cost_usd"),
        }
        # If the response reports no usage, that of the request is billed: the characters of a text for speech.
        if fields.get("usage") and found["usage_status"] == "missing" and error is None:
            outcome |= {"usage": fields["usage"], "usage_status": "complete"}
        if notes := {*_notes(fields), *_notes(found)}:
            outcome["cost_notes"] = ",".join(sorted(notes))
        if field := found.get("unreadable"):
            self._meter.count_remark("unreadable_usage", field)
        if report := found.get("provider_usage"):
            outcome["provider_usage"] = report
        call, first = self._call, found.get("first_token_ms")
        outcome |= self._ids
        if call is not None and call.started:
            outcome["started_at"] = call.started_at
            outcome["latency_ms"] = (time.perf_counter() - call.started) * 1000
            if first is not None:
                outcome["ttft_ms"] = (self._made - call.started) * 1000 + first
        if error is not None or found.get("is_error"):
            outcome["status"] = "error"
            outcome["error"] = error or found.get("error")
        return outcome


def _notes(fields: Mapping[str, Any]) -> list[str]:
    """Return the cost notes of a mapping, which has them as one text."""
    return [note for note in (fields.get("cost_notes") or "").split(",") if note]


def _counting(scanner: Any) -> _core.Scanner | None:
    """Return the extension's scanner behind another one, after it was set to count the output of a stream."""
    inner = getattr(scanner, "_inner", scanner)
    if not isinstance(inner, _core.Scanner):
        return None
    inner.count_output()
    return inner


class Watched(Forwarding):
    """A stream that a recorder follows."""

    def __init__(self, inner: Any, recorder: Recorder) -> None:
        super().__init__(inner)
        self._recorder = recorder


_END: Final = object()


def _nothing() -> None:
    """Do nothing. Stands in for the missing `close` of an iterator."""


def _unseen(_error: BaseException) -> None:
    """Ignore the failure, because the request was made before the generator."""


def _asks_nothing(_object: Any, _args: tuple[Any, ...], _kwargs: Mapping[str, Any]) -> None:
    """Ask no budget, because the request was made before the generator."""


def recorded(
    generator: Any,
    begin: Callable[[], Recorder | None],
    show: Callable[[Any], bytes],
    fail: Callable[[BaseException], None] = _unseen,
    ask: Find = _asks_nothing,
    *,
    family: str,
    part: Any = None,
) -> Generator[Any, None, None]:
    """Yield the items of a generator. Shows a recorder the result of `show` for each item, and the end.

    Args:
        generator: The generator. Some make their request when the first item is read.
        begin: Makes the recorder, or returns the one made with the request; `None` if there is nothing to record.
        show: Returns the part of an item that the scanner needs.
        fail: Called with the exception that such a generator raises instead of its first item.
        ask: Says what the request of such a generator asks for: budgets may refuse it.
        family: The client's family.
        part: The client, or a part of it.
    """
    held = admitted(ask, part, (), {}, family=family)
    try:
        item = next(generator, _END)
    except BaseException as error:
        if held is not None:
            held.failed(error)
        run_guarded(fail, error, family=family, part=part)
        raise
    recorder = run_guarded(begin, family=family, part=part)
    if held is not None:
        held.answered()
    with recorder or nullcontext():
        try:
            while item is not _END:
                if recorder is not None:
                    recorder.feed_guarded(show, item)
                yield item
                item = next(generator, _END)
        except (GeneratorExit, BudgetExceeded):
            getattr(generator, "close", _nothing)()
            raise


async def recorded_async(
    generator: Any,
    begin: Callable[[], Recorder | None],
    show: Callable[[Any], bytes],
    fail: Callable[[BaseException], None] = _unseen,
    ask: Find = _asks_nothing,
    *,
    family: str,
    part: Any = None,
) -> AsyncGenerator[Any, None]:
    """Do the same as `recorded` for an asynchronous generator."""
    held = admitted(ask, part, (), {}, family=family)
    try:
        item = await anext(generator, _END)
    except BaseException as error:
        if held is not None:
            held.failed(error)
        run_guarded(fail, error, family=family, part=part)
        raise
    recorder = run_guarded(begin, family=family, part=part)
    if held is not None:
        held.answered()
    with recorder or nullcontext():
        try:
            while item is not _END:
                if recorder is not None:
                    recorder.feed_guarded(show, item)
                yield item
                item = await anext(generator, _END)
        except (GeneratorExit, BudgetExceeded):
            await generator.aclose()
            raise
