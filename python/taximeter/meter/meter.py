"""The Python side of a meter: settings, measured blocks, flush and close."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from .. import _core, attribution
from ..concealed import concealed
from ..errors import ConfigError, DeliveryError
from .measurement import Measurement
from .pricing import Pricing
from .reports import DrainReport, FlushReport
from .shutdown import EXIT_SECONDS_IN_MEMORY, close_at_exit
from .warnings import Warnings

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from ..catalog.background import Refresher
    from ..fields import MeasureFields
    from ..settings import MeterSettings, Settings
    from ..settings.destination import Destination
    from ..types import Stats
    from .gevent import Wait
    from .outbox import Outbox

__all__ = ["Meter"]

log = logging.getLogger("taximeter")

# The longest wait in seconds, one week; `float("inf")` means the same.
MAX_WAIT_SECONDS: Final = 7 * 86_400.0
_reported_storage: set[str] = set()
"""The storage faults that this process has already logged."""


class Meter(Pricing):
    """A meter with its own settings. The functions of `taximeter` use a default meter.

    Args:
        destination: Where events go: `None` or `"ledger"` for the embedded ledger; a URL `cloudevents+https://…`; a `Destination`,
            which can hold a key; or a sequence of these.
        agent, feature, team, customer, user, session, tags: Attribution of every event, see `attribute`.
        state_dir: Directory of journals and ledger.
        enabled: `False` makes every call do nothing.
        debug: Log what the meter does, at DEBUG level.
        keep_provider_usage: Keep the provider's own usage report with each event of a client, unchanged.
        backend: How the journal is written: `"mapped"`, `"written"` or `"memory"`.
        budget_mb: The most megabytes of the journal on disk; by default a twentieth of the free space, at most 512. When they are
            used up, the oldest events are dropped and counted.
        max_age: How long events may wait for a destination over HTTP: at least 60 seconds, or a text such as `"12h"`; a week by
            default, `False` for no limit. A collector must remember event ids for as long to detect repeated events.
        linger_ms: How many milliseconds events wait for others, so that one transaction of the ledger stores them; 250 by default,
            0 for no wait. They are in the journal meanwhile. A flush, a report, a close or a full batch ends the wait.
        prices: Your own rates, multipliers and aliases, and how the catalog is updated; see `docs/pricing.md`.
        hosts: Which provider answers at an unknown host: `{"10.0.0.5:8000": "vllm"}`, or `"openai"` for a gateway to it.
        usage_hosts: Further hosts whose streams are asked for their usage; see `docs/troubleshooting.md`.

    Raises:
        ConfigError: A setting is invalid.
    """

    _override: Callable[[Settings], Settings] | None
    """Changes the settings that are put in force; see `overridden`."""
    _given: dict[str, Any]
    """The settings that were given as arguments."""

    def __init__(self, **settings: Unpack[MeterSettings]) -> None:
        if "destination" in settings:
            settings["destination"] = concealed(settings["destination"])
        from ..settings import MeterSettings, check_settings  # noqa: PLC0415 - see configure

        check_settings("Meter", settings, MeterSettings)
        self._prepare()
        self.configure(settings)
        self.check_storage()

    def with_destination(self, destination: Destination | None = None) -> Meter:
        """Return another meter with this one's current settings and another destination: the given one over HTTP, or the ledger.

        With a destination over HTTP, the meter has no default attribution, because such services get it in their events.

        Raises:
            ConfigError: A destination is invalid, or the state directory is not safe to use. The message says why.
        """
        from .. import settings as rules  # noqa: PLC0415 - see configure

        try:
            settings = self.settings or rules.resolve(self._given)
        except ConfigError as error:
            log.warning("taximeter keeps events in memory, because its settings cannot be read: %s", error)
            settings = rules.Settings(root="", backend="memory")
        meter = Meter.unconfigured()
        if destination is None:
            meter.settings = settings._replace(uses_ledger=True, destinations=())
        else:
            meter.settings = settings._replace(uses_ledger=False, destinations=(destination,), attribution={}, tags={})
        meter._apply(meter.settings)
        return meter

    def outbox(self, service: Destination, *, exit_seconds: float = 0.0) -> Outbox:
        """Return the requests to a service with its own wire format. They are delivered with this meter's current settings.

        Args:
            service: The service.
            exit_seconds: How long an exiting program waits for their delivery, in seconds; 0 for the same time as for events.

        Raises:
            ConfigError: The service is invalid, or the state directory is not safe to use. The message says why.
        """
        from .outbox import Outbox  # noqa: PLC0415 - not used for events

        meter = self.with_destination(service)
        meter.exit_seconds = exit_seconds
        return Outbox(meter, meter._core)

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
                log.warning("taximeter keeps events in memory, because its settings cannot be read: %s", error)

    def apply_settings(self) -> None:
        """Apply the settings again after one of their destinations has changed."""
        if self.settings is not None:
            self._apply(self.settings)

    @classmethod
    def unconfigured(cls) -> Self:
        """Return a meter that reads its settings at its first event."""
        meter = cls.__new__(cls)
        meter._prepare()
        return meter

    def _prepare(self) -> None:
        self.settings = None
        self._override = None
        self._given = {}
        self._warnings = Warnings()
        self._checked_root: str | None = None
        self.exit_seconds = 0.0
        """Seconds that an exiting program waits for delivery, together with other such meters; 0 for the default."""
        self.refresher: Refresher | None = None
        """Updates the price catalog in the background, if the settings ask for it."""
        this = weakref.ref(self)

        def warn(what: str, field: str, detail: str = "") -> None:
            if meter := this():
                meter._warnings.warn(what, field, detail)

        def configure() -> None:
            if meter := this():
                meter._before_first_event()

        self._core = _core.Meter(scope=attribution.current, warn=warn, configure=configure)
        if TYPE_CHECKING:
            self.track = self._core.track
        else:
            self.track = _core.track_function(self._core)
        atexit.register(close_at_exit, this)

    def configure(self, arguments: Mapping[str, Any]) -> Settings:
        """Resolve the settings from arguments, environment and file, and apply them."""
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
            log.setLevel(logging.DEBUG)
            log.debug("metering to %s", settings.root)
        self.settings, self._given = settings, given
        is_fresh = self.refresher is not None and self.refresher.wake()
        wants_refresh = settings.prices.refresh is not None and settings.root
        if settings.enabled and self._core.enabled and wants_refresh and not is_fresh:
            from ..catalog.background import Refresher  # noqa: PLC0415 - few programs use it

            self.refresher = Refresher(self)
        return settings

    def _apply(self, settings: Settings) -> None:
        self._core.configure(
            enabled=settings.enabled,
            state_dir=settings.root or None,
            ledger=settings.inside("ledger.db") if settings.uses_ledger and settings.root else None,
            linger_ms=settings.linger_ms,
            remotes=[destination.to_core() for destination in settings.destinations],
            backend=settings.backend,
            budget=settings.budget,
            max_age=settings.max_age,
            catalog=settings.inside("prices", "catalog.json") if settings.root else None,
            long_tail=settings.prices.long_tail,
            overrides=settings.prices.overrides,
            defaults={**settings.attribution, "tags": settings.tags},
            timeout=EXIT_SECONDS_IN_MEMORY,
        )
        # Only with such rules, because the check reads the catalog, which would slow down every other start.
        if any(f'"{kind}"' in settings.prices.overrides for kind in ("multipliers", "aliases")):
            for rule in self._core.unmatched_price_rules():
                log.warning("prices.%s matches no priced model; check its provider and name", rule)

    def check_storage(self) -> str | None:
        """Log a warning, once per reason, if events can only be kept in memory. It says why and what to set.

        Returns:
            The reason; `None` if events are kept on disk, metering is off, or the settings ask for memory.
        """
        settings = self.settings
        if settings is None or not settings.enabled or (settings.root and settings.backend == "memory"):
            return None
        self._checked_root = settings.root
        reason = self.storage_fault()
        if reason is not None and reason not in _reported_storage:
            _reported_storage.add(reason)
            log.warning(
                "taximeter keeps events in memory only, where they are lost when this process ends: %s. "
                "Set state_dir= or TAXIMETER_STATE_DIR to a directory that this user can write",
                reason,
            )
        return reason

    def storage_fault(self) -> str | None:
        """Check the state directory. Returns why the journal cannot be kept there; `None` if it can."""
        from ..settings import NO_HOME  # noqa: PLC0415 - see configure

        if self.settings is None or not self.settings.root:
            return NO_HOME.partition(";")[0]
        found = self._core.probe()
        if found is None:
            return None
        code, text = found
        return text if code is None else f"{self.settings.root}: {os.strerror(code)}"

    def _before_first_event(self) -> None:
        try:
            if self.settings is None:
                self.configure({})
            if self.settings is not None and self.settings.root != self._checked_root:
                self.check_storage()
        except Exception as error:
            log.warning("taximeter keeps events in memory, because its settings cannot be read: %s", error)

    def measure(self, *, provider: str, model: str, **fields: Unpack[MeasureFields]) -> Measurement:
        """Meter one call that you make yourself.

            with meter.measure(provider="anthropic", model="claude-sonnet-4-5", feature="summaries") as call:
                response = ...
                call.set_usage(response.usage)
            call.receipt.cost_usd

        The event's latency is that of the block. An exception passes through unchanged, and the event gets `status="error"` and the
        exception's class. The exception's message is not recorded.

        Args:
            provider: The provider that is called.
            model: The model that is called.
            **fields: What else `track` takes.

        Raises:
            TypeError: `track` does not take a field. The message has the most similar known name.
        """
        from ..fields import TRACK, check_names  # noqa: PLC0415 - programs that only track do without the table

        check_names("measure", fields, TRACK)
        return Measurement(self, {"provider": provider, "model": model, **fields})

    def flush(self, timeout: float = 5.0) -> FlushReport:
        """Wait until every destination has accepted or rejected all events so far.

        Does not raise by itself. Signal handlers run during the wait: Ctrl-C ends it, and exceptions of handlers are raised.

        With gevent, other greenlets continue to run. In asyncio, use `await asyncio.to_thread(taximeter.flush)`.

        Args:
            timeout: The longest time to wait, in seconds.

        Returns:
            The numbers of delivered, pending and dropped events.
        """
        if "gevent.monkey" not in sys.modules:
            return self._end(self._core.flush, timeout)
        from .gevent import in_gevent_thread  # noqa: PLC0415 - few programs use it

        return self._end(in_gevent_thread(self._core.flush), timeout)

    def flush_ledger(self, timeout: float = 2.0) -> bool:
        """Wait until the ledger has what is tracked so far, at most `timeout` seconds; other destinations are not waited for.

        Returns:
            Whether the ledger has it; true where the ledger is not a destination.
        """
        return self._core.flush_ledger(min(max(timeout, 0.0), MAX_WAIT_SECONDS))

    @property
    def ledger_path(self) -> Path:
        """The file of this meter's ledger.

        Raises:
            ConfigError: The settings cannot be read, or have no directory for it.
        """
        self._settle()
        return (self.settings or self.configure({})).ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it; see `close`."""
        self.close()

    def __repr__(self) -> str:
        settings = self.settings
        if settings is None:
            return "Meter(not configured yet)"
        places = [*(["ledger"] if settings.uses_ledger else []), *(one.host for one in settings.destinations)]
        return f"Meter(state_dir={settings.root!r}, destination={places!r}, enabled={self.enabled})"

    def close(self, timeout: float = 2.0) -> FlushReport:
        """Flush, and end delivery. Undelivered events stay on disk for the next process. For signals, see `flush`."""
        if self.refresher is not None:
            self.refresher.stop()
        return self._end(self._core.close, timeout)

    def _end(self, how: Wait, timeout: float) -> FlushReport:
        try:
            seconds = float(timeout)
        except (TypeError, ValueError, OverflowError):
            seconds = 0.0
        # NaN compares false with everything, so it becomes 0.
        seconds = min(seconds, MAX_WAIT_SECONDS) if seconds > 0 else 0.0
        return FlushReport(*how(seconds))

    def count_remark(self, what: str, field: str) -> None:
        """Count and warn about a problem found outside `track`, under its name in `stats()["remarks"]`."""
        self._core.count_remark(what, field)

    def stats(self) -> Stats:
        """Counts of this process: events tracked, refused by reason, remarked upon, and delivered by destination."""
        return self._core.stats()

    def prometheus(self) -> str:
        """Return `stats()` in Prometheus' text format, for a metrics endpoint of your service."""
        from .prometheus import render  # noqa: PLC0415 - see price

        return render([({}, self.stats())])

    def drain(self) -> int:
        """Deliver the events of processes that have ended.

        Returns:
            The number of events that the first destination accepted as new.

        Raises:
            DeliveryError: A destination does not accept them now. They are kept.
        """
        report = self.drain_report()
        if report.reasons:
            raise DeliveryError("; ".join(report.reasons))
        return report.delivered

    def drain_report(self) -> DrainReport:
        """Deliver the events of processes that have ended. Returns the results also if a destination does not accept them."""
        self._settle()
        found = self._core.drain()
        return DrainReport(found["delivered"], found["left"], found["expired"], found["damaged"], tuple(found["reasons"]))

    def destinations(self) -> Sequence[str]:
        """Return the names of the configured destinations, as in `stats()` and in journals."""
        self._settle()
        return self._core.destinations()

    def retry_dead_letters(self) -> int:
        """Deliver the events again that the configured destinations rejected permanently.

        Returns:
            How many events were sent again. If they are rejected again, they are dead letters again.

        Raises:
            DeliveryError: A destination does not accept them now, or they cannot be requeued. They are kept in the journal, from
                which they are delivered later, or as dead letters.
        """
        self._settle()
        count = self._core.retry_dead_letters()
        if count:
            self.drain()
        return count

    def drop_dead_letters(self) -> int:
        """Delete all dead letters.

        Returns:
            The number of deleted events.

        Raises:
            DeliveryError: The files cannot be deleted.
        """
        self._settle()
        return self._core.drop_dead_letters()

    @property
    def keeps_provider_usage(self) -> bool:
        """Whether events of clients keep the provider's usage report."""
        return self.settings is not None and self.settings.keep_provider_usage

    @property
    def enabled(self) -> bool:
        """Whether events are recorded."""
        return self._core.enabled
