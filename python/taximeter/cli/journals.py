"""`taximeter journals`, and the check of waiting events of `taximeter doctor`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from .. import _core, _default
from ..errors import ConfigError
from ..sanitize import printable
from ..settings import Settings
from .common import Add, action_adder
from .render import age, answer, counted, say, table

__all__ = ["add_commands", "check_waiting"]

Journal = Mapping[str, Any]

STALLED_SECONDS: Final = 60.0
"""The doctor reports events that have waited for longer, if their destination has not accepted anything for as long."""
_OWNERS: Final = {
    "live": "a process that is running",
    "this": "this process",
    "dead": "a process that ended",
    "unknown": "an unknown process: the lock file is missing",
}


def add_commands(add: Add) -> None:
    """Add `journals` to the command line."""
    command = add("journals", _list, "list the journals and their waiting events; drop or requeue events")
    act = action_adder(command.add_subparsers(title="actions", metavar="ACTION"), "journals ")
    act("list", _list, "list each journal: who writes it, and how many events wait for each destination")
    drop = act("drop", _drop, "drop the waiting events in the journal of a process that ended")
    drop.add_argument("name", metavar="NAME", help="the journal, or the first characters of its name")
    drop.add_argument("--destination", metavar="D", help="only the events for this destination; by default, the whole journal")
    drop.add_argument("--yes", action="store_true", help="drop the events; by default, only print what would be lost")
    act("requeue", _requeue, "read the damaged segments in quarantine again, and deliver the events that can be read")


def _list(options: argparse.Namespace) -> int:
    state_dir: Path = options.settings.state_dir
    journals, kept = _core.journals(state_dir), _core.quarantine(state_dir)
    if options.json:
        answer(options, journals, quarantine=kept)
        return 0
    rows = [row for journal in journals for row in _rows(journal)]
    for line in table([("JOURNAL", "WRITTEN BY", "DESTINATION", "EVENTS", "BYTES", "OLDEST", "DAMAGED"), *rows]):
        print(line)
    for segment in kept:
        counts = f"{counted(segment['readable'], 'event')} readable, {segment['damaged']:,} damaged"
        print(f"in quarantine: {printable(segment['name'])}: {counts}{', requeued' if segment['requeued'] else ''}")
    say(f"{counted(len(journals), 'journal')}, {sum(journal['disk_bytes'] for journal in journals) / 1e6:,.1f} MB on disk")
    return 0


def _rows(journal: Journal) -> Iterable[tuple[str, ...]]:
    name, owner = printable(journal["name"]), journal["owner"]
    if journal["error"]:
        yield name, owner, printable(journal["error"]), "?", "?", "", ""
    elif not journal["destinations"]:
        yield name, owner, "none", "0", "0", "", ""
    for one in journal["destinations"]:
        oldest = "" if one["oldest_seconds"] is None else age(one["oldest_seconds"])
        more = "+" if one["incomplete"] else ""
        yield (
            name,
            owner,
            printable(one["destination"]),
            f"{one['records']:,}{more}",
            f"{one['bytes']:,}",
            oldest,
            f"{one['damaged']:,}",
        )


def _drop(options: argparse.Namespace) -> int:
    state_dir: Path = options.settings.state_dir
    journal = _chosen(_core.journals(state_dir), options.name)
    given_up = [one for one in journal["destinations"] if options.destination in (None, one["destination"])]
    if options.destination is not None and not given_up:
        names = ", ".join(printable(one["destination"]) for one in journal["destinations"]) or "none"
        raise ValueError(
            f"--destination: the journal has no events for {printable(options.destination)!r}; its destinations are {names}"
        )
    if journal["owner"] in ("live", "this"):
        raise ValueError(f"{printable(journal['name'])} is written by {_OWNERS[journal['owner']]}; stop that process first")
    counts = [f"{counted(one['records'], 'event')} for {printable(one['destination'])}" for one in given_up if one["records"]]
    waiting = " and ".join(counts) or "no events"
    if not options.yes:
        say(f"{printable(journal['name'])}: {waiting} would be lost permanently; add --yes to drop them")
        return 2
    count = _core.drop_journal(state_dir, journal["name"], options.destination)
    if options.json:
        answer(options, [{"journal": journal["name"], "destination": options.destination, "dropped": count}])
    else:
        print(f"{printable(journal['name'])}: {waiting} dropped")
    return 0


def _chosen(journals: Iterable[Journal], name: str) -> Journal:
    found = [journal for journal in journals if journal["name"].startswith(name)]
    exact = [journal for journal in found if journal["name"] == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if not name or not found:
        raise ValueError(f"there is no journal {printable(name)!r}; taximeter journals lists them")
    raise ValueError(f"{len(found)} journals begin with {printable(name)!r}; give more of the name")


def _requeue(options: argparse.Namespace) -> int:
    found = _core.requeue_quarantine(options.settings.state_dir)
    drained = _default.default_meter.drain_report()
    report = {**found, "delivered": drained.delivered, "left": found["left"] + drained.left}
    if options.json:
        answer(options, [report])
    else:
        print(
            f"{counted(report['requeued'], 'event')} requeued, {report['delivered']:,} delivered, {report['damaged']:,} still damaged"
        )
    for reason in drained.reasons:
        say(f"taximeter: {printable(reason)}")
    if found["left"]:
        say(f"taximeter: left in quarantine, because their destinations are unknown: {counted(found['left'], 'event')}")
    return 1 if report["left"] else 0


def check_waiting(settings: Settings, statuses: Mapping[str, Mapping[str, Any]]) -> tuple[bool, str]:
    """Check that no event waits without progress. `statuses` has the last counts of each process, by journal.

    Returns:
        Whether all is well, and the details.
    """
    try:
        journals = _core.journals(settings.state_dir)
    except (ConfigError, OSError) as error:
        return False, str(error)
    known = {*_default.default_meter.destinations()}
    known |= {one["destination"] for journal in journals if journal["owner"] in ("live", "this") for one in journal["destinations"]}
    hosts = _hosts(statuses.values())
    faults = [*_orphaned(journals, known, hosts), *(fault for journal in journals for fault in _faults(settings, journal))]
    faults += [
        f"{status['memory_bytes']:,} bytes of events of process {status['pid']} are in memory only"
        for journal, status in statuses.items()
        if status.get("memory_bytes") and any(one["name"] == journal and one["owner"] in ("live", "this") for one in journals)
    ]
    if faults:
        more = f"; and {len(faults) - 10:,} more, see taximeter journals" if len(faults) > 10 else ""  # noqa: PLR2004 - readable
        return False, "; ".join(faults[:10]) + more
    count = max((sum(one["records"] for one in _of(journals, name)) for name in known), default=0)
    return True, f"{counted(count, 'event')}, all of them recent" if count else "none"


def _of(journals: Iterable[Journal], destination: str) -> Iterable[Mapping[str, Any]]:
    return (one for journal in journals for one in journal["destinations"] if one["destination"] == destination)


def _hosts(statuses: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the hosts of destinations by name. The name of a destination is only a checksum of its address."""
    counts = (one for status in statuses for one in status.get("destinations", {}).values())
    return {one["name"]: printable(str(one["host"])) for one in counts if one["host"]}


