"""The ledger: reports of what calls used and cost."""

from __future__ import annotations

from .filters import Above, Below, Like, Not, Selection, Where
from .reader import Ledger
from .report import Report, Repricing, RepricingRow, Row, cost_cells

__all__ = [
    "Above",
    "Below",
    "Ledger",
    "Like",
    "Not",
    "Report",
    "Repricing",
    "RepricingRow",
    "Row",
    "Selection",
    "Where",
    "cost_cells",
]
