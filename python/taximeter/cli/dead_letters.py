"""The commands for undelivered and rejected events: `dead-letters` and `drain`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from .. import _default, files
from ..sanitize import printable
from .common import Add
from .progress import progress
from .render import answer, counted, say

__all__ = ["add_commands", "count_letters", "letters"]

# Four times the size limit of one destination's dead letters, in bytes.
MAX_LETTERS_BYTES: Final = 64 << 20


def add_commands(add: Add) -> None:
    """Add the commands of this module to the command line."""
    dead = add("dead-letters", _dead_letters, "list the events that a destination rejected permanently, and why; retry or drop them")
    actions = "list them (default), deliver them again, or drop them"
    dead.add_argument("action", nargs="?", choices=("list", "retry", "drop"), default="list", help=actions)
    add("drain", _drain, "deliver the events of ended processes; exits with 1 if some are left, expired or damaged")


def letters(state_dir: Path) -> Iterator[bytes]:
    """Yield the lines of the dead-letter files, including damaged lines."""
    for path in sorted((state_dir / "dead").glob("*.jsonl")):
        yield from filter(None, files.read(path, MAX_LETTERS_BYTES).splitlines())


def count_letters(state_dir: Path) -> int:
    """Return the number of dead letters."""
    return sum(1 for _ in letters(state_dir))


def _drain(options: argparse.Namespace) -> int:
    with progress("delivering what ended processes left", unit="events"):
        report = _default.default_meter.drain_report()
    if options.json:
        answer(options, [report._asdict()])
    else:
        counts = {name: getattr(report, name) for name in ("left", "expired", "damaged")}
        print(
            ", ".join(
                [f"{counted(report.delivered, 'event')} delivered", *(f"{count:,} {name}" for name, count in counts.items() if count)]
            )
        )
        for reason in report.reasons:
            say(f"taximeter: {printable(reason)}")
    return 1 if report.left or report.expired or report.damaged or report.reasons else 0


def _dead_letters(options: argparse.Namespace) -> int:
    meter, state_dir = _default.default_meter, options.settings.state_dir
    if options.action == "drop":
        count = meter.drop_dead_letters()
        if options.json:
            answer(options, [{"dropped": count}])
        else:
            print(f"{counted(count, 'event')} dropped")
        return 0
    if options.action == "retry":
        count = meter.retry_dead_letters()
        left = count_letters(state_dir)
        text = f"{counted(count, 'event')} sent again, {counted(left, 'dead letter')} left"
        if options.json:
            answer(options, [{"retried": count, "left": left}])
        else:
            print(text)
        if left:
            say("taximeter: the letters that are left were rejected again, or belong to destinations that are not in these settings")
        return 1 if left else 0
    return _print_letters(options, state_dir)


def _print_letters(options: argparse.Namespace, state_dir: Path) -> int:
    damaged, found = 0, []
    for line in letters(state_dir):
        try:
            letter = json.loads(line)
            shown = _letter(letter)
        except (ValueError, KeyError, TypeError):
            damaged += 1
            continue
        if options.json:
            found.append(letter)
        else:
            print(shown)
    if options.json:
        answer(options, found)
    elif not damaged and not count_letters(state_dir):
        say(f"no event in {state_dir / 'dead'} was rejected permanently")
    if damaged:
        say(f"taximeter: {counted(damaged, 'line')} {'is' if damaged == 1 else 'are'} damaged, possibly because the disk was full")
    return 0


def _letter(letter: dict[str, Any]) -> str:
    reason = printable(letter["reason"])
    return f"{letter['at'][:19]}Z  {letter['destination']}  {letter['status']}  {letter['event']['id']}  {reason}"
