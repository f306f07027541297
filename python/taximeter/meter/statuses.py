"""The counts that the processes of a state directory wrote: those that run, and those that ended."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from .. import files
from ..settings.model import COUNTERS

__all__ = ["COUNTS", "LOST", "ended", "labelled", "running"]

COUNTS: Final = ("delivered", "pending", "rejected", "dead", "dropped", "expired", "evicted", "unreadable")
"""The counts of a destination."""
LOST: Final = COUNTS[2:]
"""Those of them that count events which the destination will not get."""
_MOST_BYTES: Final = 1 << 20
_TRIES: Final = 5


def running(state_dir: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the counts that processes whose journals exist wrote last: the journal's name, and a mapping in the form of `stats()`."""
    for path in (state_dir / "journal").glob("*/status.json"):
        try:
            status = json.loads(files.read(path, _MOST_BYTES))
            status["pid"] = int(status["pid"])
            for one in status["destinations"]:
                oldest = one.pop("oldest")
                one["oldest_seconds"] = None if oldest is None else max(0.0, time.time() - oldest / 1e9)
                for needed in (*COUNTS, "state", "last_error", "host"):
                    one[needed]
            status["destinations"] = {one["name"]: one for one in status["destinations"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # deleted in the meantime, or written by another version
        yield path.parent.name, status


def ended(state_dir: Path) -> dict[str, Any]:
    """Return the sums of the counts of ended processes whose journals are deleted; an empty mapping if no process has ended."""
    try:
        found = json.loads(files.read(state_dir / COUNTERS, _MOST_BYTES))
        for one in found["destinations"].values():
            for needed in ("delivered", *LOST):
                one[needed] = int(one[needed])
        return {**found, "tracked": int(found["tracked"]), "processes": int(found["processes"]), "since": str(found["since"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def labelled(state_dir: Path) -> list[tuple[Mapping[str, str], Mapping[str, Any]]]:
    """Return the counts of all processes with the labels of their metrics."""
    for _ in range(_TRIES):
        before, found = ended(state_dir), list(running(state_dir))
        if ended(state_dir) == before:
            break  # else a process ended meanwhile, and its counts would be missing or double
    counts: list[tuple[Mapping[str, str], Mapping[str, Any]]] = [
        ({"journal": journal, "pid": str(status["pid"])}, status) for journal, status in found
    ]
    return [*counts, ({"journal": "ended", "pid": ""}, before)] if before else counts
