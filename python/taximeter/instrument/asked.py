"""Requests whose responses are fetched later, possibly by other processes of the same state directory.

Their attribution is kept, and which of them are counted already.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from .. import _core, files
from .guard import run_guarded

if TYPE_CHECKING:
    from pathlib import Path

    from ..meter import Engine

__all__ = ["asked_by", "mark_counted", "remember", "was_counted"]

_FILE: Final = "asked.jsonl"
"""A file in the state directory with one line for each request: its id, the time, and the attribution."""
_OLDER: Final = "asked-older.jsonl"
"""The former file. When one file is full, it takes this name."""
_COUNTED: Final = "counted.jsonl"
_COUNTED_OLDER: Final = "counted-older.jsonl"
"""The same for responses that have their event."""
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
    run_guarded(_write, meter, name, scope.fields(), meter=meter)


def asked_by(meter: Engine, name: str) -> _core.Scope | None:
    """Return the attribution of the request for a response; `None` if no process of this state directory made it."""
    return _asked.get(name) or run_guarded(_read, meter, name, meter=meter)


def mark_counted(meter: Engine, name: str) -> None:
    """Note that a response has its event, so that no other process counts it when it fetches the response again."""
    run_guarded(_write, meter, name, {}, _COUNTED, _COUNTED_OLDER, meter=meter)


def was_counted(meter: Engine, name: str) -> bool:
    """Return whether a process of this state directory has noted that a response has its event."""
    return run_guarded(_find, meter, name, _COUNTED, _COUNTED_OLDER, meter=meter) is not None


def _write(meter: Engine, name: str, fields: Mapping[str, Any], file: str = _FILE, older: str = _OLDER) -> None:
    settings = meter.settings
    if settings is None or not settings.root or (not fields and file == _FILE):
        return
    root = settings.state_dir
    root.mkdir(0o700, parents=True, exist_ok=True)  # the first event would create it
    path = root / file
    line = json.dumps({"id": name, "at": int(time.time()), "scope": fields}).encode() + b"\n"
    if files.append(path, line) > _MOST_BYTES:
        path.replace(root / older)


def _read(meter: Engine, name: str) -> _core.Scope | None:
    fields = _find(meter, name, _FILE, _OLDER)
    if fields is None:
        return None
    scope, _ = _core.Scope.lenient(None, fields)
    _asked[name] = scope
    return scope


def _find(meter: Engine, name: str, *names: str) -> dict[str, Any] | None:
    settings = meter.settings
    if settings is None or not settings.root:
        return None
    return next((fields for file in names if (fields := _lines(settings.state_dir / file).get(name)) is not None), None)


def _lines(path: Path) -> dict[str, dict[str, Any]]:
    """Return the attribution in a file by id."""
    try:
        found = path.stat()
        key = path, found.st_mtime_ns, found.st_size
        # Another thread may remove it at any time.
        if (lines := _known.get(key)) is not None:
            return lines
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
        noted = json.loads(line)
        name, scope = noted["id"], noted["scope"]
    except (ValueError, KeyError, TypeError):
        return None
    return (name, scope) if isinstance(name, str) and isinstance(scope, dict) else None