def _orphaned(journals: Iterable[Journal], known: set[str], hosts: Mapping[str, str]) -> Iterable[str]:
    """Yield the faults of ended processes' journals: their undelivered events, by destination."""
    waiting: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for journal in journals:
        for one in journal["destinations"] if journal["owner"] == "dead" else ():
            if one["records"]:
                waiting.setdefault(one["destination"], []).append((journal["name"], one))
    for destination, found in sorted(waiting.items()):
        oldest = max((one["oldest_seconds"] or 0.0 for _, one in found), default=0.0)
        count = sum(one["records"] for _, one in found)
        host = f" ({hosts[destination]})" if destination in hosts else ""
        what = (
            f"{counted(count, 'event')} for {printable(destination)}{host} in {counted(len(found), 'journal')} of ended processes, "
            f"the oldest for {age(oldest)}"
        )
        if destination in known:
            yield f"{what}: run taximeter drain to deliver them"
        else:
            yield (
                f"{what}; that destination is neither in these settings nor in use by a running process: set TAXIMETER_DESTINATION "
                f"as their program did and run taximeter drain, or drop them: taximeter journals drop {printable(found[0][0])}"
            )


def _faults(settings: Settings, journal: Journal) -> Iterable[str]:
    name = printable(journal["name"])
    if journal["error"]:
        yield f"journal {name} cannot be read: {printable(journal['error'])}"
    for one in journal["destinations"]:
        if not one["records"] and not one["incomplete"]:
            continue
        what = f"{counted(one['records'], 'event')} for {printable(one['destination'])}"
        oldest = one["oldest_seconds"] or 0.0
        if journal["owner"] == "unknown":
            yield f"{what} in journal {name} without a lock file, which nothing delivers: taximeter journals drop {name}"
        elif journal["owner"] == "dead":
            if one["incomplete"]:
                yield f"journal {name} has segments that cannot be read now, or only by a newer version of taximeter"
        elif oldest > STALLED_SECONDS and _unmoved(settings, journal, one["destination"]) > STALLED_SECONDS:
            yield f"{what} of a running process, the oldest for {age(oldest)}; the destination has accepted none for a minute"


def _unmoved(settings: Settings, journal: Journal, destination: str) -> float:
    """Return how many seconds ago a destination last accepted events of a journal."""
    try:
        cursor = Path(settings.inside("journal", journal["name"], f"{destination}.cursor"))
        return max(0.0, time.time() - cursor.lstat().st_mtime)
    except (OSError, ValueError):
        return float("inf")
