"""The ledger: reports of what calls used and cost."""

from __future__ import annotations

from .reader import Ledger, Selection
from .report import Report, Repricing, RepricingRow, Row, cost_cells

__all__ = ["Ledger", "Report", "Repricing", "RepricingRow", "Row", "Selection", "cost_cells"]
