"""The engine: what is bound when, who called, and what becomes of a response."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from .. import _core, attribution

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..meter import Meter

__all__ = ["Call", "Family", "Recorder", "Status", "activate", "activate_for", "deactivate", "meter_of", "status"]

log = logging.getLogger("taximeter")

KEYWORD_PREFIX: Final = "taximeter_"
HEADER_PREFIX: Final = "x-taximeter-"
TAG_HEADER_PREFIX: Final = "x-taximeter-tag-"
_FIELDS: Final = frozenset({"agent", "feature", "team", "customer", "user", "session", "tags"})


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
    capture_module: str
    """The module whose hook decides between bound and failed."""
    owns: Callable[[object], bool]
    """Whether an object is a client of the family."""
    bind_client: Callable[[Any, Meter], None]
    """Instruments one client object for a meter."""
    failures: list[str] = field(default_factory=list)
    done: dict[str, ModuleType] = field(default_factory=dict)

    @property
    def is_bound(self) -> bool:
        """Whether responses pass the capture point."""
        return self.capture_module in self.done


_lock = threading.RLock()
_wanted: dict[str, Family] = {}
_meters: dict[str, Meter] = {}
"""Where the events of each family go; a family that is not there is not recorded."""


def meter_of(family: str) -> Meter | None:
    """Where a family's events go; `None` when they are not recorded."""
    meter = _meters.get(family)
    return meter if meter is not None and meter.enabled else None


def _families() -> dict[str, Family]:
    from . import anthropic, openai  # noqa: PLC0415 - they import this module

    return {family.name: family for family in (openai.FAMILY, anthropic.FAMILY)}


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
    version = getattr(module, "__version__", None)
    if family.failures:
        return Status("failed", version, "; ".join(family.failures))
    if family.is_bound and family.name in _meters:
        return Status("bound", version)
    return Status("absent", version, None if module is None else "not asked for")


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


_call: ContextVar[Call | None] = ContextVar("taximeter_call", default=None)
current_call = _call.get


class Call:
    """One call of a public method: whose it is, when it began, and the keywords that are the client's."""

    __slots__ = ("_outer", "_scope", "kwargs", "started", "started_at", "strips_usage")

    def __init__(self, kwargs: dict[str, Any]) -> None:
        self.strips_usage = False
        self.kwargs = kwargs
        self._scope: _core.Scope | None = None
        fields = self._take_fields()
        if fields:
            try:
                self._scope = _core.Scope(attribution.current(), **fields)
            except Exception:
                log.debug("taximeter left out the attribution of a call", exc_info=True)

    def _take_fields(self) -> dict[str, Any]:
        """Takes taximeter's keywords and headers out, from copies: the caller's own mappings stay as they are."""
        fields: dict[str, Any] = {}
        if any(name.startswith(KEYWORD_PREFIX) for name in self.kwargs):
            own = {name: value for name, value in self.kwargs.items() if name.startswith(KEYWORD_PREFIX)}
            self.kwargs = {name: value for name, value in self.kwargs.items() if name not in own}
            named = {name[len(KEYWORD_PREFIX) :]: value for name, value in own.items()}
            fields |= {name: value for name, value in named.items() if name in _FIELDS}
        headers = self.kwargs.get("extra_headers")
        if isinstance(headers, Mapping) and any(str(name).lower().startswith(HEADER_PREFIX) for name in headers):
            kept = {name: value for name, value in headers.items() if not str(name).lower().startswith(HEADER_PREFIX)}
            self.kwargs = {**self.kwargs, "extra_headers": kept}
            for name, value in headers.items():
                lower = str(name).lower()
                if lower.startswith(TAG_HEADER_PREFIX):
                    tags = fields.get("tags")
                    fields["tags"] = {**(tags if isinstance(tags, Mapping) else {}), lower[len(TAG_HEADER_PREFIX) :]: value}
                elif lower.startswith(HEADER_PREFIX) and lower[len(HEADER_PREFIX) :] in _FIELDS - {"tags"}:
                    fields.setdefault(lower[len(HEADER_PREFIX) :], value)
        return fields

    def __enter__(self) -> Call:
        if self._scope is not None:
            attribution.enter(self._scope)
        self._outer = _call.get()
        _call.set(self)
        self.started_at = time.time()
        self.started = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # Set, not reset: a coroutine that is closed rather than awaited ends in another context, where a token is refused.
        _call.set(self._outer)
        if self._scope is not None:
            attribution.leave()


class Recorder:
    """Follows one response to its end, and records one event, whichever end that is."""

    __slots__ = ("_call", "_fields", "_made", "_meter", "_scanner", "_scope")

    def __init__(self, meter: Meter, scanner: _core.Scanner | None, fields: dict[str, Any], call: Call | None) -> None:
        self._meter = meter
        self._scanner = scanner
        self._fields: dict[str, Any] | None = fields
        self._call = call
        # Streams can end in another context than they began in, so the attribution is taken now.
        self._scope = attribution.current()
        self._made = time.perf_counter()

    def feed(self, data: bytes) -> bytes:
        """Shows the scanner what passes; returns what is to pass."""
        try:
            replaced = self._scanner.feed(data) if self._scanner is not None else None
        except Exception:
            log.debug("taximeter could not read a response", exc_info=True)
            return data
        return data if replaced is None else replaced

    def rest(self) -> bytes:
        """What is left to pass after the last bytes."""
        try:
            return (self._scanner.rest() if self._scanner is not None else None) or b""
        except Exception:
            return b""

    def finish(self, error: type[BaseException] | None = None) -> None:
        """Records the event; only the first time."""
        fields, self._fields = self._fields, None
        if fields is None:
            return
        try:
            fields |= self._outcome(error, fields)
            attribution.enter(self._scope)
            try:
                self._meter.track(**fields)
            finally:
                attribution.leave()
        except Exception:
            log.debug("taximeter could not record a call", exc_info=True)

    def _outcome(self, error: type[BaseException] | None, fields: Mapping[str, Any]) -> dict[str, Any]:
        summary = self._scanner.finish() if self._scanner is not None else None
        found: Mapping[str, Any] = summary or {"usage_status": "missing"}
        outcome: dict[str, Any] = {
            "model": found.get("model") or fields.get("model") or "unknown",
            "usage": found.get("usage"),
            "usage_status": found["usage_status"],
            "finish_reason": found.get("finish_reason"),
            "service_tier": found.get("service_tier") or fields.get("service_tier"),
            "cost_usd": found.get("cost_usd"),
        }
        if field := found.get("unreadable"):
            self._meter.note_unreadable_usage(field)
        call, first = self._call, found.get("first_token_ms")
        if call is not None:
            outcome["started_at"] = call.started_at
            outcome["latency_ms"] = (time.perf_counter() - call.started) * 1000
            if first is not None:
                outcome["ttft_ms"] = (self._made - call.started) * 1000 + first
        if error is not None or found.get("is_error"):
            outcome["status"] = "error"
            outcome["error"] = error
        return outcome
