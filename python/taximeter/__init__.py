"""taximeter meters LLM calls: it counts, prices exactly, attributes, and delivers every usage event.

    import taximeter

    taximeter.init()            # every installed provider client is metered from here on
    ...
    print(taximeter.Ledger().report(by="model"))

Importing it reads no file, starts no thread and imports no provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _interpreter  # noqa: F401 - before anything imports the extension
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
    prometheus,
    stats,
    status,
    track,
    uninstrument,
    wrap,
)
from ._core import UNITS, Cost, Receipt, __version__
from .attribution import attribute
from .errors import CatalogError, ConfigError, DeliveryError, LedgerError, TaximeterError, UsageError
from .meter import FlushReport, Measurement

if TYPE_CHECKING:
    from .destination import Destination
    from .ledger import Ledger, Report, Row

__all__ = [
    "UNITS",
    "CatalogError",
    "ConfigError",
    "Cost",
    "DeliveryError",
    "Destination",
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
    "prometheus",
    "stats",
    "status",
    "track",
    "uninstrument",
    "wrap",
]


def __getattr__(name: str) -> object:
    # Services that only track never read the ledger, and its imports are a third of the package's.
    if name == "Destination":
        from .destination import Destination  # noqa: PLC0415

        return Destination
    if name in {"Ledger", "Report", "Row"}:
        from . import ledger  # noqa: PLC0415

        return getattr(ledger, name)
    raise AttributeError(f"module 'taximeter' has no attribute {name!r}")
