"""Stands in for the extension in a subinterpreter: events are counted but not recorded, and the application keeps working.

The names are those of `_core.pyi`. Functions that would have to return data raise an error that says why they cannot.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from types import MappingProxyType
from typing import Any, Final, NoReturn

from ..errors import TaximeterError

__all__ = [
    "UNITS",
    "Budgets",
    "Cost",
    "Encoding",
    "LedgerQuery",
    "LedgerReader",
    "Meter",
    "Receipt",
    "Refusal",
    "RunBudget",
    "Scanner",
    "Scope",
    "Ticket",
    "__version__",
    "catalog_denominator",
    "check_catalog",
    "check_destination",
    "check_overrides",
    "check_query",
    "clickhouse_columns",
    "clickhouse_place",
    "clickhouse_report",
    "clickhouse_settings",
    "cloud",
    "credential_headers",
    "destination_schemes",
    "drop_journal",
    "embedded_catalog",
    "encoding",
    "encoding_of",
    "journals",
    "ledger_backup",
    "ledger_check",
    "ledger_compact",
    "ledger_pack",
    "ledger_prune",
    "ledger_restore",
    "normalize_usage",
    "quarantine",
    "register_tokenizer",
    "registered_for",
    "report_stream",
    "requeue_quarantine",
    "scan_columns",
    "scan_stream",
    "unit_scales",
    "unknown_model",
    "usual_denominator",
    "work_for",
]

UNITS: Final[Mapping[str, tuple[int, tuple[str, ...]]]] = MappingProxyType({})
REASON: Final = "subinterpreter"
REFUSALS: Final = ("missing_provider", "missing_model", "invalid_usage", "no_space", "too_large", "internal_error")
REMARKS: Final = (
    "given_up", "invalid_text", "invalid_time", "invalid_cost", "unknown_unit", "truncated", "unreadable_usage",
    "contradictory_usage", "usage_interrupted", "usage_malformed", "usage_not_json", "usage_unreported",
    "usage_internal_error", "unreadable_catalog", "unknown_field", "lost_in_memory", "instrument_failed", "attribution_failed",
    "callback_failed",
)  # fmt: skip

log = logging.getLogger("taximeter")

try:
    __version__ = metadata.version("taximeter")
except metadata.PackageNotFoundError:
    __version__ = "unknown"


_REFUSAL: Final = "taximeter does not work in a subinterpreter, because its extension works only in the main interpreter"


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise TaximeterError(_REFUSAL)


class Receipt:
    """The receipt of every event: it was not recorded."""

    id = ""
    cost_usd = None
    refused = REASON

    @staticmethod
    def refusal(_reason: str) -> Receipt:
        """Ignore the reason, because there is only one here."""
        return Receipt()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"Receipt(refused={self.refused!r})"


class Scope:
    """An attribution that is not used."""

    def __init__(self, outer: Scope | None = None, **fields: Any) -> None:
        pass

    @staticmethod
    def lenient(_outer: Scope | None, _fields: Any) -> tuple[Scope, list[str]]:
        """Accept any fields, because they are not used."""
        return Scope(), []

    def over(self, outer: Scope) -> Scope:
        """Return this scope, because scopes are not used."""
        return self

    def fields(self) -> dict[str, Any]:
        """Return no fields, because none are kept."""
        return {}


class Meter:
    """A meter that counts events but does not record them."""

    enabled = False
    catalog = ""
    catalog_as_of = ""

    def __init__(self, *, scope: Any, warn: Any, configure: Any) -> None:
        self._refused = 0

    def configure(self, **settings: Any) -> None:
        """Accept and ignore any settings."""

    def track(self, **fields: Any) -> Receipt:
        """Count an event. The first one logs a warning."""
        self._refused += 1
        if self._refused == 1:
            log.warning("taximeter records no events in a subinterpreter; it only counts them in stats()")
        return Receipt()

    def post(self, path: str, body: Any, *, before: Any = None) -> Receipt:
        """Count a request like an event."""
        return self.track()

    def take_answers(self) -> list[Any]:
        """Return no answers."""
        return []

    def flush(self, timeout: float) -> tuple[int, int, int]:
        """Return that no event was delivered and none is waiting."""
        return 0, 0, self._refused

    close = flush

    def flush_ledger(self, timeout: float) -> bool:
        """Return true, because nothing is waiting."""
        return True

    def probe(self) -> None:
        """Do nothing, because there is no storage."""

    def stats(self) -> dict[str, Any]:
        """Return the counts in the form of the extension's `stats()`."""
        nothing = dict.fromkeys(("tracked", "journal_bytes", "memory_bytes", "corrupt_records", "lost_records"), 0)
        unknown = dict.fromkeys(("tier", "budget_bytes", "seconds_to_full"))
        refused = {**dict.fromkeys(REFUSALS, 0), REASON: self._refused}
        return {**nothing, **unknown, "refused": refused, "remarks": dict.fromkeys(REMARKS, 0), "destinations": {}}

    def count_remark(self, what: str, field: str) -> None:
        """Ignore a remark about an event that is not recorded."""

    def models(self) -> list[tuple[str, str, bool, str]]:
        """Return no models."""
        return []

    @property
    def repriced(self) -> int:
        return 0

    def unmatched_price_rules(self) -> list[str]:
        """Return no rules, because none are used."""
        return []

    drain: Callable[..., Any] = _refuse
    destinations: Callable[..., Any] = _refuse
    retry_dead_letters: Callable[..., Any] = _refuse
    drop_dead_letters: Callable[..., Any] = _refuse
    price: Callable[..., Any] = _refuse
    set_catalog: Callable[..., Any] = _refuse
    reprice: Callable[..., Any] = _refuse


