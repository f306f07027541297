"""The attribution of requests whose responses are fetched later, possibly by another process of the same state directory."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from .. import _core, files
from .guard import run_guarded

if TYPE_CHECKING:
    from pathlib import Path

    from ..meter import Engine

__all__ = ["asked_by", "remember"]

_FILE: Final = "asked.jsonl"
"""A file in the state directory with one line for each request: its id, the time, and the attribution."""
_OLDER: Final = "asked-older.jsonl"
"""The former file. When one file is full, it takes this name."""
_MOST_BYTES: Final = 256 * 1024
"""The most bytes of a file: about 2,000 requests, more than are under way at once."""
_MOST_ASKED: Final = 1_000
"""The most requests that are kept in memory."""

_asked: dict[str, _core.Scope] = {}
_known: dict[tuple[Path, int, int], dict[str, dict[str, Any]]] = {}
"""What was read from files, by path, time and size. A state that is polled does not read them again each time."""


def remember(meter: Engine, name: str, scope: _core.Scope | None) -> None:
    """Keep the attribution of a request until its response is fetched, by the response's id."""
    if scope is None or name in _asked:
        return
    _asked[name] = scope
    while len(_asked) > _MOST_ASKED:
        _asked.pop(next(iter(_asked)), None)
    run_guarded(_write, meter, name, scope, meter=meter)


def asked_by(meter: Engine, name: str) -> _core.Scope | None:
    """Return the attribution of the request for a response; `None` if no process of this state directory made it."""
    return _asked.get(name) or run_guarded(_read, meter, name, meter=meter)


def _write(meter: Engine, name: str, scope: _core.Scope) -> None:
    settings = meter.settings
    fields = scope.fields()
    if settings is None or not settings.root or not fields:
        return
    root = settings.state_dir
    root.mkdir(0o700, parents=True, exist_ok=True)  # the first event would create it
    path = root / _FILE
    line = json.dumps({"id": name, "at": int(time.time()), "scope": fields}).encode() + b"\n"
    if files.append(path, line) > _MOST_BYTES:
        path.replace(root / _OLDER)


def _read(meter: Engine, name: str) -> _core.Scope | None:
    settings = meter.settings
    if settings is None or not settings.root:
        return None
    for file in (_FILE, _OLDER):
        fields = _lines(settings.state_dir / file).get(name)
        if fields is not None:
            scope, _ = _core.Scope.lenient(None, fields)
            _asked[name] = scope
            return scope
    return None


def _lines(path: Path) -> dict[str, dict[str, Any]]:
    """Return the attribution in a file by id."""
    try:
        found = path.stat()
        key = path, found.st_mtime_ns, found.st_size
        if key in _known:
            return _known[key]
        data = files.read(path, 2 * _MOST_BYTES)
    except OSError:
        return {}
    lines = dict(filter(None, map(_line, data.splitlines())))
    for old in [old for old in _known if old[0] == path]:
        _known.pop(old, None)
    _known[key] = lines
    return lines


def _line(line: bytes) -> tuple[str, dict[str, Any]] | None:
    """Return the id and the attribution in a line; `None` if it cannot be read, such as one that is being written."""
    try:
        told = json.loads(line)
        name, scope = told["id"], told["scope"]
    except (ValueError, KeyError, TypeError):
        return None
    return (name, scope) if isinstance(name, str) and isinstance(scope, dict) else None
