"""Writes every call of a ledger as JSON lines or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

from ..fields import ATTRIBUTION, TAGS

if TYPE_CHECKING:
    from .. import _core
    from .clickhouse import ClickHouseReader
    from .filters import Selection

__all__ = ["COLUMNS", "Form", "blocks"]

Form = Literal["jsonl", "csv"]

COLUMNS: Final = (
    "id", "started_at", "provider", "model", "operation", "status", "error", "finish_reason", "input_tokens", "output_tokens",
    "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "usage", "provider_usage", "usage_status",
    "cost_usd", "cost_status",
    "computed_cost_usd", "cache_saved_usd", "cost_notes",
    "priced_as", "catalog", "latency_ms", "ttft_ms", "service_tier", "region", "batch", *ATTRIBUTION, TAGS,
    "trace_id", "span_id", "parent_span_id", "call_id",
)  # fmt: skip
"""What is known of a call, in the order in which it is shown."""
_BLOCK: Final = 25_000
"""Calls that are read at once: some 20 MB."""


def blocks(reader: _core.LedgerReader | ClickHouseReader, chosen: Selection, form: Form, *, raw: bool) -> Iterator[bytes]:
    """Yield blocks of whole lines, in UTF-8. CSV begins with a header.

    Args:
        reader: The ledger.
        chosen: The calls.
        form: `jsonl` or `csv`.
        raw: Whether texts of CSV stay as they are, even if a spreadsheet would run them as formulas.

    Raises:
        ValueError: The form is unknown.
        LedgerError: The ledger cannot be read.
    """
    if form not in ("jsonl", "csv"):
        raise ValueError(f"form: {form!r} is neither 'jsonl' nor 'csv'")
    columns = None if form == "jsonl" else COLUMNS
    if columns is not None:
        head = io.StringIO()
        csv.writer(head, lineterminator="\n").writerow(columns)
        yield head.getvalue().encode()
    after, count = 0, _BLOCK
    while count == _BLOCK:
        lines, count, after = reader.export(*chosen, after, _BLOCK, columns, raw)
        if count:
            yield lines
