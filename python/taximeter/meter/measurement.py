"""A call that its caller makes and measures."""

from __future__ import annotations

import logging
import operator
import time
from typing import TYPE_CHECKING, Any, Final

from .. import _core

if TYPE_CHECKING:
    from types import TracebackType

    from .meter import Meter

__all__ = ["Measurement"]

log = logging.getLogger("taximeter")

_COUNTS: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "usage")
_MAX: Final = 10**12
_MAX_SECONDS: Final = 10**6


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
        """Set or replace further fields of the event, such as `finish_reason` or `model`.

        A field that an event does not have is left out, counted as `unknown_field` in `stats()["remarks"]` and warned about.
        """
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
            self.receipt = self._meter.track(**self._event(ended, kind))
        except Exception:
            log.debug("taximeter could not measure a call", exc_info=True)

    def _event(self, ended: float, kind: type[BaseException] | None) -> dict[str, Any]:
        """The event's fields. The call was made, so it is recorded whatever it was given; what cannot be read is left out."""
        from ..fields import TRACK  # noqa: PLC0415 - programs that only track do without the table

        fields: dict[str, Any] = {
            "latency_ms": (ended - self._started) * 1000,
            "started_at": self._started_at,
            **{name: value for name, value in self._fields.items() if name in TRACK},
        }
        for name in self._fields:
            if name not in TRACK:
                self._meter.count_remark("unknown_field", name)
        if self._first is not None:
            fields.setdefault("ttft_ms", (self._first - self._started) * 1000)
        if kind is not None:
            fields |= {"status": "error", "error": kind}
        if self._usage is not None:
            fields |= self._counts(fields["provider"])
        if fault := _first_fault(fields):
            self._meter.count_remark("unreadable_usage", fault)
            fields = {name: value for name, value in fields.items() if name not in _COUNTS} | {"usage_status": "missing"}
        elif self._usage is None:
            is_known = not fields.keys().isdisjoint(_COUNTS)
            fields.setdefault("usage_status", "complete" if is_known else "missing")
        return fields

    def _counts(self, provider: Any) -> dict[str, Any]:
        from ..errors import UsageError  # noqa: PLC0415 - see Meter.price
        from .usage import normalize  # noqa: PLC0415

        usage, inclusive, counts = self._usage
        try:
            known = provider if isinstance(provider, str) else None
            found, reported = ({}, None) if usage is None else normalize(usage, provider=known, inclusive=inclusive)
        except UsageError as error:
            # The call was made and is recorded; what it used is not known.
            self._meter.count_remark("unreadable_usage", str(error).partition(" ")[0])
            return {"usage_status": "missing"}
        except Exception as error:
            # The usage object is the user's or a client's: reading it runs their code.
            log.debug("taximeter could not read a usage object", exc_info=True)
            self._meter.count_remark("unreadable_usage", f"{type(usage).__name__} ({type(error).__name__})")
            return {"usage_status": "missing"}
        cost = {} if reported is None or "cost_usd" in self._fields else {"cost_usd": reported}
        return {"usage": {**found, **counts}, **cost}


def _first_fault(fields: dict[str, Any]) -> str | None:
    """The first count that `track` would refuse the event for; `None` without one."""
    usage = fields.get("usage")
    try:
        counts = {name: fields[name] for name in _COUNTS if name != "usage" and name in fields}
        counts |= {} if usage is None else dict(usage)
        return next((str(name) for name, value in counts.items() if name in _core.UNITS and not _is_count(name, value)), None)
    except Exception:
        return "usage"


def _is_count(name: str, value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, bool):
        return False
    if name.endswith("_seconds"):
        return 0 <= float(value) <= _MAX_SECONDS
    if isinstance(value, float):
        return value.is_integer() and 0 <= value <= _MAX
    return 0 <= operator.index(value) <= _MAX
