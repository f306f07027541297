"""Types for type checkers and editors: the allowed values of some texts, and the keys of the mappings that `taximeter` returns.

`Event` has the fields of one event, and `Stats` the counts of `stats()`. The keywords of `track` are in `taximeter.fields`.
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
    "BudgetStats",
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
"""The value of an attribution field. It is recorded as a text. `None` means not given."""

Backend: TypeAlias = Literal["mapped", "written", "memory"]
"""How the journal is written."""

CallStatus: TypeAlias = Literal["success", "error"]
"""How a call ended."""

CostStatus: TypeAlias = Literal["priced", "free", "unpriced", "reported", "manual", "not_charged"]
"""How a cost was determined."""

UsageStatus: TypeAlias = Literal["complete", "partial", "missing"]
"""How much of a call's usage is known."""

Refusal: TypeAlias = Literal[
    "missing_provider", "missing_model", "invalid_usage", "no_space", "too_large", "internal_error", "disabled", "subinterpreter",
    "unfinished",
]  # fmt: skip
"""Why an event was not recorded; `unfinished` while a measured block runs."""

Time: TypeAlias = datetime | date | str | float
"""A time: an aware datetime, a date (midnight UTC), an ISO 8601 text (in UTC without a zone), or seconds since 1970."""


class DestinationStats(TypedDict):
    """The counts of one destination in `stats()`."""

    host: str | None
    """The host; only for destinations over HTTP."""
    delivered: int
    """Events that the destination accepted."""
    duplicates: int
    """Events that the destination already had."""
    pending: int
    """Events waiting for the destination."""
    orphaned: int
    """The waiting events of ended processes, included in `pending`."""
    rejected: int
    """Events that were permanently rejected in a response that accepted others."""
    fallback: int
    """Events that were written to fallback files."""
    dead: int
    """Permanently rejected events in the dead letters."""
    dropped: int
    """Permanently rejected events for which the dead letters had no room."""
    expired: int
    """Events that waited longer than `max_age`."""
    evicted: int
    """Events that were dropped because the journal was full."""
    oldest_seconds: float | None
    """The age of the oldest waiting event in seconds; `None` if none is waiting."""
    retries: int
    """Requests that were sent again."""
    state: Literal["closed", "open", "paused"] | None
    """The circuit breaker: `closed` sends freely, `open` one request at a time, `paused` none until a setting is corrected."""
    failures: int
    """Requests or batches that failed."""
    unreadable: int
    """Records that cannot be read as events."""
    panics: int
    """Bugs of taximeter in its delivery threads."""
    upkeep_failures: int
    """How often the work on stored calls after a batch failed: packing them, or deleting old ones."""
    upkeep_error: str | None
    """Why it failed the last time; `None` after a success."""
    last_error: str | None
    """The reason of the last failed request; `None` after a success."""


class BudgetStats(TypedDict):
    """The counts of the budgets in `stats()`, of this process."""

    definitions: int
    """Budgets in force, also those that other processes have set."""
    admitted: int
    """Calls that fit."""
    refused: int
    """Calls that were refused."""
    unavailable: int
    """How often the counts could not be read or written."""
    unpriced: int
    """Calls without a known price, which were charged nothing or what `unpriced` says."""
    abandoned: int
    """Calls that ended without an event."""
    unestimated: int
    """Calls with content whose tokens cannot be estimated: audio, or files by reference."""
    estimated_usd: str
    """What settled calls were expected to cost, as a decimal text."""
    actual_usd: str
    """What they cost."""
    waiting: int
    """Charges that wait in memory for the lock."""
    dropped: int
    """Charges that were lost, because the counts could not be written for long."""
    state: str
    """`ok`, or why the counts cannot be read."""
    boundaries_until: float | None
    """Until when the periods are known, in seconds since 1970; `None` without calendar periods."""


class Stats(TypedDict):
    """The counts of one process."""

    tracked: int
    """Events that were recorded."""
    tier: Backend | None
    """Where events are kept until they are delivered; `None` before the first event."""
    journal_bytes: int
    """Bytes of the journal on disk."""
    memory_bytes: int
    """Bytes of the journal in memory."""
    budget_bytes: int | None
    """The most bytes that the journal may take on disk."""
    seconds_to_full: float | None
    """Seconds until the budget is used up at the current growth of the backlog; `None` if it does not grow."""
    corrupt_records: int
    """Records of journals that are damaged or missing."""
    lost_records: int
    """Those of them that are missing entirely."""
    refused: dict[str, int]
    """Events that were not recorded, by reason."""
    remarks: dict[str, int]
    """Problems of recorded events, by kind."""
    destinations: dict[str, DestinationStats]
    """Counts of each destination, by its name."""
    budgets: BudgetStats
    """Counts of the budgets."""


class _EventOfEach(TypedDict):
    id: str
    """A UUID of version 7."""
    started_at: str
    """RFC 3339 in UTC, with nanoseconds."""
    provider: str
    model: str
    operation: str
    status: CallStatus
    input_tokens: int
    """0 where the usage has none, like the other counts beside `usage`."""
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    usage: dict[str, float]
    """The known counts by unit. Seconds may be fractional."""
    usage_status: UsageStatus
    cost_usd: str | None
    """US dollars as an exact decimal text; `None` if the cost is unknown."""
    cost_status: CostStatus


class Event(_EventOfEach, total=False):
    """One event, as in the ledger and in exports. Absent fields are missing."""

    provider_usage: dict[str, Any] | None
    computed_cost_usd: str
    """The cost computed from the rates, if the provider reported one."""
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
    call_id: str
    """The id that the events of one call of a client share: 16 hexadecimal digits."""
    tags: dict[str, str]
