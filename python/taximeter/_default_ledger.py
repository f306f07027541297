"""`taximeter.Ledger`: a ledger whose path is known without being given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import ledger
from ._default import default_meter
from .settings import resolve

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["Ledger"]


class Ledger(ledger.Ledger):
    """Reads the ledger while others write it.

    Args:
        path: The ledger's file; by default the one that `init` settled. One that does not exist yet reads as empty.

    Raises:
        LedgerError: The file is no ledger, or cannot be read.
    """

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        super().__init__((default_meter.settings or resolve({})).ledger if path is None else path)
