"""The definition of a client family, the hooked modules, and the meters that record the events of families and clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from .observers import EventFanout, observers_of

if TYPE_CHECKING:
    from ..meter import Engine

__all__ = ["Family", "hooked_modules", "is_bound", "mark", "mark_alike", "marked", "meter_of", "meters"]


class Family(NamedTuple):
    """A client family: which modules to hook, and how. Each is defined in a module of `providers` as `FAMILY`."""

    name: str
    """The name of the imported package, also used in `status()`."""
    hooks: Mapping[str, Callable[[ModuleType], None]]
    """The functions to run on modules once they are loaded."""
    capture_modules: tuple[str, ...]
    """Modules whose hook decides whether the family is bound or failed. Each version of the client has one of them."""
    owns: Callable[[object], bool]
    """Returns whether an object is a client of the family."""
    bind_client: Callable[[Any, Engine], None]
    """Instruments one client object for a meter."""
    distribution: str = ""
    """The name of the installed distribution, if it differs from `name`."""


_METER: Final = "_taximeter_meter"
meters: dict[str, Engine] = {}
"""The meter of each family. Families that are not in it are not recorded."""
hooked_modules: dict[str, ModuleType] = {}
"""The modules that were hooked."""


def mark(client: Any, meter: Engine) -> None:
    """Make a meter record the events of one client, whether or not other clients are recorded."""
    client.__dict__[_METER] = meter


def mark_alike(client: Any, copy: Any) -> None:
    """Make the meter of a client record the events of its copy, too."""
    if (meter := client.__dict__.get(_METER)) is not None:
        mark(copy, meter)


def meter_of(family: str, client: object) -> Engine | None:
    """Return the meter that records a call in progress; `None` if it is not recorded."""
    meter = getattr(client, "__dict__", {}).get(_METER) or meters.get(family)
    meter = meter if meter is not None and meter.enabled else None
    watching = observers_of(family)
    # A fan-out has the attributes of a meter that recording needs.
    return cast("Engine", EventFanout(meter, watching, family)) if watching else meter


def marked(part: object) -> Engine | None:
    """Return the meter of one client, from it or from one of its parts; `None` if it has no meter of its own."""
    holders = (part, *(getattr(part, name, None) for name in ("_client", "_api_client", "sdk_configuration")))
    return next((meter for one in holders if (meter := getattr(one, "__dict__", {}).get(_METER)) is not None), None)


def is_bound(family: Family) -> bool:
    """Return whether the family's capture point is hooked."""
    return any(name in hooked_modules for name in family.capture_modules)
