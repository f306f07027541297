"""taximeter meters LLM calls: it counts, prices exactly, attributes, and delivers every usage event.

    import taximeter

    taximeter.init()            # meters every supported client from here on
    ...
    print(taximeter.Ledger().report(by="model"))

Importing it reads no file, starts no thread and imports no provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _subinterpreter  # noqa: F401 - must come before the first import of the extension
from ._core import UNITS, Cost, Receipt, __version__
from ._default import (
    Meter,
    bind,
    check,
    close,
    default_meter,
    drain,
    flush,
    init,
    measure,
    models,
    price,
    prometheus,
    reprice,
    reserve,
    retry_dead_letters,
    stats,
    status,
    track,
    uninstrument,
    wrap,
)
from .attribution import attribute
from .errors import (
    BudgetExceeded,
    BudgetUnavailable,
    CatalogError,
    ConfigError,
    DeliveryError,
    LedgerError,
    LedgerTimeoutError,
    TaximeterError,
    UnknownNameError,
    UsageError,
)
from .meter.reports import FlushReport

if TYPE_CHECKING:
    from ._default_ledger import Ledger
    from .budgets.definition import Budget
    from .budgets.run import budget
    from .budgets.standing import Standing
    from .ledger import Report, Row
    from .meter.measurement import Measurement
    from .settings.destination import Destination
    from .tokens import (
        Encoding,
        ModelEncoding,
        TokenCount,
        count_messages,
        count_tokens,
        encoding,
        encoding_for_model,
        register_tokenizer,
    )

__all__ = [
    "UNITS",
    "Budget",
    "BudgetExceeded",
    "BudgetUnavailable",
    "CatalogError",
    "ConfigError",
    "Cost",
    "DeliveryError",
    "Destination",
    "Encoding",
    "FlushReport",
    "Ledger",
    "LedgerError",
    "LedgerTimeoutError",
    "Measurement",
    "Meter",
    "ModelEncoding",
    "Receipt",
    "Report",
    "Row",
    "Standing",
    "TaximeterError",
    "TokenCount",
    "UnknownNameError",
    "UsageError",
    "__version__",
    "attribute",
    "bind",
    "budget",
    "check",
    "close",
    "count_messages",
    "count_tokens",
    "default_meter",
    "drain",
    "encoding",
    "encoding_for_model",
    "flush",
    "init",
    "measure",
    "models",
    "price",
    "prometheus",
    "register_tokenizer",
    "reprice",
    "reserve",
    "retry_dead_letters",
    "stats",
    "status",
    "track",
    "uninstrument",
    "wrap",
]


_OF_BUDGETS = {"Budget": ".budgets.definition", "budget": ".budgets.run", "Standing": ".budgets.standing"}
_OF_TOKENS = frozenset({
    "Encoding", "ModelEncoding", "TokenCount", "count_messages", "count_tokens", "encoding", "encoding_for_model",
    "register_tokenizer",
})  # fmt: skip


def __getattr__(name: str) -> object:
    # Imported on first use: services that only track need neither the ledger nor token counts, which are a third of the import time.
    if name in _OF_BUDGETS:
        from importlib import import_module  # noqa: PLC0415

        return getattr(import_module(_OF_BUDGETS[name], __name__), name)
    if name == "Destination":
        from .settings.destination import Destination  # noqa: PLC0415

        return Destination
    if name == "Ledger":
        from ._default_ledger import Ledger  # noqa: PLC0415

        return Ledger
    if name == "Measurement":
        from .meter.measurement import Measurement  # noqa: PLC0415

        return Measurement
    if name in {"Report", "Row"}:
        from . import ledger  # noqa: PLC0415

        return getattr(ledger, name)
    if name == "tokens" or name in _OF_TOKENS:
        # Not `from . import tokens`, which would ask this function again.
        from importlib import import_module  # noqa: PLC0415

        tokens = import_module(".tokens", __name__)
        return tokens if name == "tokens" else getattr(tokens, name)
    raise AttributeError(f"module 'taximeter' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
