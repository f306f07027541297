"""The reports for TokenTally, and its responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

__all__ = ["UsageData", "UsageResponse"]


@dataclass
class UsageData:
    """One call.

    Token counts are as the provider reports them. `cost_usd` overrides the cost computed from them. `credits`, `resolution` and
    `quality` are only for services that generate images and video.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    model: str = ""
    provider: str = "anthropic"
    runtime_ms: int | None = None
    stop_reason: str | None = None
    error_message: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    timestamp: datetime | None = None
    # Fields that the README does not list are keyword-only, because their position differs between releases.
    cost_usd: float | None = field(default=None, kw_only=True)
    cache_read_input_tokens: int = field(default=0, kw_only=True)
    cache_creation_input_tokens: int = field(default=0, kw_only=True)
    credits: float | None = field(default=None, kw_only=True)
    resolution: str | None = field(default=None, kw_only=True)
    quality: str | None = field(default=None, kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the body of the request, without absent fields."""
        data: dict[str, Any] = {
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "model": self.model,
            "provider": self.provider,
            "metadata": self.metadata,
        }
        if self.cost_usd is not None:
            data["cost_usd"] = self.cost_usd
        if self.cache_read_input_tokens > 0:
            data["cache_read_input_tokens"] = self.cache_read_input_tokens
        if self.cache_creation_input_tokens > 0:
            data["cache_creation_input_tokens"] = self.cache_creation_input_tokens
        for name in ("credits", "resolution", "quality", "runtime_ms", "stop_reason", "error_message"):
            value = getattr(self, name)
            if value is not None:
                data[name] = value
        if self.timestamp is not None:
            # A time without a zone is in local time. The service would read it as UTC.
            data["timestamp"] = (self.timestamp if self.timestamp.tzinfo else self.timestamp.astimezone(timezone.utc)).isoformat()
        return data


@dataclass
class UsageResponse:
    """The result of a report."""

    success: bool
    record_id: str
    cost_usd: float

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> UsageResponse:
        """Read the service's response. An invalid cost becomes 0, so that it can be shown as a number."""
        try:
            cost = float(data.get("cost_usd") or 0.0)
        except (TypeError, ValueError):
            cost = 0.0
        return cls(bool(data.get("success", False)), str(data.get("record_id") or ""), cost)
