"""The functions of `taximeter`: the default meter, and the instrumentation that uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from .attribution import bind
from .concealed import concealed
from .meter import Engine, meter_with, set_default
from .meter import Meter as _Meter

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .instrument import Status
    from .settings import InitSettings
    from .settings.destination import Destination

__all__ = [
    "Meter",
    "bind",
    "check",
    "close",
    "default_meter",
    "drain",
    "flush",
    "init",
    "ledger_meter",
    "measure",
    "models",
    "price",
    "prometheus",
    "reprice",
    "reserve",
    "retry_dead_letters",
    "stats",
    "status",
    "track",
    "uninstrument",
    "wrap",
]

Client = TypeVar("Client")


class Meter(_Meter):
    __doc__ = _Meter.__doc__

    def wrap(self, client: Client) -> Client:
        """Meter one client object and its copies with this meter. Other clients of the same class are not affected.

        Returns:
            The same object.

        Raises:
            TypeError: The object is not a client that can be metered.
        """
        from . import instrument as instrumentation  # noqa: PLC0415 - see init

        instrumentation.activate_for(self._engine, client)
        return client

    def instrument(self, clients: bool | Sequence[str] = True) -> None:  # noqa: FBT002 - as in `init`
        """Send the events of provider clients to this meter, in place of the one that had them.

        Args:
            clients: `True` for all clients that are or will be imported, `False` for none, or their names.

        Raises:
            ConfigError: A name is not that of a client family.
        """
        from . import instrument as instrumentation  # noqa: PLC0415 - see init

        if clients is False:
            instrumentation.deactivate()
        else:
            instrumentation.activate(self._engine, None if clients is True else clients)


_engine = Engine()
default_meter = meter_with(_engine, Meter)
"""The default meter, which the functions of this package use."""
set_default(default_meter)
_own_ledger: _Meter | None = None

track = default_meter.track
measure = default_meter.measure
check = default_meter.check
reserve = default_meter.reserve
price = default_meter.price
flush = default_meter.flush
close = default_meter.close
stats = default_meter.stats
prometheus = default_meter.prometheus
drain = default_meter.drain
reprice = default_meter.reprice
models = default_meter.models
retry_dead_letters = default_meter.retry_dead_letters


def ledger_meter() -> _Meter:
    """Return a meter that writes to the ledger: the default meter, or another one if that has other destinations."""
    global _own_ledger  # noqa: PLW0603 - created on first use
    settings = default_meter.settings
    if settings is None or settings.uses_ledger:
        return default_meter
    if _own_ledger is None or _own_ledger.settings is None or _own_ledger.settings.root != settings.root:
        _own_ledger = meter_with(_engine.with_destination(), _Meter)
    return _own_ledger


def init(destination: str | Destination | Sequence[str | Destination] | None = None, **settings: Unpack[InitSettings]) -> Meter:
    """Start metering: resolve the settings and instrument provider clients.

    A second call changes the given settings and keeps the others.

    Every argument can also be set in the environment (`TAXIMETER_TEAM`, …) or in `taximeter.toml`.

    Args:
        destination: Where events go: `None` or `"ledger"` for the embedded ledger; a URL `cloudevents+https://…`; a `Destination`,
            which can hold a key; or a sequence of these.
        agent, feature, team, customer, user, session, tags: Attribution of every event; see `attribute`.
        instrument: `True` for all clients that are or will be imported, `False` for none, or their names.
        state_dir: Directory of journals and ledger; by default the platform's place for state.
        enabled: `False` makes metering do nothing. `TAXIMETER_DISABLED=1` does so from outside.
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
        prices: Your own rates, multipliers and aliases, and how the catalog is updated: a mapping, or the path of a file; see
            `docs/pricing.md`.
        budgets: Limits for calls: `Budget`s, or mappings with the same fields; see `docs/budgets.md`.
        hosts: Which provider answers at an unknown host: `{"10.0.0.5:8000": "vllm"}`, or `"openai"` for a gateway to it.
        usage_hosts: Further hosts whose streams are asked for their usage; see `docs/troubleshooting.md`.

    Returns:
        The default meter.

    Raises:
        ConfigError: A setting is invalid. The message names it and its source.
    """
    destination = concealed(destination)
    from .settings import InitSettings, check_settings  # noqa: PLC0415

    check_settings("init", settings, InitSettings)
    chosen = _engine.configure({"destination": destination, **settings}).instrument
    _engine.check_storage()
    default_meter.instrument(chosen)
    return default_meter


def wrap(client: Client) -> Client:
    """Meter one client object and its copies. Other clients of the same class are not metered.

    Returns:
        The same object.

    Raises:
        TypeError: The object is not a client that can be metered.
    """
    return default_meter.wrap(client)


def uninstrument() -> None:
    """Stop metering clients. Keywords and headers of taximeter are still removed from calls."""
    from . import instrument as instrumentation  # noqa: PLC0415 - see init

    instrumentation.deactivate()


def status() -> dict[str, Status]:
    """Return the status of each client family: whether it is bound, absent or failed, its version, and the reason."""
    from . import instrument as instrumentation  # noqa: PLC0415 - see init

    return instrumentation.status()
