"""A measured block: a call that the user's code makes itself."""

from __future__ import annotations

import operator
import time
from typing import TYPE_CHECKING, Any, Final

from .. import _core, attribution
from ..log import log

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Unpack

    from ..budgets.admission import Estimate
    from ..fields import TrackFields
    from .engine import Engine

__all__ = ["Measurement"]

_COUNTS: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "usage")
_SPAN: Final = frozenset({"trace_id", "span_id", "parent_span_id"})
_MAX: Final = 10**12
_MAX_SECONDS: Final = 10**6


class Measurement:
    """A measured block; see `Meter.measure`."""

    __slots__ = (
        "_engine", "_estimate", "_fields", "_first", "_receipt", "_span", "_started", "_started_at", "_ticket", "_usage",
    )  # fmt: skip

    def __init__(self, engine: Engine, fields: dict[str, Any], estimate: Estimate | None = None) -> None:
        self._engine = engine
        self._fields = fields
        self._estimate = estimate
        self._ticket: _core.Ticket | None = None
        self._usage: Any = None
        self._first: float | None = None
        self._receipt: _core.Receipt | None = None

    @property
    def receipt(self) -> _core.Receipt:
        """The result of `track`. Until the block ends, it is false, and its `refused` is `unfinished`."""
        return _core.Receipt.refusal("unfinished") if self._receipt is None else self._receipt

    def __repr__(self) -> str:
        return (
            f"Measurement(provider={self._fields.get('provider')!r}, model={self._fields.get('model')!r}, receipt={self.receipt!r})"
        )

    def set_usage(self, usage: Any = None, /, *, inclusive: bool | None = None, **counts: Any) -> None:
        """Set what the call used.

        Args:
            usage: The provider's usage object, or a mapping of unit names.
            inclusive: `True` if `input_tokens` includes cached tokens although the fields are Anthropic's, as some gateways report.
            **counts: Further counts by unit name.

        Raises:
            TypeError: A name is not that of a unit. The message has the most similar unit.
        """
        if counts:
            from ..fields import check_names  # noqa: PLC0415 - see Meter.measure

            check_names("set_usage", counts, _core.UNITS)
        self._usage = (usage, inclusive, counts)

    def set(self, **fields: Unpack[TrackFields]) -> None:
        """Set or replace further fields of the event, such as `finish_reason` or `model`.

        Raises:
            TypeError: An event does not have the field. The message has the most similar known name.
        """
        from ..fields import TRACK, check_names  # noqa: PLC0415 - see Meter.measure

        check_names("set", fields, TRACK)
        self._fields.update(fields)

    def first_token(self) -> None:
        """Record that the first token has arrived, which sets `ttft_ms`."""
        if self._first is None:
            self._first = time.perf_counter()

    def __enter__(self) -> Measurement:
        if self._estimate is not None:
            from ..budgets.admission import admit, scope_of  # noqa: PLC0415 - as the table of fields, see Meter.measure

            self._engine.settled()
            fields = self._fields
            self._ticket = admit(self._engine.budgets, scope_of(fields), fields["provider"], fields["model"], **self._estimate)
        self._span = attribution.active_span()
        self._started_at = time.time()
        self._started = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        ended = time.perf_counter()
        try:
            self._receipt = self._track(self._event(ended, kind), error)
        except Exception as failure:
            # The call was made, so it is recorded without the fields that failed.
            log().debug("taximeter could not measure a call", exc_info=True)
            self._engine.count_remark("unreadable_usage", type(failure).__name__)
            from ..fields import ATTRIBUTION, TAGS  # noqa: PLC0415 - see Meter.measure

            fields = {name: self._fields[name] for name in ("provider", "model", *ATTRIBUTION, TAGS) if name in self._fields}
            latency = (ended - self._started) * 1000
            fields |= {"error": kind, "usage_status": "missing", "started_at": self._started_at, "latency_ms": latency}
            self._receipt = self._track(fields, error)

    def _track(self, fields: dict[str, Any], error: BaseException | None) -> _core.Receipt:
        if self._ticket is None:
            return self._engine.track(**fields)
        if error is not None and self._usage is None:
            from ..budgets.gate import how_ended  # noqa: PLC0415 - see __enter__

            # Whether a call that raised is billed is not in its event.
            self._ticket.end(how_ended(error))
        return self._engine.budgets.track(self._ticket, **fields)

    def _event(self, ended: float, kind: type[BaseException] | None) -> dict[str, Any]:
        """Return the event's fields, without those that cannot be read. The call was made, so it is always recorded."""
        fields: dict[str, Any] = {"latency_ms": (ended - self._started) * 1000, "started_at": self._started_at}
        # A caller that names a span has another one in mind.
        fields |= {**self._span, **self._fields} if _SPAN.isdisjoint(self._fields) else self._fields
        if self._first is not None:
            fields.setdefault("ttft_ms", (self._first - self._started) * 1000)
        if kind is not None:
            fields |= {"status": "error", "error": kind}
        if self._usage is not None:
            fields |= self._counts(fields["provider"])
        if fault := _first_fault(fields):
            self._engine.count_remark("unreadable_usage", fault)
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
            # The call was made, so it is recorded without usage.
            self._engine.count_remark("unreadable_usage", str(error).partition(" ")[0])
            return {"usage_status": "missing"}
        except Exception as error:
            # The usage object belongs to the user or a client, and reading it runs their code.
            log().debug("taximeter could not read a usage object", exc_info=True)
            self._engine.count_remark("unreadable_usage", f"{type(usage).__name__} ({type(error).__name__})")
            return {"usage_status": "missing"}
        cost = {} if reported is None or "cost_usd" in self._fields else {"cost_usd": reported}
        return {"usage": {**found, **counts}, **cost}


def _first_fault(fields: dict[str, Any]) -> str | None:
    """Return the first count for which `track` would reject the event; `None` if `track` accepts all counts."""
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
