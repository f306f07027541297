"""`taximeter doctor`: is the meter well, and how does its delivery fare in the processes that live?"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import __version__, _api, config, exposition
from .errors import TaximeterError
from .ledger import Ledger

__all__ = ["add_commands", "letters"]

Check = tuple[str, bool, str]


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands of this module to the command line."""
    doctor = add("doctor", _doctor, "check the meter and say what is wrong")
    doctor.add_argument("--prometheus", action="store_true", help="print the counts of living processes as Prometheus text")


def letters(state_dir: Path) -> list[Path]:
    """The files of dead letters."""
    return sorted((state_dir / "dead").glob("*.jsonl"))


def _doctor(options: argparse.Namespace) -> int:
    settings: config.Settings = options.settings
    statuses = list(_statuses(settings.state_dir))
    if options.prometheus:
        print(exposition.render([({"pid": str(status["pid"])}, status) for status in statuses]), end="")
        return 0
    checks = [_check_state_dir(settings.state_dir), _check_journals(settings.state_dir), _check_ledger(settings.ledger)]
    checks += [_check_unpriced(settings.ledger), _check_dead_letters(settings.state_dir)]
    checks += [*_check_destinations(statuses), _check_disabled()]
    if options.json:
        names = ("check", "ok", "detail")
        print(json.dumps([dict(zip(names, check, strict=True)) for check in checks], indent=2))
    else:
        print(f"taximeter {__version__}, prices {_api.default_meter.catalog}")
        for name, is_well, detail in checks:
            print(f"{'ok  ' if is_well else 'BAD '}  {name}: {detail}")
    return 0 if all(is_well for _, is_well, _ in checks) else 1


def _statuses(state_dir: Path) -> Iterator[dict[str, Any]]:
    """What living processes, and those that left events behind, last told of their delivery, as `stats()` has it."""
    for path in (state_dir / "journal").glob("*/status.json"):
        try:
            status = json.loads(path.read_bytes())
            now = time.time()
            for one in status["destinations"]:
                oldest = one.pop("oldest")
                one["oldest_seconds"] = None if oldest is None else max(0.0, now - oldest / 1e9)
            status["destinations"] = {one["name"]: one for one in status["destinations"]}
        except (OSError, ValueError, KeyError, TypeError):
            continue  # gone meanwhile, or another version's
        yield status


def _check_destinations(statuses: list[dict[str, Any]]) -> list[Check]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for status in statuses:
        for name, one in status["destinations"].items():
            found.setdefault(name, []).append(one)
    return [_check_destination(name, told) for name, told in sorted(found.items())]


def _check_destination(name: str, told: list[Mapping[str, Any]]) -> Check:
    def total(key: str) -> int:
        return sum(one[key] for one in told)

    oldest = max((one["oldest_seconds"] for one in told if one["oldest_seconds"] is not None), default=None)
    states = {one["state"] for one in told if one["state"] not in (None, "closed")}
    lost = {reason: total(reason) for reason in ("rejected", "dead", "dropped", "expired", "evicted") if total(reason)}
    parts = [f"{total('delivered'):,} delivered and {total('pending'):,} waiting in {len(told)} processes"]
    if oldest is not None:
        parts.append(f"the oldest for {oldest:,.0f} s")
    parts += sorted(states)
    parts += [f"{count:,} {reason}" for reason, count in lost.items()]
    errors = sorted({one["last_error"] for one in told if one["last_error"]})
    host = next((f" ({one['host']})" for one in told if one.get("host")), "")
    return f"destination {name}{host}", not (states or lost or errors), "; ".join([*parts, *errors])


def _check_state_dir(path: Path) -> Check:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        return "state directory", False, f"{path}: {error.strerror}; events are kept in memory only"
    is_writable = os.access(path, os.W_OK)
    return (
        "state directory",
        is_writable,
        f"{path}" + ("" if is_writable else " cannot be written; events are kept in memory only"),
    )


def _check_journals(state_dir: Path) -> Check:
    journals = [path for path in (state_dir / "journal").glob("*") if path.is_dir()]
    damaged = list((state_dir / "quarantine").glob("*"))
    size = sum(
        file.stat().st_blocks * 512 for journal in journals for file in journal.glob("*.seg") if hasattr(file.stat(), "st_blocks")
    )
    detail = f"{len(journals)} of living or ended processes, {size / 1e6:,.1f} MB"
    return (
        "journals",
        not damaged,
        detail + (f"; {len(damaged)} damaged segments in {state_dir / 'quarantine'}" if damaged else ""),
    )


def _check_ledger(path: Path) -> Check:
    if not path.exists():
        return "ledger", True, f"{path} will be made by the first event"
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check").fetchone()
            (count,) = connection.execute("SELECT count(*) FROM events").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return "ledger", False, f"{path}: {error}"
    return "ledger", verdict == "ok", f"{path}: {count:,} events" + ("" if verdict == "ok" else f"; {verdict}")


def _check_unpriced(path: Path) -> Check:
    if not path.exists():
        return "prices", True, "nothing to price yet"
    try:
        report = Ledger(path).report(("provider", "model"), since="30d", where={"cost_status": "unpriced"})
    except TaximeterError as error:
        return "prices", False, str(error)
    names = ", ".join(f"{row.key['provider']}/{row.key['model']} ({row.calls:,})" for row in report.rows[:10])
    return "prices", not report.rows, f"unknown for {names}" if names else "known for every call of the last 30 days"


def _check_dead_letters(state_dir: Path) -> Check:
    count = sum(path.read_bytes().count(b"\n") for path in letters(state_dir))
    return "dead letters", not count, f"{count:,} events were refused for good; see taximeter dead-letters" if count else "none"


def _check_disabled() -> Check:
    is_off = not config.resolve({}).enabled
    return (
        "metering",
        not is_off,
        "disabled by TAXIMETER_DISABLED, TAXIMETER_ENABLED or a file" if is_off else "enabled",
    )
