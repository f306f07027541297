"""What the wrappers share: a call is observed, and recorded with its metadata when that is known."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from .... import _default, instrument
from ....instrument.guard import run_guarded
from ....instrument.shims import Forwarding
from ..._vendor.events import usage_of
from ..client import TokenTrackrClient

if TYPE_CHECKING:
    from ....meter import Meter

__all__ = ["Describe", "Observed", "Read", "Resource", "is_of", "stand_in", "watch"]

Describe = Callable[[Any], "Mapping[str, Any] | None"]
"""Makes an event's metadata from a call's return value."""
Read = Callable[[Any], "tuple[int, int] | None"]
"""Reads the tokens of a call off its return value: those of the prompt and of the answer; `None` if it does not report them."""


class Observed:
    """An observed call. It is sent when its metadata is known."""

    is_active = True

    def __init__(
        self,
        client: TokenTrackrClient,
        provider: str,
        model: Any,
        *,
        reports_cached: bool,
        stand_in_for: str = "",
        read: Read | None = None,
    ) -> None:
        self._client = client
        self._provider = provider
        self._model = model
        # Whether the provider's count of input tokens includes those that it reports as cached.
        self._reports_cached = reports_cached
        self._events: list[Mapping[str, Any]] = []
        self._metadata: Mapping[str, Any] | None = None
        self._has_returned = False
        # The package that the wrapped client stands in for, as in tests and proxies. Such a client may not be metered.
        self._stand_in_for = stand_in_for
        self._read = read
        self._started = time.monotonic()

    def ledger_meter(self, own: Mapping[str, Any]) -> Meter | None:  # noqa: ARG002
        return _default.ledger_meter() if self._client.destinations.to_ledger else None

    def budgets_meter(self) -> Meter:
        return _default.default_meter

    def defaults(self) -> Mapping[str, Any]:
        return {}

    def attribution(self, own: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002
        return {"customer": self._client.config.tenant_id} if self._client.destinations.to_ledger else {}

    def record(self, event: Mapping[str, Any], own: Mapping[str, Any], family: str) -> None:  # noqa: ARG002
        if self._has_returned:
            self._send(event, self._metadata)
        else:
            self._events.append(event)

    def returned(self, result: Any, metadata: Mapping[str, Any] | None) -> None:
        """Send the events of a call that has returned, with its metadata."""
        self._metadata, self._has_returned = metadata, True
        for event in self._events:
            run_guarded(self._send, event, metadata)
        if self._stand_in_for and not self._events and not is_of(result, self._stand_in_for):
            run_guarded(self._record_unmetered, result, metadata)

    def _record_unmetered(self, result: Any, metadata: Mapping[str, Any] | None) -> None:
        """Record a call of a client that is not metered, by what it returned; count and warn about one that reports no usage."""
        counts = run_guarded(self._read, result) if self._read is not None else None
        if counts is None:
            self._client.count_remark("usage_unreported", f"{self._provider}/{self._model}")
            return
        latency = int((time.monotonic() - self._started) * 1000)
        self._client.record(self._provider, str(self._model), *counts, latency_ms=latency, metadata=metadata)

    def _send(self, event: Mapping[str, Any], metadata: Mapping[str, Any] | None) -> None:
        usage = usage_of(event, self._client, f"{self._provider}/{self._model}")
        if usage is None:
            return
        cached = 0 if self._reports_cached else usage.get("cache_read_tokens", 0) + usage.get("cache_write_tokens", 0)
        latency = event.get("latency_ms")
        # The ledger is not written here, because it already has the event.
        self._client.send(
            self._provider,
            str(self._model),
            max(usage.get("input_tokens", 0) - cached, 0),
            usage.get("output_tokens", 0),
            latency_ms=None if latency is None else int(latency),
            metadata=metadata,
        )


def watch(observed: Observed, call: Callable[[], Any], describe: Describe) -> Any:
    """Make an observed call. Return what the call returns, or an awaitable in its place."""
    with instrument.observe(observed):
        result = call()
    if inspect.isawaitable(result):
        return _awaited(observed, result, describe)
    observed.returned(result, run_guarded(describe, result))
    return result


async def _awaited(observed: Observed, pending: Awaitable[Any], describe: Describe) -> Any:
    with instrument.observe(observed):
        result = await pending
    observed.returned(result, run_guarded(describe, result))
    return result


def is_of(value: Any, package: str) -> bool:
    """Return whether a value's class, or that of one of its parts, is of this package, whose objects are metered."""
    parts = value.values() if isinstance(value, dict) else ()
    return any(type(one).__module__.partition(".")[0].endswith(package) for one in (value, *parts))


def stand_in(client: Any, package: str) -> str:
    """Return the package if a client is not of it; an empty text if it is."""
    return "" if is_of(client, package) else package


class Resource(Forwarding):
    """A part of a client. Some of its methods are recorded, and some of its parts have such methods."""

    def __init__(self, inner: Any, methods: Mapping[str, Callable[[Callable[..., Any]], Any]], parts: Mapping[str, Any]) -> None:
        super().__init__(inner)
        self._methods = methods
        self._parts = parts

    def __getattr__(self, name: str) -> Any:
        own = super().__getattr__(name)
        if name in self._methods:
            return self._methods[name](own)
        return Resource(own, *self._parts[name]) if name in self._parts else own
