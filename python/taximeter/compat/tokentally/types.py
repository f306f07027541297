"""The reports for TokenTally, and its responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ..._core import Receipt
from .._vendor.destinations import price_of

__all__ = ["UsageData", "UsageResponse", "counts_of"]


Priced = tuple[str, str, int, int, int, int]


def counts_of(provider: str, model: str, tokens_in: int, tokens_out: int, read: int, written: int) -> dict[str, int]:
    """Return what a call used, in taximeter's units.

    Args:
        provider, model: The provider and the model that responded.
        tokens_in, tokens_out: Tokens, as the provider reports them.
        read, written: Tokens that were read from a cache or written to one.
    """
    counts = {"input_tokens": tokens_in, "output_tokens": tokens_out}
    if read or written:
        # Anthropic's input tokens do not include cached ones, also if another provider serves the model. Those of other models do.
        is_anthropic = "anthropic" in provider.lower() or "claude" in model.lower()
        beside = read + written if is_anthropic or read + written > tokens_in else 0
        counts |= {"input_tokens": tokens_in + beside, "cache_read_tokens": read, "cache_write_tokens": written}
    return counts


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

    def check(self) -> None:
        """Replace absent counts by 0, because clients report absent cached tokens as `None`.

        Raises:
            ValueError: A count is not a number of at least 0.
        """
        made, used, read, written = self.tokens_out, self.tokens_in, self.cache_read_input_tokens, self.cache_creation_input_tokens
        # Nearly all calls. Written out for speed, as in `to_dict`.
        if type(made) is type(used) is type(read) is type(written) is int and made >= 0 and used >= 0 and read >= 0 and written >= 0:
            return
        for name in ("tokens_in", "tokens_out", "cache_read_input_tokens", "cache_creation_input_tokens"):
            count: Any = getattr(self, name)
            if count is None:
                setattr(self, name, 0)
            elif not isinstance(count, (int, float)) or not count >= 0:
                raise ValueError(f"{name} must be a number of at least 0")

    def priced(self) -> Priced:
        """Return what the cost depends on; see `counts_of`."""
        return (
            self.provider,
            self.model,
            self.tokens_in,
            self.tokens_out,
            self.cache_read_input_tokens,
            self.cache_creation_input_tokens,
        )

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
        # Written out for speed: a loop takes a quarter of a microsecond more.
        if self.credits is not None:
            data["credits"] = self.credits
        if self.resolution is not None:
            data["resolution"] = self.resolution
        if self.quality is not None:
            data["quality"] = self.quality
        if self.runtime_ms is not None:
            data["runtime_ms"] = self.runtime_ms
        if self.stop_reason is not None:
            data["stop_reason"] = self.stop_reason
        if self.error_message is not None:
            data["error_message"] = self.error_message
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
    def recorded(cls, receipt: Receipt, priced: Priced, *, success: bool) -> UsageResponse:
        """Return the result of a report in the background. Its id and cost are found when they are read, which few programs do."""
        response: UsageResponse = object.__new__(cls)
        response.success = success
        # No fields: what reads all fields would read these as well.
        response._receipt, response._priced = receipt, priced  # type: ignore[attr-defined]
        return response

    def __getattr__(self, name: str) -> Any:
        """Return the id of the event, or its cost that is computed locally, 0 if the price is unknown."""
        known = vars(self)
        if name == "record_id" and "_receipt" in known:
            self.record_id = known["_receipt"].id
            return self.record_id
        if name == "cost_usd" and "_priced" in known:
            provider, model, *_ = known["_priced"]
            self.cost_usd = float(price_of(provider, model, counts_of(*known["_priced"])) or 0)
            return self.cost_usd
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> UsageResponse:
        """Read the service's response. An invalid cost becomes 0, so that it can be shown as a number."""
        try:
            cost = float(data.get("cost_usd") or 0.0)
        except (TypeError, ValueError):
            cost = 0.0
        return cls(bool(data.get("success", False)), str(data.get("record_id") or ""), cost)
