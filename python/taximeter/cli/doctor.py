"""`taximeter doctor` checks the meter, and the delivery of running processes."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from .. import __version__, _default, files, instrument
from ..errors import ConfigError, TaximeterError
from ..exposition import expose
from ..fields import ENVIRONMENT_PREFIX, nearest
from ..ledger import Ledger, quick_check
from ..ledger.metrics import labels
from ..meter import engine_of, prometheus
from ..meter.statuses import LOST, ended, labelled, running
from ..sanitize import printable
from ..settings import Settings, resolve
from ..settings.model import FAILED_CLIENTS, KNOWN, UNKNOWN_HOSTS
from . import journals
from .budgets import check_budgets
from .common import Add
from .costs import Check, check_costs
from .dead_letters import count_letters
from .render import answer, color, counted

__all__ = ["add_commands", "doctor", "report_settings"]

_MOST_HOSTS = 20
_CHECK_SECONDS = 5.0
"""How long the ledger's file is checked, in seconds: some 5 GB."""
_GROWTH_DAYS = 7
"""The days whose mean is the growth a day."""
_FEWEST_EVENTS = 1_000
"""In a file with fewer events, most bytes are not those of events, so the doctor computes no size of an event."""
_MUCH_FREE = 0.25
"""The share of unused space in the ledger that is worth a remark."""
_FAILURE_SECONDS = 7 * 86_400.0
"""How long a client that could not be metered is shown, in seconds. Programs that still have it note it again every day."""


def add_commands(add: Add) -> None:
    """Add the commands of this module to the command line."""
    command = add("doctor", doctor, "check the meter and report what is wrong")
    command.add_argument(
        "--clients", action="store_true", help="also import the installed clients and check whether each can be metered"
    )
    command.add_argument("--prometheus", action="store_true", help="print Prometheus text: delivery, budgets, calls, costs")
    command.add_argument(
        "--metrics-by", default="", metavar="FIELDS", help="with --prometheus: more labels of calls, such as team,feature"
    )
    command.add_argument("--openmetrics", action="store_true", help="with --prometheus: in the format OpenMetrics 1.0")


def doctor(options: argparse.Namespace) -> int:
    """Run all checks. The exit code is 1 if a check fails."""
    settings: Settings = options.settings
    statuses = list(running(settings.state_dir))
    if options.prometheus:
        found = prometheus.families(labelled(settings.state_dir), engine_of(_default.default_meter).standings())
        found += prometheus.of_ledger(settings.ledger, labels(options.metrics_by), settings.timezone)
        print(expose(found, is_openmetrics=options.openmetrics), end="")
        return 0
    checks = [_check_state_dir(settings.state_dir), _check_journals(settings.state_dir), _check_ledger(settings.ledger)]
    checks += [("waiting events", *journals.check_waiting(settings, dict(statuses)))]
    checks += [*check_costs(settings.ledger), *_check_hosts(settings), _check_dead_letters(settings.state_dir)]
    checks += check_budgets()
    checks += [*_check_destinations([status for _, status in statuses]), *_check_ended(settings.state_dir)]
    checks += [_check_disabled(), *_check_environment()]
    checks += _check_clients(settings, is_thorough=options.clients)
    return _show(options, checks, f"taximeter {__version__}, prices {_default.default_meter.catalog}")


def report_settings(options: argparse.Namespace, error: ConfigError) -> int:
    """Print the doctor's report if the settings are invalid."""
    return _show(options, [("settings", False, str(error))], f"taximeter {__version__}")


def _show(options: argparse.Namespace, checks: list[Check], title: str) -> int:
    if options.json:
        answer(options, [{"check": name, "ok": is_well is not False, "detail": detail} for name, is_well, detail in checks])
    else:
        print(title)
        for name, is_well, detail in checks:
            mark, style = {True: ("ok  ", "green"), None: ("note", "yellow"), False: ("BAD ", "red")}[is_well]
            print(f"{color(mark, style)}  {name}: {detail}")
    return 0 if all(is_well is not False for _, is_well, _ in checks) else 1


