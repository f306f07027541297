"""The client families, and the modules of each that are hooked.

A family's file in `providers/` is imported when its client is, so that `init()` takes no time for unused clients. A new family needs
one file there and one line in `FAMILIES`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from .. import files
from ..locks import ForkSafeLock
from ..log import log
from ..settings.model import FAILED_CLIENTS
from . import import_hook, observers
from .bindings import Family, hooked_modules, hooking, is_bound, marked, meters
from .call import remove_prefixed
from .guard import find_meters_with, report, run_guarded
from .observers import Observer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..meter import Engine

__all__ = [
    "FAMILIES", "Status", "activate", "activate_for", "check_installed", "deactivate", "hook", "installed_version", "redirected",
    "status", "subscribe",
]  # fmt: skip

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
"""The families by their names in `status()`, with the packages that have their modules."""


class Status(NamedTuple):
    """The status of one client family."""

    state: Literal["bound", "absent", "failed"]
    """`bound`, `absent` (not imported so far) or `failed`."""
    version: str | None = None
    """The client's version, if it is known."""
    reason: str | None = None
    """Why it is not bound."""


_lock = ForkSafeLock()
_wanted: set[str] = set()
"""The families whose modules are hooked."""
_unfinished: set[str] = set()
"""Modules that another thread is importing, after the import hooks were asked for them."""
_failures: dict[str, list[str]] = {}
"""The errors of each family's hooks."""


def _family(name: str) -> Family:
    module = importlib.import_module(f".providers.{name.replace('.', '_')}", __package__)
    family: Family = module.FAMILY
    return family


def _is_loaded_family(name: str) -> bool:
    return any(package in sys.modules for package in FAMILIES[name])


def _meter_of_call(family: str, part: object) -> Engine | None:
    """Return the meter of a client, or else that of its family; `None` if the family is not recorded."""
    meter = marked(part)
    return meters.get(family) if meter is None else meter


find_meters_with(_meter_of_call)


def activate(meter: Engine, names: Sequence[str] | None = None) -> None:
    """Instrument families for a meter: those with the given names, or all.

    Raises:
        ConfigError: A name is not a family.
    """
    if unknown := [name for name in names or () if name not in FAMILIES]:
        from ..errors import ConfigError  # noqa: PLC0415 - only needed for an error
        from ..fields import unknown_name  # noqa: PLC0415

        raise ConfigError(f"instrument: {unknown_name(unknown[0], FAMILIES)}")
    with _lock:
        meters.clear()
        for name in FAMILIES:
            if names is None or name in names:
                _wanted.add(name)
                meters[name] = meter
        _hook_modules()


def hook(names: Sequence[str]) -> None:
    """Instrument families without recording: keywords that are not the client's are removed, and observers get the calls."""
    with _lock:
        _wanted.update(names)
        _hook_modules()


def subscribe(observer: Observer, names: Sequence[str], prefix: str) -> None:
    """Make an observer receive every call of these families from now on.

    Args:
        observer: Receives the calls. Subscribing it again has no effect.
        names: The families, by their names in `status()`.
        prefix: Keywords with this prefix are removed from every call. The observer gets them with the event.
    """
    remove_prefixed(prefix)
    observers.register(observer, names)
    hook(names)


def _hook_modules() -> None:
    """Run the hooks of loaded modules, and install the import hook for the others."""
    import_hook.install(_hook_of)
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


def activate_for(meter: Engine, client: object) -> None:
    """Instrument one client object for a meter.

    Raises:
        TypeError: It is not a client of any family.
    """
    families = map(_family, filter(_is_loaded_family, FAMILIES))
    family = next((family for family in families if family.owns(client)), None)
    if family is None:
        raise TypeError(f"client: {type(client).__name__} is not a client that can be metered")
    with _lock:
        # The hooks remove taximeter's keywords for all clients of the family, but only this client is recorded.
        _wanted.add(family.name)
        _hook_modules()
        with hooking(family.name):
            family.bind_client(client, meter)


