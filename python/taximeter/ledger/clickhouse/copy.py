"""Copies the calls of another ledger into a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from ... import _core
from .server import Server

__all__ = ["copy"]

_BLOCK: Final = 10_000
_SCALES: Final = _core.unit_scales()
_SENT: Final = [name for name, _, _ in _core.clickhouse_columns()][:-1]


def copy(events: Iterable[Mapping[str, Any]], server: Server) -> Iterator[int]:
    """Store calls in a table. Each call is kept once, however often it is copied.

    Args:
        events: The calls, as `Ledger.events` yields them.
        server: The server with the table.

    Yields:
        How many calls are stored so far.

    Raises:
        LedgerError: The server refuses, or does not answer. What is yielded is stored.
    """
    rest, count = iter(events), 0
    columns = ", ".join(f"`{name}`" for name in _SENT)
    while block := list(islice(rest, _BLOCK)):
        rows = "\n".join(json.dumps(_row(event), ensure_ascii=False) for event in block)
        statement = f"INSERT INTO `{server.table}` ({columns}) FORMAT JSONEachRow\n{rows}\n"
        server.run(statement, settings=dict(_core.clickhouse_settings([event["id"] for event in block])))
        count += len(block)
        yield count


def _row(event: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: event[name] for name in _SENT if event.get(name) is not None}
    row["started_at"] = event["started_at"].rstrip("Z").replace("T", " ")
    row["usage"] = {name: round(count * _SCALES.get(name, 1)) for name, count in event["usage"].items()}
    for name in ("latency", "ttft"):
        if (milliseconds := event.get(f"{name}_ms")) is not None:
            row[f"{name}_us"] = round(milliseconds * 1000)
    if notes := event.get("cost_notes"):
        row["cost_notes"] = ",".join(notes)
    if report := event.get("provider_usage"):
        row["provider_usage"] = json.dumps(report, ensure_ascii=False, separators=(",", ":"))
    return row