def _check_ended(state_dir: Path) -> list[Check]:
    """List what processes that ended have delivered and lost. Past losses are not a fault of today."""
    found = ended(state_dir)
    if not found:
        return []
    parts = []
    for name, one in sorted(found["destinations"].items()):
        lost = "".join(f", {one[reason]:,} {reason}" for reason in LOST if one[reason])
        host = f" ({one['host']})" if one.get("host") else ""
        parts.append(f"{name}{host}: {one['delivered']:,} delivered{lost}")
    has_lost = any(one[reason] for one in found["destinations"].values() for reason in LOST)
    detail = "; ".join([f"{counted(found['processes'], 'journal')} since {found['since'][:10]}", *parts])
    return [("ended processes", None if has_lost else True, printable(detail))]


def _check_destinations(statuses: list[dict[str, Any]]) -> list[Check]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for status in statuses:
        for name, one in status["destinations"].items():
            found.setdefault(name, []).append(one)
    return [_check_destination(name, counts) for name, counts in sorted(found.items())]


def _check_destination(name: str, counts: list[Mapping[str, Any]]) -> Check:
    def total(key: str) -> int:
        return sum(one[key] for one in counts)

    oldest = max((one["oldest_seconds"] for one in counts if one["oldest_seconds"] is not None), default=None)
    states = {one["state"] for one in counts if one["state"] not in (None, "closed")}
    lost = {reason: total(reason) for reason in LOST if total(reason)}
    parts = [f"{total('delivered'):,} delivered and {total('pending'):,} waiting in {len(counts)} processes"]
    if oldest is not None:
        parts.append(f"the oldest for {oldest:,.0f} s")
    parts += sorted(states)
    parts += [f"{count:,} {reason}" for reason, count in lost.items()]
    errors = sorted({error for one in counts for error in (one["last_error"], one.get("upkeep_error")) if error})
    host = next((f" ({one['host']})" for one in counts if one.get("host")), "")
    return f"destination {name}{host}", not (states or lost or errors), "; ".join([*parts, *errors])


def _check_state_dir(path: Path) -> Check:
    fault = engine_of(_default.default_meter).storage_fault()
    return "state directory", fault is None, str(path) if fault is None else f"{fault}; events are kept in memory only"


def _check_journals(state_dir: Path) -> Check:
    journals = [path for path in (state_dir / "journal").glob("*") if path.is_dir()]
    quarantine = state_dir / "quarantine"
    damaged, requeued = list(quarantine.glob("*.seg")), list(quarantine.glob("*.seg.read"))
    size = sum(_size(file) for journal in journals for file in journal.glob("*.seg"))
    parts = [f"{len(journals)}, {size / 1e6:,.1f} MB"]
    if damaged:
        parts.append(f"{len(damaged)} damaged segments in {quarantine}: try taximeter journals requeue")
    if requeued:
        parts.append(f"{len(requeued)} damaged segments in {quarantine} were requeued as far as they can be read; delete them")
    if foreign := len(list(quarantine.glob("*.foreign"))):
        parts.append(f"{foreign} files in {quarantine} are not taximeter's and were in deleted journals: move or delete them")
    return "journals", not damaged and not foreign, "; ".join(parts)


def _size(file: Path) -> int:
    """Return the bytes that a file takes on disk; 0 if it was deleted or the system does not say."""
    try:
        return getattr(file.stat(), "st_blocks", 0) * 512
    except OSError:
        return 0


def _check_ledger(path: Path) -> Check:
    if not path.exists():
        return "ledger", True, f"{path} does not exist yet; the first event creates it"
    try:
        found = quick_check(path, _CHECK_SECONDS)
        week = Ledger(path).report((), since=timedelta(days=_GROWTH_DAYS)).total.calls
    except TaximeterError as error:
        return "ledger", False, f"{path}: {error}"
    parts = [f"{path}: {counted(found.events, 'event')}, {found.size / 1e6:,.1f} MB"]
    if found.events >= _FEWEST_EVENTS:
        each = (found.size - found.free) / found.events
        parts += [f"{each:,.0f} bytes an event", f"{each * week / _GROWTH_DAYS / 1e6:,.1f} MB more a day"]
    if found.free > _MUCH_FREE * found.size:
        parts.append(f"{found.free / 1e6:,.1f} MB unused: taximeter ledger compact gives them back")
    if not found.is_complete:
        parts.append("too large to be checked here: see taximeter ledger check")
    return "ledger", not found.faults, printable("; ".join([", ".join(parts), *found.faults]))


