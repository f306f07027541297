"""The meter: validates, prices and records events, and says how it went."""

from __future__ import annotations

from .meter import Meter
from .reports import DrainReport, FlushReport

__all__ = ["DrainReport", "FlushReport", "Meter"]
