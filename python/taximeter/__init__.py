"""taximeter meters LLM calls: it counts, prices exactly, attributes, and delivers every usage event.

    import taximeter

    taximeter.init()            # every installed provider client is metered from here on
    ...
    print(taximeter.Ledger().report(by="model"))

Importing it reads no file, starts no thread and imports no provider.
"""

from __future__ import annotations

from ._api import (
    Meter,
    bind,
    close,
    default_meter,
    drain,
    flush,
    init,
    measure,
    price,
    stats,
    status,
    track,
    uninstrument,
    wrap,
)
from ._core import UNITS, Cost, Receipt, __version__
from .attribution import attribute
from .errors import ConfigError, LedgerError, TaximeterError, UsageError
from .ledger import Ledger, Report, Row
from .meter import FlushReport, Measurement

__all__ = [
    "UNITS",
    "ConfigError",
    "Cost",
    "FlushReport",
    "Ledger",
    "LedgerError",
    "Measurement",
    "Meter",
    "Receipt",
    "Report",
    "Row",
    "TaximeterError",
    "UsageError",
    "__version__",
    "attribute",
    "bind",
    "close",
    "default_meter",
    "drain",
    "flush",
    "init",
    "measure",
    "price",
    "stats",
    "status",
    "track",
    "uninstrument",
    "wrap",
]