@contextmanager
def redirected(meter: Engine, names: bool | Sequence[str]) -> Iterator[None]:
    """Record the calls of families for a meter, all, none or some by name, within a block; then as before.

    Raises:
        ConfigError: A name is not a family.
    """
    before = dict(meters)
    if names is False:
        deactivate()
    else:
        activate(meter, None if names is True else names)
    try:
        yield
    finally:
        meters.clear()
        meters.update(before)


def deactivate() -> None:
    """Stop recording. The shims stay, so that taximeter's keywords never reach a client."""
    meters.clear()


def status() -> dict[str, Status]:
    """Return the status of each family."""
    if _unfinished:
        _hook_modules()
    return {name: _status(name) if _is_loaded_family(name) else Status("absent") for name in FAMILIES}


def check_installed() -> dict[str, Status]:
    """Import every installed client, and check whether it can be metered. Nothing is recorded.

    Returns:
        The status of each family: `bound`, `absent` (not installed) or `failed`, with the reason.
    """
    hook(tuple(FAMILIES))
    return {name: _imported(_family(name)) for name in FAMILIES}


def _imported(family: Family) -> Status:
    try:
        importlib.import_module(family.name)
    except ImportError:
        return Status("absent")
    except Exception as error:
        return Status("failed", None, f"importing it raises {type(error).__name__}")
    for name in family.capture_modules:
        try:
            importlib.import_module(name)
        except ImportError:  # noqa: PERF203 - a module of another version
            continue
    found = _status(family.name, is_wanted=True)
    if found.state == "absent":
        return Status("failed", found.version, f"it has no module {' or '.join(family.capture_modules)}")
    return found


def _status(name: str, *, is_wanted: bool | None = None) -> Status:
    family = _family(name)
    module = sys.modules.get(name)
    version = None if module is None else _version(family, module)
    if name in _failures:
        return Status("failed", version, "; ".join(_failures[name]))
    if is_bound(family) and (name in meters if is_wanted is None else is_wanted):
        return Status("bound", version)
    return Status("absent", version, None if module is None else "not asked for")


def _version(family: Family, module: ModuleType) -> str | None:
    version = getattr(module, "__version__", None)
    return _installed_version(family) if version is None else str(version)


def installed_version(name: str) -> str | None:
    """Return the version of a family's client that is installed; `None` if none is, or if the family is unknown."""
    return _installed_version(_family(name)) if name in FAMILIES else None


def _installed_version(family: Family) -> str | None:
    from importlib import metadata  # noqa: PLC0415 - slow, and rarely needed

    try:
        return metadata.version(family.distribution or family.name)
    except metadata.PackageNotFoundError:
        return None


def _is_initialized(module: ModuleType) -> bool:
    return not getattr(getattr(module, "__spec__", None), "_initializing", False)


def _run_hook(family: Family, name: str, module: ModuleType) -> None:
    if hooked_modules.get(name) is module:
        return
    try:
        with hooking(family.name):
            family.hooks[name](module)
    except Exception as error:
        reason = f"{name}: {error}"
        _failures.setdefault(family.name, []).append(reason)
        log().warning("taximeter cannot meter %s", reason)
        run_guarded(_note_failure, family, reason, family=family.name)
    else:
        hooked_modules[name] = module


def _hook_of(name: str) -> Callable[[ModuleType], None] | None:
    """Return the function to run on a module after its import; `None` if no wanted family hooks it."""
    package = name.partition(".")[0]
    if _unfinished:
        _hook_modules()
    for wanted in [family for family in FAMILIES if family in _wanted and package in FAMILIES[family]]:
        try:
            family = _family(wanted)
        except Exception as error:
            report(f"the import of {name}", error, family=wanted)
            continue
        if name in family.hooks:
            return partial(_run_hook_again, family, name)
    return None


def _note_failure(family: Family, reason: str) -> None:
    """Note a failed hook for `taximeter doctor`, which runs in another process."""
    settings = meters[family.name].settings if family.name in meters else None
    if settings is not None and settings.root:
        module = sys.modules.get(family.name)
        version = None if module is None else _version(family, module)
        files.add_note(settings.inside(FAILED_CLIENTS), family.name, version or "of an unknown version", reason)


def _run_hook_again(family: Family, name: str, module: ModuleType) -> None:
    hooked_modules.pop(name, None)  # a reloaded module has new functions
    _run_hook(family, name, module)
