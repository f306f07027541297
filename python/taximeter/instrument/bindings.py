"""The definition of a client family, the hooked modules, and the meters that record the events of families and clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from .observers import EventFanout, observers_of

if TYPE_CHECKING:
    from ..meter import Engine

__all__ = [
    "Family", "hooked_family", "hooked_modules", "hooking", "is_bound", "mark", "mark_alike", "marked", "meter_of", "meters",
]  # fmt: skip


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
_hooking: ContextVar[str] = ContextVar("taximeter_hooking", default="")
hooked_family = _hooking.get
"""Returns the name of the family whose hooks run now; empty outside of hooks."""
_DEPTH: Final = 3
_MOST: Final = 200
"""How deep and how broad the search for a marked client goes: from a part of the client to what it sends its requests with."""


@contextmanager
def hooking(family: str) -> Iterator[None]:
    """Make the functions that are instrumented in a block belong to a family, wherever their classes are defined."""
    token = _hooking.set(family)
    try:
        yield
    finally:
        _hooking.reset(token)


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
    """Return the meter of one client, from it or from one of its parts; `None` if it has no meter of its own.

    A part of a client holds the client, or what the client sends its requests with. This is only for errors, because it is slow.
    """
    level = [part]
    for _ in range(_DEPTH):
        states = [state for one in level[:_MOST] if not isinstance(one, ModuleType) and type(state := _state(one)) is dict]
        meter = next((state[_METER] for state in states if state.get(_METER) is not None), None)
        if meter is not None:
            return cast("Engine", meter)
        level = [held for state in states for held in state.values()]
    return None


def _state(one: object) -> object:
    try:
        return one.__dict__
    except Exception:  # an object without one may have a `__getattr__` that raises anything
        return None


def is_bound(family: Family) -> bool:
    """Return whether the family's capture point is hooked."""
    return any(name in hooked_modules for name in family.capture_modules)
