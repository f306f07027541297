"""`taximeter.Ledger`: a ledger reader whose default path comes from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import ledger
from ._default import default_meter
from .ledger.urls import is_clickhouse
from .meter import engine_of
from .settings import resolve

if TYPE_CHECKING:
    from os import PathLike

    from .settings.destination import Destination
    from .zones import Zone

__all__ = ["Ledger"]


class Ledger(ledger.Ledger):
    """Reads the ledger, also while other processes write it.

    The ledger of this process's own meter has what was tracked before: it is waited for up to 2 seconds.

    Args:
        path: The ledger's file; by default the one from the settings. A missing file reads as empty. Or a `Destination` in
            ClickHouse, or its URL `clickhouse+https://host:8443/DATABASE`: the keys are those of the destination with this URL in the
            settings, else `CLICKHOUSE_USER` and `CLICKHOUSE_PASSWORD`.
        timezone: The time zone of its reports: a name such as `Europe/Paris`, `UTC`, or a `tzinfo`; by default the one from the
            settings.

    Raises:
        LedgerError: The file is not a ledger, or cannot be read.
        ConfigError: There is no such time zone, or the URL is invalid.
    """

    def __init__(self, path: str | PathLike[str] | Destination | None = None, *, timezone: Zone | None = None) -> None:
        settings = default_meter.settings or resolve({})
        source = settings.ledger if path is None else path
        if isinstance(source, str) and is_clickhouse(source):
            from .ledger.clickhouse import destination_of  # noqa: PLC0415 - as in the base class

            source = destination_of(source, settings.destinations)
        super().__init__(source, timezone=settings.timezone if timezone is None else timezone)

    def _bring_up_to_date(self) -> None:
        settings = default_meter.settings
        if settings is not None and settings.uses_ledger and settings.root and settings.ledger == self._path:
            engine_of(default_meter).flush_ledger()
