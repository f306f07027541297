"""Responses that are fetched after the request: background responses and batches.

Each is one event, however often it is fetched, by all processes of a state directory together.

An event has the attribution of the call that made the request, if a process with the same state directory made it. Otherwise it has
that of the fetching call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .. import _core, attribution
from ..locks import ForkSafeLock
from . import http
from .asked import asked_by, mark_counted, remember, was_counted
from .call import current_call
from .recorder import Recorder, scanner_for

if TYPE_CHECKING:
    from ..meter import Engine

__all__ = ["Seen", "billed", "follow_batch", "follow_fetched"]

_REMEMBERED: Final = 10_000
"""The most ids that are kept, about 1 MB. A response that is fetched again after this many others is counted again."""
_BEGUN: Final = frozenset({"queued", "in_progress", "requires_action"})
"""The states of a response, an interaction or an assistant's run that has not ended."""
_BATCH_ENDS: Final = frozenset({"completed", "failed", "expired", "cancelled"})
_CUSTOM_ID: Final = re.compile(rb'\s*\{\s*"custom_id"\s*:\s*("(?:[^"\\]|\\.)*")')
_FETCHED: Final = re.compile(r"/(responses|interactions|batches|runs)/([^/]+)(/results)?$")


class Seen:
    """The most recent ids."""

    def __init__(self) -> None:
        # The garbage collector can end a response, which adds its id, while this thread holds the lock.
        self._lock = ForkSafeLock()
        self._ids: dict[str, None] = {}

    def add(self, name: str) -> bool:
        """Add an id. Return whether it is new."""
        with self._lock:
            is_new = self._ids.pop(name, self) is self
            self._ids[name] = None
            if len(self._ids) > _REMEMBERED:
                self._ids.pop(next(iter(self._ids)), None)
            return is_new

    def __contains__(self, name: str) -> bool:
        return name in self._ids


_counted = Seen()
_rows = Seen()
"""Rows of partly read batches. Completely read batches are in `_counted`."""
_awaited = Seen()
"""Interactions that have not ended. Their responses do not say that they run in the background."""


def follow_batch(meter: Engine, wire: str, answered: Mapping[str, str], response: Any) -> None:
    """Follow the response to the request that creates a batch, and keep the request's attribution for the batch's results."""
    call = current_call()
    scope = attribution.current() if call is None else call.scope

    def keep(found: Mapping[str, Any]) -> bool:
        if found.get("id"):
            remember(meter, found["id"], scope)
        return False

    http.follow(meter, wire, answered, response, admit=keep)


def billed(meter: Engine, found: Mapping[str, Any]) -> bool:
    """Return whether a response is an event. A response that only says that the work has begun is not."""
    name = found.get("id")
    if name is None or not (found.get("is_background") or found.get("finish_reason") in _BEGUN):
        return True
    if found["usage_status"] == "missing":
        _awaited.add(name)
        # The recorder has activated the attribution of the request.
        remember(meter, name, attribution.current())
        return False
    if not _counts(meter, name):
        return False
    mark_counted(meter, name)
    return True


def _counts(meter: Engine, name: str) -> bool:
    """Return whether a response that was fetched is to be counted: no process of this state directory has done so."""
    return _counted.add(name) and not was_counted(meter, name)


def follow_fetched(meter: Engine, wire: str, answered: Mapping[str, str], response: Any) -> None:
    """Follow the response to a GET request if it may be a deferred response; see `http.follow`."""
    found = _FETCHED.search(response.request.url.path)
    if found is None:
        return
    kind, name, results = found.groups()
    if name in _counted:
        return
    fields: dict[str, Any] = {**answered, "model": None, "operation": "chat"}
    scope = asked_by(meter, name)
    if results:
        if wire == "anthropic" and not was_counted(meter, name):
            fields["batch"] = True
            http.follow(meter, wire, fields, response, reader=partial(_Rows, meter, fields, name, scope))
        return

    counted = False

    def is_final(answer: Mapping[str, Any]) -> bool:
        nonlocal counted
        if answer["usage_status"] != "complete" or not any(answer["usage"].values()):
            return False
        is_batch = kind == "batches"
        has_ended = answer.get("finish_reason") in _BATCH_ENDS if is_batch else answer.get("is_background") or name in _awaited
        counted = bool(has_ended) and _counts(meter, name)
        return counted

    if kind == "batches":
        fields["batch"] = True
    http.follow(meter, wire, fields, response, admit=is_final, scope=scope)
    # Noted after the event, which a process that is killed in between must not lose. A stream is noted by no one else.
    if counted:
        mark_counted(meter, name)


class _Rows:
    """Reads the results of a batch, one per line, and records each while it passes, because there may be 100,000."""

    def __init__(self, meter: Engine, fields: Mapping[str, Any], batch: str, scope: _core.Scope | None) -> None:
        self._meter = meter
        self._fields = fields
        self._batch = batch
        call = current_call()
        self._scope = attribution.current() if call is None else call.scope
        self._asked = scope
        self._line = b""

    def feed(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._record(line)

    def rest(self) -> None:
        """Mark the batch as completely read, which needs no memory for its rows."""
        self._record(self._line)
        self._line = b""
        if _counted.add(self._batch):
            mark_counted(self._meter, self._batch)

    def finish(self) -> None:
        """Do nothing: the rest of a line is not a row."""

    def _record(self, line: bytes) -> None:
        if not line.strip():
            return
        scanner = scanner_for(self._meter, "anthropic", "anthropic", "application/json")

        def is_new(answer: Mapping[str, Any]) -> bool:
            name = answer.get("id")
            return answer["usage_status"] == "complete" and name is not None and _rows.add(f"{self._batch}/{name}")

        # The rows may be read in another context than the request.
        attribution.enter(self, self._scope)
        try:
            fields = {**self._fields, "tags": {"custom_id": name}} if (name := _custom_id(line)) else dict(self._fields)
            recorder = Recorder(self._meter, scanner, fields, None, admit=is_new, scope=self._asked)
            recorder.feed(line)
            recorder.finish()
        finally:
            attribution.leave(self)


def _custom_id(line: bytes) -> str | None:
    """Return the `custom_id` of a row, which is its first field; `None` if it has none."""
    found = _CUSTOM_ID.match(line)
    name = None if found is None else json.loads(found[1])
    return name if isinstance(name, str) and name else None
