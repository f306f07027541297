"""The functions of `taximeter`: one meter that all share, and the instrumentation that feeds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from .attribution import bind
from .concealed import concealed
from .meter import Meter, set_default

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .instrument import Status
    from .settings import InitSettings
    from .settings.destination import Destination

__all__ = [
    "Meter",
    "bind",
    "close",
    "default_meter",
    "drain",
    "flush",
    "init",
    "ledger_meter",
    "measure",
    "price",
    "prometheus",
    "stats",
    "status",
    "track",
    "uninstrument",
    "wrap",
]

Client = TypeVar("Client")

default_meter = Meter.unconfigured()
"""The meter behind the functions of this package."""
set_default(default_meter)
_own_ledger: Meter | None = None

track = default_meter.track
measure = default_meter.measure
price = default_meter.price
flush = default_meter.flush
close = default_meter.close
stats = default_meter.stats
prometheus = default_meter.prometheus
drain = default_meter.drain


def ledger_meter() -> Meter:
    """The meter that brings events to the ledger: the one that all share, or one of its own where that has other destinations."""
    global _own_ledger  # noqa: PLW0603 - made once, when it is needed
    if default_meter.settings is None or default_meter.settings.uses_ledger:
        return default_meter
    if _own_ledger is None or _own_ledger.settings is None or _own_ledger.settings.root != default_meter.settings.root:
        _own_ledger = default_meter.with_destination()
    return _own_ledger


def init(destination: str | Destination | Sequence[str | Destination] | None = None, **settings: Unpack[InitSettings]) -> Meter:
    """Start metering: settle the settings and instrument the provider clients.

    Calling it again changes what it is given and leaves the rest.

    Every argument can also come from the environment (`TAXIMETER_TEAM`, …) or from `taximeter.toml`.

    Args:
        destination: Where events go: `None` or `"ledger"`, the embedded ledger; a URL `cloudevents+https://…`; a `Destination`, which
            can hold a key; or a sequence of them.
        agent, feature, team, customer, user, session, tags: Attribution of every event; see `attribute`.
        instrument: `True` for every client that is or will be imported, `False` for none, or their names.
        state_dir: Directory of journals and ledger; by default the platform's place for state.
        durability: `"process"`: events survive the process, however it dies.
        enabled: `False` makes metering do nothing. `TAXIMETER_DISABLED=1` does so from outside.
        debug: Log what the meter does, at DEBUG level.
        keep_provider_usage: Keep the provider's own usage object beside each event of a client: names and counts as they came.
        backend: How the journal is written: `"mapped"`, `"written"` or `"memory"`.
        budget_mb: Most megabytes of the journal on disk; by default a twentieth of the free space, at most 512. When they are used
            up, the oldest events are given up, and counted.
        max_age: How long events may wait for a destination over HTTP: seconds from 60 on, or a text such as `"12h"`; a week by
            default, `False` for ever. A collector that drops what it has by id has to remember ids for as long.
        prices: Rates, multipliers and aliases of your own, and whether the catalog is kept up to date: a mapping, or a file of
            it; see `docs/pricing.md`.

    Returns:
        The meter that the functions of this package share.

    Raises:
        ConfigError: A setting breaks its rule; the message names it and where it comes from.
    """
    destination = concealed(destination)
    from . import instrument as instrumentation  # noqa: PLC0415 - only those who call init() pay for it
    from .settings import InitSettings, check_names  # noqa: PLC0415

    check_names("init", settings, InitSettings)
    chosen = default_meter.configure({"destination": destination, **settings}).instrument
    default_meter.check_storage()
    if chosen is False:
        instrumentation.deactivate()
    else:
        instrumentation.activate(default_meter, None if chosen is True else chosen)
    return default_meter


def wrap(client: Client) -> Client:
    """Meter one client object and the copies made of it, and return it. Other clients of its class are not metered.

    Raises:
        TypeError: The client is of no family that can be metered.
    """
    from . import instrument as instrumentation  # noqa: PLC0415 - see init

    instrumentation.activate_for(default_meter, client)
    return client


def uninstrument() -> None:
    """Stop metering clients. Keywords and headers of taximeter are still taken out of calls."""
    from . import instrument as instrumentation  # noqa: PLC0415 - see init

    instrumentation.deactivate()


def status() -> dict[str, Status]:
    """What is instrumented: for each client family whether it is bound, absent or failed, its version, and why."""
    from . import instrument as instrumentation  # noqa: PLC0415 - see init

    return instrumentation.status()
