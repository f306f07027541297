"""Stands for the extension in a subinterpreter: nothing is metered there, calls are counted, and no host fails over it.

The names are those of `_core.pyi`. What would have to answer with data says plainly that it cannot.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import metadata
from typing import Any, Final, NoReturn

from ..errors import TaximeterError

__all__ = [
    "UNITS",
    "Cost",
    "Encoding",
    "LedgerReader",
    "Meter",
    "Receipt",
    "Scanner",
    "Scope",
    "__version__",
    "check_catalog",
    "check_destination",
    "check_overrides",
    "cloud",
    "destination_schemes",
    "drop_journal",
    "embedded_catalog",
    "encoding",
    "encoding_of",
    "journals",
    "normalize_usage",
    "quarantine",
    "register_tokenizer",
    "registered_for",
    "requeue_quarantine",
    "unknown_model",
]

UNITS: Final[dict[str, tuple[int, list[str]]]] = {}
REASON: Final = "subinterpreter"
REFUSALS: Final = ("missing_provider", "missing_model", "invalid_usage", "no_space", "too_large", "internal_error")
REMARKS: Final = (
    "given_up", "invalid_text", "invalid_time", "invalid_cost", "unknown_unit", "truncated", "unreadable_usage",
    "contradictory_usage", "usage_interrupted", "usage_malformed", "usage_not_json", "usage_unreported",
    "usage_internal_error", "unreadable_catalog", "unknown_field", "lost_in_memory",
)  # fmt: skip

log = logging.getLogger("taximeter")

try:
    __version__ = metadata.version("taximeter")
except metadata.PackageNotFoundError:
    __version__ = "unknown"


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise TaximeterError("taximeter does not work in a subinterpreter: its extension belongs to the main interpreter")


class Receipt:
    """The answer to every event: it was not recorded."""

    id = ""
    cost_usd = None
    refused = REASON

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"Receipt(refused={self.refused!r})"


class Scope:
    """Attribution that is not used."""

    def __init__(self, outer: Scope | None = None, **fields: Any) -> None:
        pass

    def over(self, outer: Scope) -> Scope:
        """Nobody reads that either."""
        return self


class Meter:
    """Counts what it does not record."""

    enabled = False
    catalog = ""
    catalog_as_of = ""

    def __init__(self, *, scope: Any, warn: Any, configure: Any) -> None:
        self._refused = 0

    def configure(self, **settings: Any) -> None:
        """Accept any settings."""

    def track(self, **fields: Any) -> Receipt:
        """Count an event, and say once that none is recorded."""
        self._refused += 1
        if self._refused == 1:
            log.warning("taximeter records nothing in a subinterpreter; such calls are only counted in stats()")
        return Receipt()

    def post(self, path: str, body: Any, *, before: Any = None) -> Receipt:
        """Count a request, as `track` does an event."""
        return self.track()

    def take_answers(self) -> list[Any]:
        """There are none."""
        return []

    def flush(self, timeout: float) -> tuple[int, int, int]:
        """Nothing was delivered and nothing waits."""
        return 0, 0, self._refused

    close = flush

    def probe(self) -> None:
        """Nothing is kept anywhere."""

    def stats(self) -> dict[str, Any]:
        """What was counted, in the form of the extension's."""
        nothing = dict.fromkeys(("tracked", "journal_bytes", "memory_bytes", "corrupt_records", "lost_records"), 0)
        unknown = dict.fromkeys(("tier", "budget_bytes", "seconds_to_full"))
        refused = {**dict.fromkeys(REFUSALS, 0), REASON: self._refused}
        return {**nothing, **unknown, "refused": refused, "remarks": dict.fromkeys(REMARKS, 0), "destinations": {}}

    def count_remark(self, what: str, field: str) -> None:
        """Accept a remark on an event that is not recorded."""

    def models(self) -> list[tuple[str, str, bool, str]]:
        """None are known."""
        return []

    drain: Callable[..., Any] = _refuse
    destinations: Callable[..., Any] = _refuse
    retry_dead_letters: Callable[..., Any] = _refuse
    drop_dead_letters: Callable[..., Any] = _refuse
    price: Callable[..., Any] = _refuse
    set_catalog: Callable[..., Any] = _refuse
    reprice: Callable[..., Any] = _refuse


class Cost:
    """Absent in a subinterpreter."""

    __init__ = _refuse


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
encoding: Callable[..., Any] = _refuse
encoding_of: Callable[..., Any] = _refuse
register_tokenizer: Callable[..., Any] = _refuse
registered_for: Callable[..., Any] = _refuse
unknown_model: Callable[..., Any] = _refuse
check_catalog: Callable[..., Any] = _refuse
embedded_catalog: Callable[..., Any] = _refuse
cloud: Callable[..., Any] = _refuse


def normalize_usage(report: str, family: str | None = None, provider: str | None = None) -> tuple[dict[str, Any], None]:
    """Read nothing: the event is not recorded."""
    return {}, None


def destination_schemes() -> list[str]:
    """None is known, so that none is refused."""
    return []


def check_destination(destination: dict[str, Any]) -> None:
    """Accept any; nothing is sent."""


def check_overrides(text: str) -> None:
    """Accept any; they are not used."""