class Budgets:
    """The budgets of a meter. Nothing could hold them, so setting one is an error, and nothing else is."""

    is_active = False

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def set(self, definitions: str) -> NoReturn:
        """Refuse a budget that would not be held."""
        raise ValueError(_REFUSAL)

    def admit(self, *_: Any, **__: Any) -> None:
        """Admit every call, because there are no budgets."""

    def track(self, _ticket: None, /, **fields: Any) -> Receipt:
        """Count an event."""
        return self._meter.track(**fields)

    def charge(self, *_: Any, **__: Any) -> None:
        """Charge nothing, because there are no budgets."""

    def definitions(self) -> str:
        """Return no definitions."""
        return "[]"

    def standings(self, *_: Any) -> list[Any]:
        """Return nothing, because nothing is counted."""
        return []

    def reported(self, records: list[int]) -> None:
        """Take note of nothing, because no threshold is crossed."""

    all_standings = take_crossings = take_warnings = standings

    def stats(self) -> dict[str, Any]:
        """Return the counts in the form of the extension's `Budgets.stats()`."""
        names = ("definitions", "admitted", "refused", "unavailable", "unpriced", "abandoned", "unestimated", "waiting", "dropped")
        texts = {"estimated_usd": "0", "actual_usd": "0", "state": REASON}
        return {**dict.fromkeys(names, 0), **texts, "boundaries_until": None}

    remove: Callable[..., Any] = _refuse
    reset: Callable[..., Any] = _refuse
    recount: Callable[..., Any] = _refuse


class Cost:
    """Absent in a subinterpreter."""

    __init__ = _refuse


class RunBudget(Cost):
    """Absent in a subinterpreter: nothing could hold the limit."""


class Ticket(Cost):
    """Absent in a subinterpreter."""


class Refusal(Cost):
    """Absent in a subinterpreter."""


class LedgerQuery(Cost):
    """Absent in a subinterpreter."""


class LedgerReader(Cost):
    """Absent in a subinterpreter."""


class Scanner(Cost):
    """Absent in a subinterpreter."""


class Exchange(Cost):
    """Absent in a subinterpreter."""


class Encoding(Cost):
    """Absent in a subinterpreter."""


journals: Callable[..., Any] = _refuse
drop_journal: Callable[..., Any] = _refuse
quarantine: Callable[..., Any] = _refuse
requeue_quarantine: Callable[..., Any] = _refuse
ledger_backup: Callable[..., Any] = _refuse
ledger_restore: Callable[..., Any] = _refuse
ledger_check: Callable[..., Any] = _refuse
ledger_compact: Callable[..., Any] = _refuse
ledger_prune: Callable[..., Any] = _refuse
ledger_pack: Callable[..., Any] = _refuse
report_stream: Callable[..., Any] = _refuse
scan_stream: Callable[..., Any] = _refuse
work_for: Callable[..., Any] = _refuse
encoding: Callable[..., Any] = _refuse
encoding_of: Callable[..., Any] = _refuse
register_tokenizer: Callable[..., Any] = _refuse
registered_for: Callable[..., Any] = _refuse
unknown_model: Callable[..., Any] = _refuse
check_catalog: Callable[..., Any] = _refuse
embedded_catalog: Callable[..., Any] = _refuse
usual_denominator: Callable[..., Any] = _refuse
catalog_denominator: Callable[..., Any] = _refuse
cloud: Callable[..., Any] = _refuse


def track_function(meter: Meter) -> Callable[..., Receipt]:
    """Return the meter's `track`."""
    return meter.track


def normalize_usage(report: str, family: str | None = None, provider: str | None = None) -> tuple[dict[str, Any], None]:
    """Return no usage, because the event is not recorded."""
    return {}, None


def header_values(raw: Iterable[tuple[bytes, bytes]]) -> tuple[str, str, str]:
    """Return no values, because the response is not read."""
    return "", "", ""


def destination_schemes() -> list[str]:
    """Return no schemes, so that no URL is rejected."""
    return []


def credential_headers(protocol: str, user: str | None, token: str | None) -> list[tuple[str, str]]:
    """Return no headers, because no request is made."""
    return []


def check_query(by: Sequence[str], conditions: Sequence[tuple[str, str, Sequence[str | None]]]) -> None:
    """Accept any query, because there is no ledger."""


def clickhouse_columns() -> list[tuple[str, str, str]]:
    """Return no columns."""
    return []


def clickhouse_place(path: str) -> tuple[str, str] | None:
    """Return no place."""
    return None


def clickhouse_report(lines: str, begins: Sequence[Sequence[int] | None]) -> tuple[list[Any], tuple[Any, ...], tuple[Any, ...], int]:
    """Return a report without rows."""
    return [], (), (), 0


def clickhouse_settings(ids: Sequence[str]) -> list[tuple[str, str]]:
    """Return no settings."""
    return []


def scan_columns() -> list[str]:
    """Return no columns."""
    return []


def unit_scales() -> dict[str, int]:
    """Return no scales."""
    return {}


def check_destination(destination: dict[str, Any]) -> None:
    """Accept any destination, because none is used."""


def check_overrides(text: str) -> None:
    """Accept any overrides, because none are used."""
