"""The ledger: reports of what calls used and cost."""

from __future__ import annotations

from .care import Backup, Check, Pruned, quick_check, restore
from .export import COLUMNS
from .filters import Above, Below, Like, Not, Selection, Where
from .query import Rows
from .reader import Ledger, Percentiles
from .report import Report, Repricing, RepricingRow, Row, cost_cells

__all__ = [
    "COLUMNS",
    "Above",
    "Backup",
    "Below",
    "Check",
    "Ledger",
    "Like",
    "Not",
    "Percentiles",
    "Pruned",
    "Report",
    "Repricing",
    "RepricingRow",
    "Row",
    "Rows",
    "Selection",
    "Where",
    "cost_cells",
    "quick_check",
    "restore",
]
