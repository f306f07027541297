"""Which texts are URLs of ledgers in ClickHouse. Most programs have none, and need not import what reads them."""

from __future__ import annotations

from typing import Final

__all__ = ["is_clickhouse"]

_SCHEMES: Final = ("clickhouse+https://", "clickhouse+http://")


def is_clickhouse(source: object) -> bool:
    """Whether a text is the URL of a ClickHouse database."""
    return isinstance(source, str) and source.lower().startswith(_SCHEMES)
