"""Calls that fail before their response begins: rejected, timed out or not connected. Each is one event, however often it is retried.

A capture point reports a failure. The event is recorded when the call ends with an exception, and has its class. A call that succeeds
after retries has no event for its failures.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from .. import attribution
from ..errors import BudgetExceeded, BudgetUnavailable
from . import layers
from .call import Call, current_call
from .guard import run_guarded

if TYPE_CHECKING:
    from ..meter import Engine

__all__ = ["failed", "is_failure"]

_MISTAKES: Final = (
    TypeError, ValueError, LookupError, AttributeError, NameError, AssertionError, ImportError, NotImplementedError, GeneratorExit,
    StopIteration, StopAsyncIteration, BudgetExceeded, BudgetUnavailable,
)  # fmt: skip
"""Exceptions of wrong code, of budgets, or of a response that a client cannot read. The provider did not reject the call."""
_LOCAL: Final = frozenset({
    # Raised after a response, which has its own event.
    "APIResponseValidationError", "LengthFinishReasonError", "ContentFilterFinishReasonError",
    # Amazon's exceptions for a request that was never sent.
    "ParamValidationError", "NoCredentialsError", "PartialCredentialsError", "NoRegionError",
})  # fmt: skip


def is_failure(error: BaseException) -> bool:
    """Return whether an exception of a client is a failed call."""
    return not isinstance(error, _MISTAKES) and type(error).__name__ not in _LOCAL


class _Failure:
    """A call that has failed so far."""

    __slots__ = ("_call", "_fields", "_ids", "_meter", "_scope")

    def __init__(self, meter: Engine, fields: Mapping[str, Any], call: Call | None) -> None:
        self._meter = meter
        self._fields = fields
        self._call = call
        self._ids = attribution.active_span() if call is None else call.ids
        self._scope = attribution.current() if call is None else call.scope

    def record(self, error: type[BaseException] | str) -> None:
        """Record the event. Never raises."""
        run_guarded(self._record, error, where="recording a failed call", meter=self._meter)

    def _record(self, error: type[BaseException] | str) -> None:
        layers.take()
        call, model = self._call, self._fields.get("model")
        event: dict[str, Any] = {
            **self._fields,
            **self._ids,
            "model": model if isinstance(model, str) and model else "unknown",
            "usage_status": "missing",
            "status": "error",
            "error": error,
        }
        if call is not None and call.started:
            event["started_at"] = call.started_at
            event["latency_ms"] = (time.perf_counter() - call.started) * 1000
        attribution.enter(self, self._scope)
        try:
            self._meter.track(**event)
        finally:
            attribution.leave(self)


def failed(meter: Engine, fields: Mapping[str, Any], error: BaseException | str) -> None:
    """Keep a failure until its call ends. Without a call in progress, it is recorded at once.

    Args:
        meter: The meter that records the event.
        fields: The known fields of the event.
        error: The client's exception, or a text such as `HTTP 429` if the client has not raised yet.
    """
    if isinstance(error, BaseException) and not is_failure(error):
        return
    call = current_call()
    failure = _Failure(meter, fields, call)
    if call is None:
        failure.record(error if isinstance(error, str) else type(error))
    else:
        call.failure = failure.record
