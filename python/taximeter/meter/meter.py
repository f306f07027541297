"""The public face of a meter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from ..concealed import concealed
from .admissions import Admissions
from .engine import Engine
from .pricing import Pricing
from .reports import DrainReport, FlushReport

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from ..budgets.admission import Estimate
    from ..fields import MeasureFields
    from ..settings import MeterSettings, Settings
    from ..types import Stats
    from .measurement import Measurement

__all__ = ["Meter", "engine_of", "meter_with"]


class Meter(Pricing, Admissions):
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
        budget_state_mb: The most megabytes of the counts of budgets, 256 by default, for a million keys; see `docs/budgets.md`.
        max_age: How long events may wait for a destination over HTTP: at least 60 seconds, or a text such as `"12h"`; a week by
            default, `False` for no limit. A collector must remember event ids for as long to detect repeated events.
        linger_ms: How many milliseconds events wait for others, so that one transaction of the ledger stores them; 250 by default,
            0 for no wait. They are in the journal meanwhile. A flush, a report, a close or a full batch ends the wait.
        retention: The age at which the ledger deletes calls, such as `"400d"`; by default it keeps them.
        timezone: The time zone of reports: a name such as `Europe/Paris`, or `UTC`; by default the machine's.
        prices: Your own rates, multipliers and aliases, and how the catalog is updated; see `docs/pricing.md`.
        budgets: Limits for calls: `Budget`s, or mappings with the same fields; see `docs/budgets.md`.
        hosts: Which provider answers at an unknown host: `{"10.0.0.5:8000": "vllm"}`, or `"openai"` for a gateway to it.
        usage_hosts: Further hosts whose streams are asked for their usage; see `docs/troubleshooting.md`.

    Raises:
        ConfigError: A setting is invalid.
    """

    def __init__(self, **settings: Unpack[MeterSettings]) -> None:
        if "destination" in settings:
            settings["destination"] = concealed(settings["destination"])
        from ..settings import MeterSettings, check_settings  # noqa: PLC0415 - see Engine.configure

        check_settings("Meter", settings, MeterSettings)
        self._use(Engine())
        self._engine.configure(settings)
        self._engine.check_storage()

    def _use(self, engine: Engine) -> None:
        self._engine = engine
        self.track = engine.track

    @property
    def settings(self) -> Settings | None:
        """The settings in force; `None` until the first event needs them."""
        return self._engine.settings

    def measure(self, *, provider: str, model: str, reserve: bool | Estimate = False, **fields: Unpack[MeasureFields]) -> Measurement:
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
            reserve: Whether the budgets are asked before the block, as `reserve` does. A mapping says what is known of the call:
                `{"input_tokens": 1200, "max_output_tokens": 500}`. If it does not fit, `BudgetExceeded` is raised, the block does not
                run, and no event is recorded.
            **fields: What else `track` takes.

        Raises:
            TypeError: `track` does not take a field. The message has the most similar known name.
        """
        from ..fields import TRACK, check_names  # noqa: PLC0415 - programs that only track do without the table
        from .measurement import Measurement  # noqa: PLC0415

        check_names("measure", fields, TRACK)
        estimate: Estimate | None = None if reserve is False else {} if reserve is True else reserve
        return Measurement(self._engine, {"provider": provider, "model": model, **fields}, estimate)

    def flush(self, timeout: float = 5.0) -> FlushReport:
        """Wait until every destination has accepted or rejected all events so far.

        Does not raise by itself. Signal handlers run during the wait: Ctrl-C ends it, and exceptions of handlers are raised.

        With gevent, other greenlets continue to run. In asyncio, use `await asyncio.to_thread(taximeter.flush)`.

        Args:
            timeout: The longest time to wait, in seconds.

        Returns:
            The numbers of delivered, pending and dropped events.
        """
        return self._engine.flush(timeout)

    @property
    def ledger_path(self) -> Path:
        """The file of this meter's ledger.

        Raises:
            ConfigError: The settings cannot be read, or have no directory for it.
        """
        return self._engine.settled().ledger

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
        return self._engine.close(timeout)

    def stats(self) -> Stats:
        """Count of this process: events tracked, refused by reason, remarked upon, and delivered by destination."""
        return self._engine.stats()

    def prometheus(self, *, calls: bool = True, by: Sequence[str] = (), openmetrics: bool = False) -> str:
        """Return metrics as Prometheus' text, for an endpoint of your service.

        They are `stats()`, what is used of the budgets (of the 1,000 keys that are closest to their limit), and the calls, tokens and
        costs in the ledger.

        Args:
            calls: Whether to add the calls in the ledger. All processes of a state directory share it, so if several of them are
                scraped, only one should.
            by: More labels of calls, such as `team` and `feature`.
            openmetrics: Whether to write OpenMetrics 1.0, which a scraper asks for in its `Accept` header.

        Raises:
            ValueError: There is no such label.
        """
        from ..exposition import expose  # noqa: PLC0415 - see price
        from .prometheus import families, of_ledger  # noqa: PLC0415

        settings = self.settings
        found = families([({}, self.stats())], self._engine.standings())
        if calls and settings is not None and settings.uses_ledger and settings.root:
            found += of_ledger(settings.ledger, by, settings.timezone)
        return expose(found, is_openmetrics=openmetrics)

    def drain(self) -> int:
        """Deliver the events of processes that have ended.

        Returns:
            The number of events that the first destination accepted as new.

        Raises:
            DeliveryError: A destination does not accept them now. They are kept.
        """
        return self._engine.drain()

    def drain_report(self) -> DrainReport:
        """Deliver the events of processes that have ended. Returns the results also if a destination does not accept them."""
        return self._engine.drain_report()

    def destinations(self) -> Sequence[str]:
        """Return the names of the configured destinations, as in `stats()` and in journals."""
        self._engine.settled()
        return self._engine.core.destinations()

    def retry_dead_letters(self) -> int:
        """Deliver the events again that the configured destinations rejected permanently.

        Returns:
            How many events were sent again. If they are rejected again, they are dead letters again.

        Raises:
            DeliveryError: A destination does not accept them now, or they cannot be requeued. They are kept in the journal, from
                which they are delivered later, or as dead letters.
        """
        return self._engine.retry_dead_letters()

    def drop_dead_letters(self) -> int:
        """Delete all dead letters.

        Returns:
            The number of deleted events.

        Raises:
            DeliveryError: The files cannot be deleted.
        """
        self._engine.settled()
        return self._engine.core.drop_dead_letters()

    @property
    def enabled(self) -> bool:
        """Whether events are recorded."""
        return self._engine.enabled


Kind = TypeVar("Kind", bound=Meter)


def engine_of(meter: Meter) -> Engine:
    """Return what a meter works with. Only packages of `taximeter` use it."""
    return meter._engine


def meter_with(engine: Engine, kind: type[Kind]) -> Kind:
    """Return a meter of a class that works with an engine, which may have no settings yet."""
    meter = kind.__new__(kind)
    meter._use(engine)
    return meter