def _check_hosts(settings: Settings) -> list[Check]:
    """List the hosts whose provider is not known. Their calls are priced as those of the client's vendor."""
    try:
        rows = files.notes(settings.state_dir / UNKNOWN_HOSTS, 2)
    except OSError:
        return []
    found = {host: vendor for (host, vendor), _ in rows if not {host, re.sub(r":\d+$", "", host)} & settings.hosts.keys()}
    if not found:
        return []
    names = ", ".join(f"{host} (priced as {vendor})" for host, vendor in list(found.items())[:_MOST_HOSTS])
    first, vendor = next(iter(found.items()))
    remedy = f'say in taximeter.toml who answers: hosts = {{ "{first}" = "vllm" }}, or "{vendor}" for a gateway to it'
    return [("hosts", None, printable(f"not known: {names}; {remedy}; or set TAXIMETER_HOSTS={first}=vllm"))]


def _check_dead_letters(state_dir: Path) -> Check:
    try:
        count = count_letters(state_dir)
    except OSError as error:
        return "dead letters", False, f"{error.filename or state_dir}: {error.strerror or error}"
    return (
        "dead letters",
        not count,
        f"{counted(count, 'event')} rejected permanently; see taximeter dead-letters" if count else "none",
    )


def _check_clients(settings: Settings, *, is_thorough: bool) -> list[Check]:
    """Check whether clients can be metered: their private functions must have the known signatures.

    Importing the clients takes seconds and runs their code. Without `is_thorough`, only those are known that this process has
    imported, and those that other processes have noted as failed.
    """
    found = instrument.check_installed() if is_thorough else instrument.status()
    checks: list[Check] = [
        (f"client {name}", one.state == "bound", ": ".join(filter(None, (one.version, one.reason or "can be metered"))))
        for name, one in found.items()
        if one.state == "failed" or (is_thorough and one.state != "absent")
    ]
    checked = {(name, one.version) for name, one in found.items() if one.state != "absent"}
    for (name, version, reason), at in _failures(settings):
        if (name, version) not in checked:
            checked.add((name, version))
            when = datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M")
            here = instrument.installed_version(name)
            # The program may have been updated since.
            is_other = here not in {None, version}
            detail = f"{version}: {reason}; a program noted this at {when} UTC" + (f"; {here} is installed here" if is_other else "")
            checks.append((f"client {name}", None if is_other else False, printable(detail)))
    if not checks:
        checks.append(
            ("clients", True, "no program has noted one that cannot be metered; --clients imports the installed ones and checks")
        )
    return checks


def _failures(settings: Settings) -> list[tuple[tuple[str, ...], float]]:
    """Return the recent notes about clients that could not be metered, the newest first: family, version, reason; and the time."""
    try:
        noted = files.notes(settings.state_dir / FAILED_CLIENTS, 3)
    except OSError:
        return []
    return [(fields, at) for fields, at in reversed(noted) if time.time() - at < _FAILURE_SECONDS]


def _check_disabled() -> Check:
    is_off = not resolve({}).enabled
    return (
        "metering",
        not is_off,
        "disabled by TAXIMETER_DISABLED, TAXIMETER_ENABLED or a file" if is_off else "enabled",
    )


def _check_environment() -> list[Check]:
    """List environment variables whose names are probably misspelt settings. Programs ignore them."""
    known = [name.upper() for name in (*KNOWN, "disabled")]
    given = sorted(name.removeprefix(ENVIRONMENT_PREFIX) for name in os.environ if name.startswith(ENVIRONMENT_PREFIX))
    return [
        ("environment", None, printable(f"{ENVIRONMENT_PREFIX}{name} is not a setting; did you mean {ENVIRONMENT_PREFIX}{alike}?"))
        for name in given
        if name not in known and (alike := nearest(name, known)) is not None
    ]
