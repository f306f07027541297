"""For tests of code that is metered: what it records, in memory and apart from everything else.

    from taximeter import testing

    def test_the_customer_is_billed():
        with testing.capture() as captured:
            answer("Hello?", customer="acme")
        (event,) = captured.events
        assert event["customer"] == "acme"

Under pytest, the fixture `taximeter_events` is such a block around one test.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .. import _default, instrument
from ..ledger import Ledger, Report
from ..meter import engine_of

if TYPE_CHECKING:
    from pathlib import Path

    from ..settings import Settings
    from ..types import Event

__all__ = ["Captured", "capture"]

_WAIT = 10.0
"""Seconds until the ledger has what was tracked; it takes milliseconds unless the machine is overloaded."""


class Captured:
    """The events that were recorded in a block of `capture`."""

    def __init__(self, path: Path) -> None:
        self._ledger = Ledger(path)
        self._first = 0
        self._kept: list[Event] | None = None

    @property
    def events(self) -> list[Event]:
        """The events in order of arrival, as the ledger has them, since the block began or since `clear`."""
        if self._kept is not None:
            return self._kept[self._first :]
        return self._read()[self._first :]

    def clear(self) -> None:
        """Forget the events so far."""
        self._first += len(self.events)

    def report(self, by: str | Sequence[str] = ("model",), **filters: Any) -> Report:
        """Return a report of the events of the whole block, while it runs; see `taximeter.Ledger.report`."""
        self._flush()
        return self._ledger.report(by, **filters)

    def _flush(self) -> None:
        if not engine_of(_default.default_meter).flush_ledger(_WAIT):
            raise RuntimeError(f"taximeter: the events were not written within {_WAIT:.0f} seconds; see taximeter.stats()")

    def _read(self) -> list[Event]:
        self._flush()
        return list(self._ledger.events())

    def _keep(self) -> None:
        self._kept = self._read()

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def __repr__(self) -> str:
        return f"Captured({len(self)} events)"


@contextmanager
def capture(*, clients: bool | Sequence[str] = True) -> Iterator[Captured]:
    """Record the events of a block apart from all others: those of the functions of `taximeter` and of metered clients.

    Whatever the settings are, and whatever `init` is called with in the block, the events stay in this process and its temporary
    directory: nothing is delivered elsewhere, prices are not downloaded, and `TAXIMETER_DISABLED` does not apply. Attribution and
    prices of the settings do. Afterwards the former settings are in force again. A `Meter` of the block's own is not affected.

    Args:
        clients: Whether clients are metered: all that are or will be imported, none, or some by name, as `instrument` of `init`.

    Yields:
        The events. They can be read within the block and after it.

    Raises:
        ConfigError: A setting is invalid.
    """
    engine = engine_of(_default.default_meter)
    directory = tempfile.mkdtemp(prefix="taximeter-")

    def isolated(settings: Settings) -> Settings:
        return settings._replace(
            root=directory, enabled=True, backend="memory", uses_ledger=True, destinations=(), max_age=None, budgets=(),
            prices=settings.prices._replace(refresh=None),
        )  # fmt: skip

    try:
        with engine.overridden(isolated), instrument.redirected(engine, clients):
            captured = Captured(engine.settled().ledger)
            try:
                yield captured
            finally:
                captured._keep()  # noqa: SLF001
    finally:
        shutil.rmtree(directory, ignore_errors=True)
