"""The fields of an event, by the names of `track`'s keywords."""

from __future__ import annotations

from typing import Final

__all__ = ["ATTRIBUTION", "MOST_PLACES", "TRACK"]

ATTRIBUTION: Final = ("agent", "feature", "team", "customer", "user", "session")

MOST_PLACES: Final = 60
"""Of a rate: more than twice what the core takes on either side of the point."""

TRACK: Final = frozenset({
    *ATTRIBUTION, "tags", "provider", "model", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "reasoning_tokens", "usage", "operation", "latency_ms", "ttft_ms", "status", "error", "finish_reason", "service_tier",
    "region", "batch", "cost_usd", "started_at", "trace_id", "span_id", "parent_span_id", "usage_status", "provider_usage",
})  # fmt: skip
"""Every keyword of `track`. A call of it with another is a `TypeError`; a measured call leaves it out and is recorded."""
