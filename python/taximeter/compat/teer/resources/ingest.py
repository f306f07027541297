"""Usage of calls."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ..._vendor.destinations import price_of, record
from ..._vendor.transport import Timeout
from .base import BaseResource

if TYPE_CHECKING:
    from .. import TeerClient
    from ..types import IngestPayload

__all__ = ["Ingest"]

_WHO: Final = {"user": "user_id", "customer": "organization_id", "team": "team_id", "session": "session_id"}
"""Attribution by Teer's names for it; its others become tags."""


class Ingest(BaseResource):
    """Usage of calls."""

    def __init__(self, client: TeerClient) -> None:
        super().__init__(client, "ingest", client.track_base)

    def send(
        self, payload: IngestPayload | Mapping[str, Any], headers: Mapping[str, str] | None = None, timeout: Timeout = 10
    ) -> Any:
        """Report one call, and wait for the answer unless the client works in the background.

        Args:
            payload: The call, sent as it is, with fields that this does not know and with `None` as null.
            headers: Further headers.
            timeout: Seconds for a connection, and for each wait for bytes, or a pair of them; `None` for ever.

        Returns:
            The service's answer. Of a client that works in the background, or whose destination is the ledger alone: `id`, and
            `cost_usd` as it is known here, `None` where no price is.

        Raises:
            requests.RequestException: There is no answer, or it says no.
            TypeError: Something in the payload is not JSON.
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
        return None  # a payload of another form, which is Teer's to understand


def _counts(usage: Mapping[str, Any]) -> dict[str, int]:
    """What a call used, by taximeter's units.

    Each provider's cached tokens lie where the provider has them: Anthropic's are not in `input`, and Gemini's thoughts are not in
    `output`.
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
    """A payload as an event."""
    metadata = dict(payload.get("metadata") or {})
    return {
        "provider": payload["provider"],
        "model": payload["model"],
        **_counts(payload["usage"]),
        "feature": payload.get("function_id"),
        **{ours: metadata.pop(theirs, None) for ours, theirs in _WHO.items()},
        "tags": metadata,
        **{name: payload.get(name) for name in ("trace_id", "span_id", "parent_span_id", "batch")},
    }
