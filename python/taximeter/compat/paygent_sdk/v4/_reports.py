"""Reads the usage reports of providers, which are objects or mappings with names in two styles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["count_of", "tokens_by_modality", "value_of"]


def value_of(report: Any, name: str) -> Any:
    """Return a field by its name, such as `prompt_tokens` or `promptTokens`; `None` if it is absent."""
    head, *tail = name.split("_")
    for one in (name, head + "".join(part.title() for part in tail)):
        value = report.get(one) if isinstance(report, Mapping) else getattr(report, one, None)
        if value is not None:
            return value
    return None


def count_of(report: Any, name: str) -> int:
    """Return a count; 0 if it is absent or not a number."""
    try:
        return int(value_of(report, name) or 0)
    except (TypeError, ValueError):
        return 0


def tokens_by_modality(details: Iterable[Any] | None) -> dict[str, int]:
    """Return the tokens of each modality, such as `TEXT`, in a provider's list of them."""
    found: dict[str, int] = {}
    for one in details or ():
        modality = value_of(one, "modality")
        if modality is not None:
            name = str(getattr(modality, "name", None) or getattr(modality, "value", None) or modality).upper()
            found[name] = found.get(name, 0) + count_of(one, "token_count")
    return found
