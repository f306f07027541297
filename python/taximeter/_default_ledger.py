"""`taximeter.Ledger`: a ledger reader whose default path comes from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import ledger
from ._default import default_meter
from .meter import engine_of
from .settings import resolve

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["Ledger"]


class Ledger(ledger.Ledger):
    """Reads the ledger, also while other processes write it.

    The ledger of this process's own meter has what was tracked before: it is waited for up to 2 seconds.

    Args:
        path: The ledger's file; by default the one from the settings. A missing file reads as empty.

    Raises:
        LedgerError: The file is not a ledger, or cannot be read.
    """

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        super().__init__((default_meter.settings or resolve({})).ledger if path is None else path)

    def _bring_up_to_date(self) -> None:
        settings = default_meter.settings
        if settings is not None and settings.uses_ledger and settings.root and settings.ledger == self.path:
            engine_of(default_meter).flush_ledger()
