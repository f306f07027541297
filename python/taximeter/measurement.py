"""A call that its caller makes and measures."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from . import _core
    from .meter import Meter

__all__ = ["Measurement"]

log = logging.getLogger("taximeter")


class Measurement:
    """One measured call; see `Meter.measure`."""

    __slots__ = ("_fields", "_first", "_meter", "_started", "_started_at", "_usage", "receipt")

    def __init__(self, meter: Meter, fields: dict[str, Any]) -> None:
        self._meter = meter
        self._fields = fields
        self._usage: Any = None
        self._first: float | None = None
        self.receipt: _core.Receipt | None = None
        """What `track` answered; `None` until the block ends."""

    def set_usage(self, usage: Any = None, /, *, inclusive: bool | None = None, **counts: Any) -> None:
        """Say what the call used.

        Args:
            usage: The provider's usage object, or a mapping of unit names.
            inclusive: `True` where a gateway reports Anthropic's fields with the cached tokens inside `input_tokens`.
            **counts: Counts by unit name, in addition.
        """
        self._usage = (usage, inclusive, counts)

    def set(self, **fields: Any) -> None:
        """Set or replace further fields of the event, such as `finish_reason` or `model`."""
        self._fields.update(fields)

    def first_token(self) -> None:
        """Say that the first token has come; its time becomes `ttft_ms`."""
        if self._first is None:
            self._first = time.perf_counter()

    def __enter__(self) -> Measurement:
        self._started_at = time.time()
        self._started = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        ended = time.perf_counter()
        try:
            fields: dict[str, Any] = {
                "latency_ms": (ended - self._started) * 1000,
                "started_at": self._started_at,
                **self._fields,
            }
            if self._first is not None:
                fields.setdefault("ttft_ms", (self._first - self._started) * 1000)
            if kind is not None:
                fields |= {"status": "error", "error": kind}
            if self._usage is None:
                known = {"usage", "input_tokens", "output_tokens"} & fields.keys()
                fields.setdefault("usage_status", "complete" if known else "missing")
            else:
                fields |= self._counts(fields["provider"])
            self.receipt = self._meter.track(**fields)
        except Exception:
            log.debug("taximeter could not measure a call", exc_info=True)

    def _counts(self, provider: Any) -> dict[str, Any]:
        from .errors import UsageError  # noqa: PLC0415 - see Meter.price
        from .usage import normalize  # noqa: PLC0415

        usage, inclusive, counts = self._usage
        try:
            found, reported = ({}, None) if usage is None else normalize(usage, provider=provider, inclusive=inclusive)
        except UsageError as error:
            # The call was made and is recorded; what it used is not known.
            self._meter.note("unreadable_usage", str(error).partition(" ")[0])
            return {"usage_status": "missing"}
        cost = {} if reported is None or "cost_usd" in self._fields else {"cost_usd": reported}
        return {"usage": {**found, **counts}, **cost}
