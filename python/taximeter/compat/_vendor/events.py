"""Events of metered calls, and what services make of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["Counts", "plain_tags", "usage_of"]


class Counts(Protocol):
    """What counts what cannot be sent."""

    def count_remark(self, what: str, field: str) -> None:
        """Counts it by its name in `stats()`, and warns about it."""


def plain_tags(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a mapping's values that tags can have: texts and numbers."""
    return {name: value for name, value in given.items() if isinstance(value, (str, int, float))}


def usage_of(event: Mapping[str, Any], outbox: Counts, model: str) -> Mapping[str, Any] | None:
    """What a call used; `None`, counted and warned about, where its response did not say: zero would be a lie."""
    usage: Mapping[str, Any] | None = event.get("usage")
    if usage:
        return usage
    outbox.count_remark("usage_unreported", model)
    return None
