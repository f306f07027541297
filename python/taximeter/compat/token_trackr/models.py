"""The events for Token Trackr, and its responses."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timezone
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

__all__ = ["UsageEvent", "UsageResponse"]

PROVIDERS: Final = ("bedrock", "azure_openai", "gemini")
"""The providers that the service accepts. An event with another one would make it reject the whole batch."""
# Larger counts are refused as implausible, as in `taximeter.track`. The service cannot store the cost of much larger ones, and fails
# for the whole batch.
_MAX_TOKENS: Final = 1_000_000_000_000
# The largest value of a 32-bit column, in milliseconds: 25 days.
_MAX_LATENCY: Final = 2**31 - 1


class _Model:
    """The methods of `pydantic`'s models that programs use to get a record as plain data."""

    def model_dump(
        self, *, mode: str = "python", include: Collection[str] | None = None, exclude: Collection[str] | None = None, **_: Any
    ) -> dict[str, Any]:
        """Return the fields.

        Args:
            mode: `"json"` for values that JSON has.
            include, exclude: The fields to return, or to leave out.
        """
        kept = {
            name: value for name, value in vars(self).items() if (include is None or name in include) and name not in (exclude or ())
        }
        return {name: _as_json(value) for name, value in kept.items()} if mode == "json" else kept

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """Return the fields as JSON; see `model_dump`."""
        fields = self.model_dump(**{**options, "mode": "json"})
        return json.dumps(fields, indent=indent, ensure_ascii=False, separators=None if indent else (",", ":"))

    def dict(self, **options: Any) -> dict[str, Any]:
        """Return the fields; see `model_dump`."""
        return self.model_dump(**options)

    def json(self, **options: Any) -> str:
        """Return the fields as JSON; see `model_dump_json`."""
        return self.model_dump_json(**options)


def _as_json(value: Any) -> Any:
    """Return a value of a record in JSON's types, with times in the form of `pydantic`."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value if isinstance(value, float) else _json(value)


@dataclass
class UsageEvent(_Model):
    """One call.

    Raises:
        ValueError: A value is invalid. The message names it.
    """

    tenant_id: str
    provider: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    timestamp: datetime | None = None
    latency_ms: int | None = None
    host: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.provider not in PROVIDERS:
            raise ValueError(f"provider must be one of {', '.join(PROVIDERS)}; {str(self.provider)[:40]!r} is not")
        if not isinstance(self.model, str) or not self.model:
            raise ValueError("model must be a non-empty text")
        self.model = _storable(self.model)
        self.prompt_tokens = _count("prompt_tokens", self.prompt_tokens, _MAX_TOKENS)
        self.completion_tokens = _count("completion_tokens", self.completion_tokens, _MAX_TOKENS)
        if self.latency_ms is not None:
            latency: Any = self.latency_ms
            # Measured durations may have fractions.
            is_measured = isinstance(latency, float) and math.isfinite(latency)
            self.latency_ms = _count("latency_ms", round(latency) if is_measured else latency, _MAX_LATENCY)
        if isinstance(self.timestamp, str):
            self.timestamp = _moment(self.timestamp)
        if self.timestamp is None:
            self.timestamp = datetime.now(timezone.utc)
        elif isinstance(self.timestamp, datetime):
            if self.timestamp.tzinfo is None:
                self.timestamp = self.timestamp.replace(tzinfo=timezone.utc)
        else:
            raise ValueError("timestamp must be a datetime")
        if self.metadata is not None and not isinstance(self.metadata, Mapping):
            raise ValueError("metadata must be a mapping")

    def to_dict(self) -> dict[str, Any]:
        """Return the event in the service's form, with the host last (see `src/protocol/token_trackr.rs`)."""
        moment: Any = self.timestamp
        return {
            "tenant_id": self.tenant_id,
            "provider": self.provider,
            "model": self.model,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "timestamp": moment.isoformat(),
            "latency_ms": self.latency_ms,
            "metadata": None if self.metadata is None else _json(self.metadata),
            "host": self.host,
        }


def _json(value: Any) -> Any:
    """Return a value in JSON's types, as the original serializes it. The encoder refuses types without such a form."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, Mapping):
        return {_storable(str(_json(name))): _json(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_json(inner) for inner in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return _storable(bytes(value).decode("utf-8", "replace"))
    return str(value) if isinstance(value, (UUID, Decimal, PurePath)) else value


def _storable(text: str) -> str:
    """Return a text without zeros and halves of surrogate pairs. The service cannot store them, and fails for the whole batch."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _moment(text: str) -> datetime:
    """Read a time in ISO 8601.

    Raises:
        ValueError: It is not one.
    """
    try:
        return datetime.fromisoformat(text.strip().replace("Z", "+00:00").replace("z", "+00:00"))
    except ValueError:
        raise ValueError("timestamp must be a datetime, or a text such as 2026-01-02T03:04:05Z") from None


def _count(name: str, value: Any, most: int) -> int:
    """Return a count. Accept texts of digits, like the original."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 0 to {most:,}")
    return value


@dataclass
class UsageResponse(_Model):
    """The service's response for an event that it stored."""

    id: str
    tenant_id: str
    provider: str
    model: str
    total_tokens: int
    calculated_cost: float
    """In US dollars."""
    timestamp: datetime

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> UsageResponse:
        """Read a response.

        Raises:
            ValueError: The response does not have the service's form.
        """
        try:
            return cls(
                id=str(data["id"]),
                tenant_id=str(data["tenant_id"]),
                provider=str(data["provider"]),
                model=str(data["model"]),
                total_tokens=int(data["total_tokens"]),
                calculated_cost=float(data["calculated_cost"]),
                timestamp=datetime.fromisoformat(str(data["timestamp"]).replace("Z", "+00:00")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the response is not a stored event: {error}") from None
