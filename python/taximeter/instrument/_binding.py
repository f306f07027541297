"""What is bound when: client families, the modules they hook, and the meters that their events go to."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..meter import Meter

__all__ = ["Family", "Status", "activate", "activate_for", "deactivate", "mark", "meter_of", "status"]

log = logging.getLogger("taximeter")


@dataclass(frozen=True)
class Status:
    """How it stands with one client family."""

    state: str
    """`bound`, `absent` (not imported so far) or `failed`."""
    version: str | None = None
    reason: str | None = None


@dataclass
class Family:
    """One client family: which modules to touch, and how."""

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
    failures: list[str] = field(default_factory=list)
    done: dict[str, ModuleType] = field(default_factory=dict)

    @property
    def is_bound(self) -> bool:
        """Whether responses pass the capture point."""
        return any(name in self.done for name in self.capture_modules)


_lock = threading.RLock()
_wanted: dict[str, Family] = {}
_meters: dict[str, Meter] = {}
"""Where the events of each family go; a family that is not there is not recorded."""


_METER: Final = "_taximeter_meter"


def mark(client: Any, meter: Meter) -> None:
    """Has the events of one client go to a meter, whatever becomes of those of the others."""
    client.__dict__[_METER] = meter


def meter_of(family: str, client: object) -> Meter | None:
    """Where the events of a client go; `None` when they are not recorded."""
    meter = getattr(client, "__dict__", {}).get(_METER) or _meters.get(family)
    return meter if meter is not None and meter.enabled else None


def _families() -> dict[str, Family]:
    # They import this module.
    from . import anthropic, botocore, cohere, google_genai, groq, litellm, mistralai, ollama, openai, together  # noqa: PLC0415

    modules = (openai, anthropic, google_genai, botocore, mistralai, cohere, groq, together, ollama, litellm)
    return {module.FAMILY.name: module.FAMILY for module in modules}


def activate(meter: Meter, names: Sequence[str] | None = None) -> None:
    """Instrument families, by name or all, for a meter.

    Raises:
        ConfigError: A name is no family.
    """
    families = _families()
    if unknown := [name for name in names or () if name not in families]:
        from ..errors import ConfigError  # noqa: PLC0415 - the way of an error

        raise ConfigError(f"instrument: {unknown[0]!r} is not one of {', '.join(families)}")
    with _lock:
        _meters.clear()
        for name, family in families.items():
            if names is None or name in names:
                _wanted[name] = family
                _meters[name] = meter
        _hook_modules()


def _hook_modules() -> None:
    """Runs the hooks of modules that are loaded, and sees to those that will be."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for family in _wanted.values():
        for name in family.hooks:
            module = sys.modules.get(name)
            if module is not None and _is_loaded(module):
                _run_hook(family, name, module)


def activate_for(meter: Meter, client: object) -> None:
    """Instrument one client object for a meter.

    Raises:
        TypeError: It is a client of no family.
    """
    family = next((family for family in _families().values() if family.owns(client)), None)
    if family is None:
        raise TypeError(f"client: {type(client).__name__} is not a client that can be metered")
    with _lock:
        # What is hooked takes taximeter's keywords out for all clients of the family; recording is this client's alone.
        _wanted[family.name] = family
        _hook_modules()
        family.bind_client(client, meter)


def deactivate() -> None:
    """Stop recording. The shims stay, so that taximeter's keywords never reach a client."""
    _meters.clear()


def status() -> dict[str, Status]:
    """How it stands with each family."""
    return {name: _status(family) for name, family in _families().items()}


def _status(family: Family) -> Status:
    module = sys.modules.get(family.name)
    version = None if module is None else _version(family, module)
    if family.failures:
        return Status("failed", version, "; ".join(family.failures))
    if family.is_bound and family.name in _meters:
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


def _is_loaded(module: ModuleType) -> bool:
    return not getattr(getattr(module, "__spec__", None), "_initializing", False)


def _run_hook(family: Family, name: str, module: ModuleType) -> None:
    if family.done.get(name) is module:
        return
    try:
        family.hooks[name](module)
    except Exception as error:
        family.failures.append(f"{name}: {error}")
        log.warning("taximeter cannot meter %s: %s", name, error)
    else:
        family.done[name] = module


class _Finder(MetaPathFinder):
    """Runs the hooks of modules that are imported later."""

    def __init__(self) -> None:
        self._busy = threading.local()

    def find_spec(self, name: str, path: Iterable[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002
        family = next((family for family in _wanted.values() if name in family.hooks), None)
        if family is None or getattr(self._busy, "name", None) == name:
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
            _run_hook(family, name, module)

        try:
            spec.loader.exec_module = exec_module  # type: ignore[method-assign,union-attr]
        except AttributeError:  # a loader without a dict
            return None
        return spec
