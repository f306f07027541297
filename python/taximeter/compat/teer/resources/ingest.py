"""Reports usage of calls."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ..._vendor.destinations import price_of, record
from ..._vendor.transport import Timeout
from ..types import IngestPayload
from .base import BaseResource

if TYPE_CHECKING:
    from .. import TeerClient

__all__ = ["Ingest", "IngestPayload"]

_ATTRIBUTION: Final = {"user": "user_id", "customer": "organization_id", "team": "team_id", "session": "session_id"}
"""Teer's names of attribution fields. Its other metadata becomes tags."""


class Ingest(BaseResource):
    """Reports usage of calls."""

    def __init__(self, client: TeerClient) -> None:
        super().__init__(client, "ingest", client.track_base)

    def send(
        self, payload: IngestPayload | Mapping[str, Any], headers: Mapping[str, str] | None = None, timeout: Timeout = 10
    ) -> Any:
        """Report one call. Wait for the response unless the client works in the background.

        Args:
            payload: The call, sent unchanged, including unknown fields and `None`, which becomes null.
            headers: Further headers.
            timeout: Seconds for connecting and for each read, `(connect, read)`, or `None` for no timeout.

        Returns:
            The service's response. For a client that works in the background or whose only destination is the ledger: `id`, and the
            locally computed `cost_usd`, which is `None` if the price is unknown.

        Raises:
            requests.RequestException: There is no response, or it has an error status.
            TypeError: A value in the payload cannot be expressed in JSON.
        """
        destinations = self.client.destinations
        receipt = record(lambda: _event(payload)) if destinations.to_ledger else None
        if destinations.to_vendor and self.client.background:
            posted = self._post_later(payload, headers)
            return {"id": posted.id, "cost_usd": receipt.cost_usd if receipt else _cost(payload)}
        if destinations.to_vendor:
            return self._request("POST", data=payload, headers=headers, timeout=timeout)
        return {"id": receipt.id, "cost_usd": receipt.cost_usd} if receipt else {"id": None, "cost_usd": None}


def _cost(payload: Mapping[str, Any]) -> Decimal | None:
    try:
        return price_of(payload["provider"], payload["model"], _counts(payload["usage"]), batch=payload.get("batch", False))
    except (KeyError, TypeError, AttributeError):
        return None  # a payload of another form is sent to Teer unchanged


def _counts(usage: Mapping[str, Any]) -> dict[str, int]:
    """Return what a call used, in taximeter's units.

    Providers differ in their totals: Anthropic's `input` does not include cached tokens, and Gemini's `output` does not include
    thinking tokens.
    """
    cache: Mapping[str, Any] = usage.get("cache") or {}
    if not cache:
        return {"input_tokens": usage["input"], "output_tokens": usage["output"]}
    anthropic, openai, google = (cache.get(name) or {} for name in ("anthropic", "openai", "google"))
    written, read = (anthropic.get(name) or 0 for name in ("cache_creation_input_tokens", "cache_read_input_tokens"))
    thoughts = google.get("thoughts_token_count") or 0
    return {
        "input_tokens": usage["input"] + written + read,
        "output_tokens": usage["output"] + thoughts,
        "cache_read_tokens": read + (openai.get("input_cached_tokens") or 0) + (google.get("cached_content_token_count") or 0),
        "cache_write_tokens": written,
        "reasoning_tokens": thoughts,
    }


def _event(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a payload to an event."""
    metadata = dict(payload.get("metadata") or {})
    return {
        "provider": payload["provider"],
        "model": payload["model"],
        **_counts(payload["usage"]),
        "feature": payload.get("function_id"),
        **{ours: metadata.pop(theirs, None) for ours, theirs in _ATTRIBUTION.items()},
        "tags": metadata,
        **{name: payload.get(name) for name in ("trace_id", "span_id", "parent_span_id", "batch")},
    }
