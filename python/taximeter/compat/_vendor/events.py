"""Reads events of metered calls for the services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["Counts", "plain_tags", "usage_of"]


class Counts(Protocol):
    """Something that counts remarks."""

    def count_remark(self, what: str, field: str) -> None:
        """Count a remark under its name in `stats()`, and warn about it."""


def plain_tags(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a mapping that tags can have: texts and numbers."""
    return {name: value for name, value in given.items() if isinstance(value, (str, int, float))}


def usage_of(event: Mapping[str, Any], outbox: Counts, model: str) -> Mapping[str, Any] | None:
    """Return what a call used. If its response did not report usage, counts and warns about that and returns `None`, not zero."""
    usage: Mapping[str, Any] | None = event.get("usage")
    if usage:
        return usage
    outbox.count_remark("usage_unreported", model)
    return None
