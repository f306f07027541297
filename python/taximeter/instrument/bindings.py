"""The form of a client family, what is hooked, and the meter that the events of a family or of one client go to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from .observers import EventFanout, observers_of

if TYPE_CHECKING:
    from ..meter import Meter

__all__ = ["Family", "hooked_modules", "is_bound", "mark", "mark_alike", "meter_of", "meters"]


class Family(NamedTuple):
    """One client family: which modules to hook, and how. Each is in a module of `providers`, as `FAMILY`."""

    name: str
    """The package that is imported, and the name in `status()`."""
    hooks: Mapping[str, Callable[[ModuleType], None]]
    """What to do to a module once it is loaded."""
    capture_modules: tuple[str, ...]
    """The modules, of which each version has one, whose hook decides between bound and failed."""
    owns: Callable[[object], bool]
    """Whether an object is a client of the family."""
    bind_client: Callable[[Any, Meter], None]
    """Instruments one client object for a meter."""
    distribution: str = ""
    """What it is installed as, where that is not its name."""


_METER: Final = "_taximeter_meter"
meters: dict[str, Meter] = {}
"""Where the events of each family go; a family that is not there is not recorded."""
hooked_modules: dict[str, ModuleType] = {}
"""Modules that were hooked."""


def mark(client: Any, meter: Meter) -> None:
    """Has the events of one client go to a meter, whatever becomes of those of the others."""
    client.__dict__[_METER] = meter


def mark_alike(client: Any, copy: Any) -> None:
    """Has the events of a client's copy go where those of the client go."""
    if (meter := client.__dict__.get(_METER)) is not None:
        mark(copy, meter)


def meter_of(family: str, client: object) -> Meter | None:
    """Where the events go of a call that is being made; `None` when they are not recorded."""
    meter = getattr(client, "__dict__", {}).get(_METER) or meters.get(family)
    meter = meter if meter is not None and meter.enabled else None
    watching = observers_of(family)
    # It has of a meter what responses are recorded with.
    return cast("Meter", EventFanout(meter, watching, family)) if watching else meter


def is_bound(family: Family) -> bool:
    """Whether responses pass the capture point."""
    return any(name in hooked_modules for name in family.capture_modules)
