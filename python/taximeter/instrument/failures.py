"""Calls that fail before their answer begins: refused, timed out, not connected. Each is one event, however often its client tried.

A capture point reports a failure; the event is recorded when the call ends with an exception, whose class it then has. A call that
succeeds in the end has no event of its failures.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from .. import attribution
from . import layers
from .call import Call, current_call

if TYPE_CHECKING:
    from ..meter import Meter

__all__ = ["failed", "is_failure"]

_MISTAKES: Final = (
    TypeError, ValueError, LookupError, AttributeError, NameError, AssertionError, ImportError, NotImplementedError, GeneratorExit,
    StopIteration, StopAsyncIteration,
)  # fmt: skip
"""Exceptions of code that is wrong, or of an answer that a client cannot read; the provider did not refuse the call."""
_LOCAL: Final = frozenset({
    # Raised after an answer, which has its own event.
    "APIResponseValidationError", "LengthFinishReasonError", "ContentFilterFinishReasonError",
    # Amazon's, for a request that was never sent.
    "ParamValidationError", "NoCredentialsError", "PartialCredentialsError", "NoRegionError",
})  # fmt: skip


def is_failure(error: BaseException) -> bool:
    """Whether an exception that left a client is a failed call."""
    return not isinstance(error, _MISTAKES) and type(error).__name__ not in _LOCAL


class _Failure:
    """A call that was made for nothing, so far."""

    __slots__ = ("_call", "_fields", "_meter", "_scope")

    def __init__(self, meter: Meter, fields: Mapping[str, Any], call: Call | None) -> None:
        self._meter = meter
        self._fields = fields
        self._call = call
        self._scope = attribution.current() if call is None else call.scope

    def record(self, error: type[BaseException] | str) -> None:
        """Records the event."""
        layers.take()
        call, model = self._call, self._fields.get("model")
        event: dict[str, Any] = {
            **self._fields,
            "model": model if isinstance(model, str) and model else "unknown",
            "usage_status": "missing",
            "status": "error",
            "error": error,
        }
        if call is not None:
            event["parent_span_id"] = call.id
        if call is not None and call.started:
            event["started_at"] = call.started_at
            event["latency_ms"] = (time.perf_counter() - call.started) * 1000
        attribution.enter(self, self._scope)
        try:
            self._meter.track(**event)
        finally:
            attribution.leave(self)


def failed(meter: Meter, fields: Mapping[str, Any], error: BaseException | str) -> None:
    """Keeps a failure until its call ends; without a call in progress, it is recorded at once.

    Args:
        meter: Where the event goes.
        fields: What is known of the event.
        error: What the client raised, or what says it where the client has not raised yet, such as `HTTP 429`.
    """
    if isinstance(error, BaseException) and not is_failure(error):
        return
    call = current_call()
    failure = _Failure(meter, fields, call)
    if call is None:
        failure.record(error if isinstance(error, str) else type(error))
    else:
        call.failure = failure.record
