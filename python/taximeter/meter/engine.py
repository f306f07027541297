"""The inside of a meter: its settings in force and its part of the extension. `Meter` is its public face."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from .. import _core, _forked_imports, attribution  # noqa: F401 - the second registers a fork handler
from ..errors import ConfigError, DeliveryError
from ..log import log
from .reports import DrainReport, FlushReport
from .shutdown import EXIT_SECONDS_IN_MEMORY, close_at_exit

if TYPE_CHECKING:
    from ..catalog.background import Refresher, Schedule
    from ..catalog.document import Document
    from ..catalog.merge import Merged
    from ..settings import Settings
    from ..settings.destination import Destination
    from ..types import Stats
    from .gevent import Wait
    from .limits import Limits
    from .warnings import Warnings

__all__ = ["MAX_WAIT_SECONDS", "Engine"]

# The longest wait in seconds, one week; `float("inf")` means the same.
MAX_WAIT_SECONDS: Final = 7 * 86_400.0
_ABOUT_BUDGETS: Final = ("budget_crossed", "budget_boundaries")
_reported_storage: set[str] = set()
"""The storage faults that this process has already logged."""


class Engine:
    """The inside of a meter, for the packages of `taximeter` only; see `engine_of`. It reads its settings at its first event."""

    settings: Settings | None
    """The settings in force; `None` until they are needed."""
    sets_budgets: bool
    """Whether the budgets of the settings are put in force. The command line does not add those of a file to a running service."""
    exit_seconds: float
    """Seconds that an exiting program waits for delivery, together with other such meters; 0 for the default."""

    def __init__(self) -> None:
        self.settings = None
        self.sets_budgets = True
        self.exit_seconds = 0.0
        self._given: dict[str, Any] = {}
        """The settings that were given as arguments."""
        self._override: Callable[[Settings], Settings] | None = None
        """Changes the settings that are put in force; see `overridden`."""
        self._warnings: Warnings | None = None
        self._checked_root: str | None = None
        self._refresher: Refresher | None = None
        """Updates the price catalog in the background, if the settings ask for it."""
        self._limits: Limits | None = None
        this = weakref.ref(self)

        def warn(what: str, field: str, detail: str = "") -> None:
            if engine := this():
                if what in _ABOUT_BUDGETS:
                    engine.act_on_budgets(what)
                else:
                    engine.warnings.warn(what, field, detail)

        def configure() -> None:
            if engine := this():
                engine.before_first_event()

        self.core = _core.Meter(scope=attribution.current, warn=warn, configure=configure)
        self.budgets = _core.Budgets(self.core)
        if TYPE_CHECKING:
            self.track = self.core.track
        else:
            self.track = _core.track_function(self.core)
        atexit.register(close_at_exit, this)

    def configure(self, arguments: Mapping[str, Any]) -> Settings:
        """Resolve the settings from arguments, environment and file, and apply them.

        Raises:
            ConfigError: A setting is invalid.
        """
        from .. import settings as rules  # noqa: PLC0415 - a tenth of the import time, which programs that do not meter save

        # Arguments of earlier calls stay in force unless this call overrides them, so a library's init() does not redirect its host.
        given = self._given | {name: value for name, value in arguments.items() if value is not None}
        settings = rules.resolve(given)
        if self._override is not None:
            settings = self._override(settings)
        try:
            self._apply(settings)
        except TypeError as error:
            raise ConfigError(str(error)) from None
        if settings.debug:
            log().setLevel("DEBUG")
            log().debug("metering to %s", settings.root)
        self.settings, self._given = settings, given
        is_fresh = self._refresher is not None and self._refresher.wake()
        wants_refresh = settings.prices.refresh is not None and settings.root
        if settings.enabled and self.core.enabled and wants_refresh and not is_fresh:
            from ..catalog.background import Refresher  # noqa: PLC0415 - few programs use it

            self._refresher = Refresher(self)
        return settings

    def settled(self) -> Settings:
        """Return the settings in force. Read them now if no event has done so yet.

        Raises:
            ConfigError: A setting is invalid.
        """
        return self.settings or self.configure({})

    def apply_again(self) -> None:
        """Apply the settings again after one of their destinations has changed."""
        if self.settings is not None:
            self._apply(self.settings)

    @contextmanager
    def overridden(self, override: Callable[[Settings], Settings]) -> Iterator[None]:
        """Change the settings in force for a block, whatever is configured within it; then those from before are in force again.

        Raises:
            ConfigError: A setting is invalid.
        """
        before = self._given, self._override
        self._override = override
        try:
            self.configure({})
            yield
        finally:
            self._given, self._override = before
            try:
                self.configure({})
            except ConfigError as error:
                _warn_of_memory(error)

    def with_destination(self, destination: Destination | None = None) -> Engine:
        """Return another engine with these settings and another destination: the given one over HTTP, or the ledger.

        With a destination over HTTP, it has no default attribution, because such services get it in their events.

        Raises:
            ConfigError: A destination is invalid, or the state directory is not safe to use. The message says why.
        """
        from .. import settings as rules  # noqa: PLC0415 - see configure

        try:
            settings = self.settings or rules.resolve(self._given)
        except ConfigError as error:
            _warn_of_memory(error)
            settings = rules.Settings(root="", backend="memory")
        other = Engine()
        if destination is None:
            other.settings = settings._replace(uses_ledger=True, destinations=(), budgets=())
        else:
            other.settings = settings._replace(uses_ledger=False, destinations=(destination,), attribution={}, tags={}, budgets=())
        other.apply_again()
        return other

    def _apply(self, settings: Settings) -> None:
        self.core.configure(
            enabled=settings.enabled,
            state_dir=settings.root or None,
            ledger=settings.inside("ledger.db") if settings.uses_ledger and settings.root else None,
            linger_ms=settings.linger_ms,
            retention=settings.retention,
            remotes=[destination.to_core() for destination in settings.destinations],
            backend=settings.backend,
            budget=settings.budget,
            budget_state=settings.budget_state,
            max_age=settings.max_age,
            catalog=settings.inside("prices", "catalog.json") if settings.root else None,
            long_tail=settings.prices.long_tail,
            overrides=settings.prices.overrides,
            defaults={**settings.attribution, "tags": settings.tags},
            timeout=EXIT_SECONDS_IN_MEMORY,
        )
        # Only with such rules, because the check reads the catalog, which would slow down every other start.
        if any(f'"{kind}"' in settings.prices.overrides for kind in ("multipliers", "aliases", "base")):
            for rule in self.core.unmatched_price_rules():
                log().warning("prices.%s matches no priced model; check its provider and name", rule)

        if settings.enabled and settings.budgets and self.sets_budgets:
            self.limits.put_in_force(settings.budgets)

    @property
    def limits(self) -> Limits:
        """What Python does for the budgets. It is loaded with the first one."""
        if self._limits is None:
            from .limits import Limits  # noqa: PLC0415 - most programs have no budgets

            self._limits = Limits(self)
        return self._limits

    def act_on_budgets(self, what: str) -> None:
        """Act on a crossed threshold, or on periods that will soon be over. Never raises."""
        try:
            if what == "budget_crossed":
                self.limits.act()
            else:
                self.limits.renew()
        except Exception:
            log().warning("taximeter: this is a fault of taximeter; please report it (%s)", what, exc_info=True)

    def tell_of_budgets(self) -> None:
        """Log the warnings of the core about budgets."""
        for what, detail in self.budgets.take_warnings():
            self.warnings.warn(what, detail)

    def check_storage(self) -> None:
        """Log a warning, once per reason, if events can only be kept in memory. It says why and what to set.

        Nothing is logged if metering is off, or if the settings ask for memory.
        """
        settings = self.settings
        if settings is None or not settings.enabled or (settings.root and settings.backend == "memory"):
            return
        self._checked_root = settings.root
        reason = self.storage_fault()
        if reason is not None and reason not in _reported_storage:
            _reported_storage.add(reason)
            log().warning(
                "taximeter keeps events in memory only, where they are lost when this process ends: %s. "
                "Set state_dir= or TAXIMETER_STATE_DIR to a directory that this user can write",
                reason,
            )

    def storage_fault(self) -> str | None:
        """Check the state directory. Return why the journal cannot be kept there; `None` if it can."""
        from ..settings import NO_HOME  # noqa: PLC0415 - see configure

        if self.settings is None or not self.settings.root:
            return NO_HOME.partition(";")[0]
        found = self.core.probe()
        if found is None:
            return None
        code, text = found
        return text if code is None else f"{self.settings.root}: {os.strerror(code)}"

    def before_first_event(self) -> None:
        """Read the settings, and check the state directory. Never raises."""
        try:
            if self.settled().root != self._checked_root:
                self.check_storage()
        except Exception as error:
            _warn_of_memory(error)

    @property
    def warnings(self) -> Warnings:
        """The warnings that were logged. Their texts are loaded with the first one."""
        if self._warnings is None:
            from .warnings import Warnings  # noqa: PLC0415 - most programs have none

            self._warnings = Warnings()
        return self._warnings

    @property
    def enabled(self) -> bool:
        """Whether events are recorded."""
        return self.core.enabled

    @property
    def keeps_provider_usage(self) -> bool:
        """Whether events of clients keep the provider's usage report."""
        return self.settings is not None and self.settings.keep_provider_usage

    def count_remark(self, what: str, field: str) -> None:
        """Count and warn about a problem found outside `track`, under its name in `stats()["remarks"]`."""
        self.core.count_remark(what, field)

    def stats(self) -> Stats:
        """Return the counts; see `Meter.stats`."""
        if self._limits is not None and self._limits.is_renewal_due():
            self.act_on_budgets("budget_boundaries")
        self.tell_of_budgets()
        counts = self.core.stats()
        counts["budgets"] = self.budgets.stats()
        return counts

    def standings(self) -> list[dict[str, Any]]:
        """Return what is used of all budgets; see `_core.Budgets.all_standings`. Empty if it cannot be read: `stats()` says why.

        Each has its budget's `by` too; `None` if the budget has been removed meanwhile.
        """
        import json  # noqa: PLC0415 - few programs ask

        try:
            by = {one["name"]: one.get("by", []) for one in json.loads(self.budgets.definitions())}
            return [{**one, "by": by.get(one["budget"])} for one in self.budgets.all_standings()]
        except (OSError, ValueError):
            return []

    def flush(self, timeout: float) -> FlushReport:
        """Wait for delivery; see `Meter.flush`."""
        if "gevent.monkey" not in sys.modules:
            return _wait(self.core.flush, timeout)
        from .gevent import in_gevent_thread  # noqa: PLC0415 - few programs use it

        return _wait(in_gevent_thread(self.core.flush), timeout)

    def flush_ledger(self, timeout: float = 2.0) -> bool:
        """Wait until the ledger has what is tracked so far, at most `timeout` seconds; other destinations are not waited for.

        Returns:
            Whether the ledger has it; true where the ledger is not a destination.
        """
        return self.core.flush_ledger(min(max(timeout, 0.0), MAX_WAIT_SECONDS))

    def close(self, timeout: float) -> FlushReport:
        """Flushes, and ends delivery; see `Meter.close`."""
        if self._refresher is not None:
            self._refresher.stop()
        if self._limits is not None:
            self._limits.close(_seconds(timeout))
        return _wait(self.core.close, timeout)

    def drain_report(self) -> DrainReport:
        """Deliver the events of processes that have ended. Return the results also if a destination does not accept them."""
        self.settled()
        found = self.core.drain()
        failures, elsewhere = map(tuple, found["reasons"])
        return DrainReport(found["delivered"], found["left"], found["expired"], found["damaged"], failures + elsewhere, failures)

    def drain(self, *, others: bool = True) -> int:
        """Deliver the events of processes that have ended; see `Meter.drain`.

        Args:
            others: Whether events for destinations that are not in the settings are an error.
        """
        report = self.drain_report()
        if reasons := report.reasons if others else report.failures:
            raise DeliveryError("; ".join(reasons))
        return report.delivered

    def retry_dead_letters(self) -> int:
        """Deliver dead letters again; see `Meter.retry_dead_letters`."""
        self.settled()
        count = self.core.retry_dead_letters()
        if count:
            self.drain(others=False)
        return count

    def catalog_document(self) -> Document:
        """Return the downloaded catalog, or the embedded one if that is newer."""
        from ..catalog.store import current  # noqa: PLC0415 - rarely needed

        return current(self.settled().catalog)

    def update_catalog(self, source: str | None = None, *, accept: Iterable[str] = ()) -> Merged | None:
        """Download the price catalog and put it in force; see `Meter.update_catalog`."""
        from ..catalog.update import update  # noqa: PLC0415 - see catalog_document

        settings = self.settled()
        chosen = settings.prices.source if source is None else source
        return update(settings.catalog, chosen, self._put_in_force, accept=accept)

    def _put_in_force(self, document: Document) -> None:
        from ..catalog.document import render  # noqa: PLC0415 - see catalog_document

        if self.core.catalog != f"{document['source']}-{document['version']}":
            self.core.set_catalog(render(document))

    def refresh_schedule(self) -> Schedule | None:
        """Return how often the settings ask for an update of the catalog; `None` for never."""
        from ..catalog.background import Schedule  # noqa: PLC0415 - see catalog_document

        settings = self.settings
        if settings is None or not settings.enabled or settings.prices.refresh is None:
            return None
        return Schedule(settings.catalog, settings.prices.refresh)


def _warn_of_memory(error: Exception) -> None:
    log().warning("taximeter keeps events in memory, because its settings cannot be read: %s", error)


def _wait(how: Wait, timeout: float) -> FlushReport:
    return FlushReport(*how(_seconds(timeout)))


def _seconds(timeout: Any) -> float:
    try:
        seconds = float(timeout)
    except (TypeError, ValueError, OverflowError):
        seconds = 0.0
    # NaN compares false with everything, so it becomes 0.
    return min(seconds, MAX_WAIT_SECONDS) if seconds > 0 else 0.0
