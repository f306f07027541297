"""What is bound when: client families, the modules they hook, and the meters that their events go to.

A family's own module is imported when its client is, so that `init()` costs nothing for clients that a program does not use.
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from ._sinks import Fan, sinks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..meter import Meter

__all__ = [
    "Family", "Status", "activate", "activate_for", "deactivate", "hook", "is_bound", "mark", "mark_alike", "meter_of", "status",
]  # fmt: skip

log = logging.getLogger("taximeter")

FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "openai": ("openai",),
    "anthropic": ("anthropic",),
    "google.genai": ("google",),
    "google.generativeai": ("google",),
    "botocore": ("botocore", "aiobotocore"),
    "mistralai": ("mistralai",),
    "cohere": ("cohere",),
    "groq": ("groq",),
    "together": ("together",),
    "ollama": ("ollama",),
    "litellm": ("litellm",),
    "langchain_core": ("langchain_core",),
}
"""The families, by their names in `status()`, and the packages that their modules are in."""


class Status(NamedTuple):
    """How it stands with one client family."""

    state: str
    """`bound`, `absent` (not imported so far) or `failed`."""
    version: str | None = None
    reason: str | None = None


class Family(NamedTuple):
    """One client family: which modules to touch, and how. Each is in a module of this package, as `FAMILY`."""

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

_lock = threading.RLock()
_wanted: set[str] = set()
"""The families whose modules are hooked."""
_meters: dict[str, Meter] = {}
"""Where the events of each family go; a family that is not there is not recorded."""
_done: dict[str, ModuleType] = {}
"""Modules that were hooked."""
_unfinished: set[str] = set()
"""Modules that another thread is importing, past the point where a finder is asked."""
_failures: dict[str, list[str]] = {}
"""What went wrong with the hooks of a family."""


def mark(client: Any, meter: Meter) -> None:
    """Has the events of one client go to a meter, whatever becomes of those of the others."""
    client.__dict__[_METER] = meter


def mark_alike(client: Any, copy: Any) -> None:
    """Has the events of a client's copy go where those of the client go."""
    if (meter := client.__dict__.get(_METER)) is not None:
        mark(copy, meter)


def meter_of(family: str, client: object) -> Meter | None:
    """Where the events go of a call that is being made; `None` when they are not recorded."""
    meter = getattr(client, "__dict__", {}).get(_METER) or _meters.get(family)
    meter = meter if meter is not None and meter.enabled else None
    sinks = sinks_of(family)
    # It has of a meter what responses are recorded with.
    return cast("Meter", Fan(meter, sinks, family)) if sinks else meter


def is_bound(family: Family) -> bool:
    """Whether responses pass the capture point."""
    return any(name in _done for name in family.capture_modules)


def _family(name: str) -> Family:
    module = importlib.import_module(f".{name.replace('.', '_')}", __package__)
    family: Family = module.FAMILY
    return family


def _is_loaded_family(name: str) -> bool:
    return any(package in sys.modules for package in FAMILIES[name])


def activate(meter: Meter, names: Sequence[str] | None = None) -> None:
    """Instrument families, by name or all, for a meter.

    Raises:
        ConfigError: A name is no family.
    """
    if unknown := [name for name in names or () if name not in FAMILIES]:
        from ..errors import ConfigError  # noqa: PLC0415 - the way of an error

        raise ConfigError(f"instrument: {unknown[0]!r} is not one of {', '.join(FAMILIES)}")
    with _lock:
        _meters.clear()
        for name in FAMILIES:
            if names is None or name in names:
                _wanted.add(name)
                _meters[name] = meter
        _hook_modules()


def hook(names: Sequence[str]) -> None:
    """Instrument families without recording: keywords that are not the client's are taken out, and sinks hear of calls."""
    with _lock:
        _wanted.update(names)
        _hook_modules()


def _hook_modules() -> None:
    """Runs the hooks of modules that are loaded, and sees to those that will be."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for family in map(_family, filter(_is_loaded_family, sorted(_wanted))):
        for name in family.hooks:
            module = sys.modules.get(name)
            if module is None or _is_initialized(module):
                _unfinished.discard(name)
            else:
                _unfinished.add(name)
                continue
            if module is not None:
                _run_hook(family, name, module)


def activate_for(meter: Meter, client: object) -> None:
    """Instrument one client object for a meter.

    Raises:
        TypeError: It is a client of no family.
    """
    families = map(_family, filter(_is_loaded_family, FAMILIES))
    family = next((family for family in families if family.owns(client)), None)
    if family is None:
        raise TypeError(f"client: {type(client).__name__} is not a client that can be metered")
    with _lock:
        # What is hooked takes taximeter's keywords out for all clients of the family; recording is this client's alone.
        _wanted.add(family.name)
        _hook_modules()
        family.bind_client(client, meter)


def deactivate() -> None:
    """Stop recording. The shims stay, so that taximeter's keywords never reach a client."""
    _meters.clear()


def status() -> dict[str, Status]:
    """How it stands with each family."""
    if _unfinished:
        _hook_modules()
    return {name: _status(name) if _is_loaded_family(name) else Status("absent") for name in FAMILIES}


def _status(name: str) -> Status:
    family = _family(name)
    module = sys.modules.get(name)
    version = None if module is None else _version(family, module)
    if name in _failures:
        return Status("failed", version, "; ".join(_failures[name]))
    if is_bound(family) and name in _meters:
        return Status("bound", version)
    return Status("absent", version, None if module is None else "not asked for")


def _version(family: Family, module: ModuleType) -> str | None:
    if (version := getattr(module, "__version__", None)) is not None:
        return str(version)
    from importlib import metadata  # noqa: PLC0415 - slow, and needed by those who ask

    try:
        return metadata.version(family.distribution or family.name)
    except metadata.PackageNotFoundError:
        return None


def _is_initialized(module: ModuleType) -> bool:
    return not getattr(getattr(module, "__spec__", None), "_initializing", False)


def _run_hook(family: Family, name: str, module: ModuleType) -> None:
    if _done.get(name) is module:
        return
    try:
        family.hooks[name](module)
    except Exception as error:
        _failures.setdefault(family.name, []).append(f"{name}: {error}")
        log.warning("taximeter cannot meter %s: %s", name, error)
    else:
        _done[name] = module


class _Finder:
    """Runs the hooks of modules that are imported later. A finder by what it does: the class to derive from takes 10 ms to import."""

    def __init__(self) -> None:
        self._busy = threading.local()

    def find_spec(self, name: str, path: Iterable[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002
        package = name.partition(".")[0]
        if getattr(self._busy, "name", None) == name:
            return None
        wanted = (family for family in FAMILIES if family in _wanted and package in FAMILIES[family])
        try:
            if _unfinished:
                _hook_modules()
            family = next((family for family in map(_family, wanted) if name in family.hooks), None)
        except Exception:
            log.debug("taximeter cannot meter %s", name, exc_info=True)
            return None
        if family is None:
            return None
        self._busy.name = name
        try:
            spec = find_spec(name)
        finally:
            self._busy.name = None
        execute = getattr(spec and spec.loader, "exec_module", None)
        if spec is None or execute is None:
            return None

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if module.__name__ != name:  # of a loader that loads others too
                return
            _done.pop(name, None)  # a module that is loaded anew has new functions
            _run_hook(family, name, module)

        try:
            spec.loader.exec_module = exec_module  # type: ignore[method-assign,union-attr]
        except AttributeError:  # a loader without a dict
            return None
        return spec
