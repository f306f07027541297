"""Resolves the settings in this order: argument, environment, file, default. No other module reads them.

`TAXIMETER_DISABLED=1` comes before everything. The environment variables are `TAXIMETER_` and the setting's name in capitals. The
file is `taximeter.toml`, or the table `[tool.taximeter]` of `pyproject.toml`, in the working directory or the nearest one above it
that has either.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from .. import files
from ..errors import ConfigError
from ..fields import ATTRIBUTION, nearest
from .model import KNOWN, NO_HOME, PROJECT, Prices, Settings
from .values import (
    LEDGER,
    budget,
    budget_state,
    destinations,
    families,
    flag,
    hosts,
    linger_ms,
    max_age,
    retention,
    tags,
    timezone,
    usage_hosts,
)

if TYPE_CHECKING:
    from ..budgets.definition import Budget

__all__ = ["default_state_dir", "is_disabled", "resolve"]

BACKENDS: Final = ("mapped", "written", "memory")


_resolved_roots: dict[str, str] = {}
"""The absolute paths of relative state directories, resolved once per process."""


def default_state_dir(environ: Mapping[str, str] | None = None) -> str:
    """Return the directory of journals and the ledger: `TAXIMETER_STATE_DIR`, or else the platform's state directory.

    Raises:
        ConfigError: The user has no home directory, and the variable is not set.
    """
    environ = os.environ if environ is None else environ
    if given := environ.get("TAXIMETER_STATE_DIR"):
        return _absolute(given)
    if sys.platform == "win32":
        base = environ.get("LOCALAPPDATA") or os.path.expanduser(r"~\AppData\Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Application Support")
    else:
        base = environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    if base.startswith("~"):
        raise ConfigError(f"state_dir: {NO_HOME}")
    return os.path.join(base, "taximeter")


def _absolute(path: str | os.PathLike[str]) -> str:
    path = os.path.expanduser(path)
    if os.path.isabs(path):
        return os.path.abspath(path)
    # The directory stays the same if the program changes its working directory.
    return _resolved_roots.setdefault(path, os.path.abspath(path))


def is_disabled(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether `TAXIMETER_DISABLED` turns metering off."""
    environ = os.environ if environ is None else environ
    return flag("TAXIMETER_DISABLED", environ.get("TAXIMETER_DISABLED", ""))


def resolve(
    arguments: Mapping[str, Any], environ: Mapping[str, str] | None = None, start: str | os.PathLike[str] | None = None
) -> Settings:
    """Resolve all settings.

    Args:
        arguments: What the caller gave, by name; `None` stands for not given.
        environ: The environment; the process's own by default.
        start: Where to look for a file first; the working directory by default.

    Raises:
        ConfigError: A setting is unknown or breaks its rule.
    """
    environ = os.environ if environ is None else environ
    layers: list[tuple[str, Mapping[str, Any]]] = [
        ("argument", {name: value for name, value in arguments.items() if value is not None}),
        ("environment", _from_environment(environ)),
        _from_file(start),
    ]
    for source, layer in layers:
        if unknown := sorted(set(layer) - KNOWN):
            alike = nearest(unknown[0], KNOWN)
            remedy = f"did you mean {alike}?" if alike else f"there are {', '.join(sorted(KNOWN))}"
            raise ConfigError(f"{unknown[0]}: not a setting (from {source}); {remedy}")

    def pick(name: str, default: Any = None) -> Any:
        return next((layer[name] for _, layer in layers if name in layer), default)

    uses_ledger, remotes = destinations(pick("destination", LEDGER))
    backend = pick("backend", "mapped")
    if backend not in BACKENDS:
        raise ConfigError(f"backend: {backend!r} is not one of {', '.join(BACKENDS)}")
    state_dir = pick("state_dir")
    if not isinstance(state_dir, (str, os.PathLike, type(None))):
        raise ConfigError(f"state_dir: {state_dir!r} is not a path")
    try:
        root = default_state_dir(environ) if state_dir is None else _absolute(state_dir)
    except ConfigError:
        # Metering continues in memory, and the meter warns. Code that needs the directory gets the error.
        root = ""
    return Settings(
        root=root,
        enabled=flag("enabled", pick("enabled", True)) and not is_disabled(environ),
        debug=flag("debug", pick("debug", False)),
        keep_provider_usage=flag("keep_provider_usage", pick("keep_provider_usage", False)),
        instrument=families(pick("instrument", True)),
        backend=backend if root else "memory",
        uses_ledger=uses_ledger,
        destinations=remotes,
        budget=budget(pick("budget_mb")),
        budget_state=budget_state(pick("budget_state_mb")),
        max_age=max_age(pick("max_age")),
        linger_ms=linger_ms(pick("linger_ms")),
        retention=retention(pick("retention")),
        timezone=timezone(pick("timezone")),
        attribution={name: value for name in ATTRIBUTION if (value := pick(name)) is not None},
        prices=_prices(_given(layers, "prices")),
        budgets=_budgets(_given(layers, "budgets")),
        hosts={key: value for _, layer in reversed(layers) for key, value in hosts(layer.get("hosts")).items()},
        usage_hosts=frozenset(name for _, layer in layers for name in usage_hosts(layer.get("usage_hosts"))),
        tags={key: value for _, layer in reversed(layers) for key, value in tags(layer.get("tags")).items()},
    )


def _given(layers: Sequence[tuple[str, Mapping[str, Any]]], name: str) -> list[tuple[str, Any]]:
    return [(source, layer[name]) for source, layer in layers if layer.get(name) is not None]


def _prices(given: Sequence[tuple[str, Any]]) -> Prices:
    if not given:
        return Prices()
    from .prices import prices  # noqa: PLC0415 - most users have no price settings

    return prices(given)


def _budgets(given: Sequence[tuple[str, Any]]) -> tuple[Budget, ...]:
    if not given:
        return ()
    from .budgets import budgets  # noqa: PLC0415 - as in _prices

    return budgets(given)


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: value for name in KNOWN if (value := environ.get(f"TAXIMETER_{name.upper()}")) is not None and value != ""
    }
    return found


def _from_file(start: str | os.PathLike[str] | None) -> tuple[str, Mapping[str, Any]]:
    """Return the path of the file and its settings. Errors name the path."""
    try:
        place = os.path.abspath(start or os.getcwd())
    except OSError:  # a working directory that was deleted
        return "file", {}
    while True:
        own, project = os.path.join(place, "taximeter.toml"), os.path.join(place, PROJECT)
        if os.path.isfile(own):
            return own, _resolve_paths(place, _load(own))
        if os.path.isfile(project):
            if not _may_have_table(project):
                return project, {}
            table = _load(project).get("tool", {}).get("taximeter")
            return project, _resolve_paths(place, table) if isinstance(table, Mapping) else {}
        above = os.path.dirname(place)
        if above == place:
            return "file", {}
        place = above


def _load(path: str) -> Mapping[str, Any]:
    from .toml import load  # noqa: PLC0415 - most processes have no file to read

    return load(path)


def _may_have_table(project: str) -> bool:
    """Return whether a project's file may have our table. This check is cheap, while parsing TOML would delay the first event."""
    try:
        return b"taximeter" in files.read(project)
    except OSError:
        return False


def _resolve_paths(place: str, table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Resolve relative paths of files of prices and budgets against the directory of the file that names them."""
    named = {name: text for name in ("prices", "budgets") if isinstance(text := table.get(name), str)}
    paths = {name: text for name, text in named.items() if not text.strip().startswith(("{", "["))}
    return {**table, **{name: os.path.join(place, os.path.expanduser(text)) for name, text in paths.items()}} if paths else table
