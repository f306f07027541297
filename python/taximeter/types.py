"""Types for checkers and editors: the values that some texts can have, and the keys of the mappings that `taximeter` returns.

`Event` has the fields of one event and `Stats` the counts of `stats()`. The keywords of `track` are in `taximeter.fields`.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, TypeAlias, TypedDict
from uuid import UUID

__all__ = [
    "AttributionValue",
    "Backend",
    "CallStatus",
    "CostStatus",
    "DestinationStats",
    "Event",
    "Refusal",
    "Stats",
    "Time",
    "UsageStatus",
]

AttributionValue: TypeAlias = str | int | float | Decimal | UUID | Enum | date | bytes | None
"""A value of attribution. It is recorded as a text; `None` counts as not given."""

Backend: TypeAlias = Literal["mapped", "written", "memory"]
"""How the journal is written."""

CallStatus: TypeAlias = Literal["success", "error"]
"""How a call ended."""

CostStatus: TypeAlias = Literal["priced", "free", "unpriced", "reported", "manual"]
"""Where a cost comes from."""

UsageStatus: TypeAlias = Literal["complete", "partial", "missing"]
"""How much of a call's usage is known."""

Refusal: TypeAlias = Literal[
    "missing_provider", "missing_model", "invalid_usage", "no_space", "too_large", "internal_error", "disabled", "subinterpreter",
    "unfinished",
]  # fmt: skip
"""Why an event was not recorded; `unfinished` while a measured block runs."""

Time: TypeAlias = datetime | date | str | float
"""An aware datetime, a date (its midnight in UTC), an ISO 8601 text (in UTC when it has no zone), or seconds since 1970."""


class DestinationStats(TypedDict):
    """The counts of one destination in `stats()`."""

    host: str | None
    """Of a destination over HTTP."""
    delivered: int
    """Events that it accepted."""
    duplicates: int
    """Events that it had already."""
    pending: int
    """Events that wait for it."""
    orphaned: int
    """Of these, events of processes that ended."""
    rejected: int
    """Events that it refused for good in an answer that accepted others."""
    fallback: int
    """Events that are in the files of its fallback."""
    dead: int
    """Events that it refused for good, in the dead letters."""
    dropped: int
    """Events that it refused for good, for which the dead letters had no room."""
    expired: int
    """Events that waited longer than `max_age`."""
    evicted: int
    """Events that were given up because the journal was full."""
    oldest_seconds: float | None
    """Age of the oldest event that waits."""
    retries: int
    """Requests that were sent again."""
    state: Literal["closed", "open", "paused"] | None
    """Of the circuit breaker: `closed` sends freely, `open` one request at a time, `paused` none until a setting is corrected."""
    failures: int
    """Requests or batches that failed."""
    unreadable: int
    """Records that cannot be read as events."""
    panics: int
    """Faults of taximeter in its delivery thread."""
    last_error: str | None
    """Why the last failed request failed; `None` after a success."""


class Stats(TypedDict):
    """The counts of one process."""

    tracked: int
    """Events that were recorded."""
    tier: Backend | None
    """Where events are kept until they are delivered; `None` before the first."""
    journal_bytes: int
    """Bytes of the journal on disk."""
    memory_bytes: int
    """Bytes of the journal in memory."""
    budget_bytes: int | None
    """Bytes that the journal may take on disk."""
    seconds_to_full: float | None
    """When the budget will be used up if the backlog grows on; `None` when it does not grow."""
    corrupt_records: int
    """Records of journals that are damaged or missing."""
    lost_records: int
    """Of these, records of which nothing is left."""
    refused: dict[str, int]
    """Events that were not recorded, by reason."""
    remarks: dict[str, int]
    """What was wrong with events that were recorded, by kind."""
    destinations: dict[str, DestinationStats]
    """Delivery, by the name of the destination."""


class _EventOfEach(TypedDict):
    id: str
    """A UUID of version 7."""
    started_at: str
    """RFC 3339 in UTC, with nanoseconds."""
    provider: str
    model: str
    operation: str
    status: CallStatus
    usage: dict[str, float]
    """Counts by unit; those of seconds may have fractions."""
    usage_status: UsageStatus
    cost_usd: str | None
    """US dollars as an exact decimal text; `None` when the cost is unknown."""
    cost_status: CostStatus


class Event(_EventOfEach, total=False):
    """One event, as the ledger, the export and destinations over HTTP have it. Fields that it does not have are absent."""

    provider_usage: dict[str, Any] | None
    computed_cost_usd: str
    """What the rates come to, where the provider reported a cost."""
    cost_notes: list[str]
    latency_ms: float
    ttft_ms: float
    batch: bool
    priced_as: str
    """The catalog entry whose rates were used, as `provider/model`."""
    catalog: str
    error: str
    """The class of the exception."""
    finish_reason: str
    service_tier: str
    region: str
    agent: str
    feature: str
    team: str
    customer: str
    user: str
    session: str
    trace_id: str
    span_id: str
    parent_span_id: str
    tags: dict[str, str]
