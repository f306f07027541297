"""The command line: what was spent, and how the meter is doing.

Data goes to standard output and everything else to standard error, so that every command can be piped.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime, timezone
from typing import Any, Final

from . import __version__, _api, cli_doctor, cli_journals, cli_prices, cli_tokens, config
from .errors import ConfigError, TaximeterError
from .ledger import Ledger, Report, Row

__all__ = ["main"]

_COLUMNS: Final = (
    "id", "started_at", "provider", "model", "operation", "status", "error", "finish_reason", "input_tokens", "output_tokens",
    "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "usage", "provider_usage", "usage_status",
    "cost_usd", "cost_status",
    "computed_cost_usd", "cost_notes",
    "priced_as", "catalog", "latency_ms", "ttft_ms", "service_tier", "region", "batch", "agent", "feature",
    "team", "customer", "user", "session", "tags", "trace_id", "span_id", "parent_span_id",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):
        # A redirect on Windows has an encoding without lines and dashes; those become question marks there.
        sys.stdout.reconfigure(errors="replace")
    command: Callable[[argparse.Namespace], int] = getattr(options, "run", _overview)
    try:
        try:
            options.settings = _settings(options)
        except ConfigError as error:
            if command is not cli_doctor.doctor:
                raise
            return cli_doctor.report_settings(options, error)
        return command(options)
    except BrokenPipeError:
        # The reader of a pipe has seen enough; what Python would flush at exit has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (TaximeterError, ValueError, OSError) as error:
        _say(f"taximeter: {error}")
        return 2
    except KeyboardInterrupt:
        return 130


def _settings(options: argparse.Namespace) -> config.Settings:
    settings = config.resolve({} if options.state_dir is None else {"state_dir": options.state_dir})
    if not settings.root:
        raise ConfigError(f"state_dir: {config.HOMELESS}")
    if owner := _other_owner(settings.root):
        raise ConfigError(
            f"state_dir: {settings.root} belongs to {owner}. Run this as that user, for example `sudo -u {owner} taximeter …`, "
            "because its programs cannot use files that another user makes in it, root too"
        )
    return _api.default_meter.configure({"state_dir": options.state_dir, "enabled": True})


def _other_owner(directory: str) -> str | None:
    """The owner of a directory, if that is another user."""
    try:
        uid = os.lstat(directory).st_uid
        if not hasattr(os, "geteuid") or uid == os.geteuid():
            return None
        import pwd  # noqa: PLC0415 - not on Windows

        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
    except OSError:
        return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="taximeter", description="What LLM calls use and cost.")
    parser.add_argument("--version", action="version", version=f"taximeter {__version__}")
    parser.add_argument("--state-dir", metavar="DIR", help="directory of journals and ledger")
    parser.add_argument("--json", action="store_true", help="print JSON")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.set_defaults(run=run)
        command.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
        return command

    report = add("report", _report, "sum up calls by any field")
    report.add_argument("--by", default="model", metavar="FIELDS", help="fields by comma, such as model,team,day,tag:plan")
    _add_filters(report)
    report.add_argument("--csv", action="store_true", help="print CSV instead")

    tail = add("tail", _tail, "show the last calls, then new ones as they come")
    tail.add_argument("-n", "--lines", type=_count, default=10, metavar="N", help="how many of the last calls (10)")
    tail.add_argument("--no-follow", action="store_true", help="stop after them")

    cli_prices.add_commands(add, _add_filters, _filters)
    cli_tokens.add_commands(add)

    export = add("export", _export, "print every call, as JSON lines or CSV")
    _add_filters(export)
    export.add_argument("--csv", action="store_true", help="print CSV")

    dead = add("dead-letters", _dead_letters, "list the events that a destination refused for good, and why; retry or drop them")
    actions = "list them (default), deliver them once more, or drop them"
    dead.add_argument("action", nargs="?", choices=("list", "retry", "drop"), default="list", help=actions)
    add("drain", _drain, "deliver the events that ended processes left; exits with 1 when some are left, expired or damaged")
    cli_journals.add_commands(add)
    cli_doctor.add_commands(add)
    return parser


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 1_000_000:  # noqa: PLR2004 - more is what export is for
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1,000,000")
    return number


def _add_filters(command: argparse.ArgumentParser) -> None:
    command.add_argument("--since", metavar="WHEN", help="7d, 24h, 2026-11-01, 2026-11-01T09:00:00Z")
    command.add_argument("--until", metavar="WHEN", help="likewise; exclusive")
    command.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="only these calls; empty for those without; repeatable",
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _ledger(options: argparse.Namespace) -> Ledger:
    """The ledger, with what ended processes left put into it first."""
    try:
        _api.drain()
    except TaximeterError as error:
        _say(f"taximeter: what other processes left could not be delivered: {error}")
    return Ledger(options.settings.ledger)


def _filters(options: argparse.Namespace) -> dict[str, Any]:
    where = {}
    for pair in options.where:
        name, separator, value = pair.partition("=")
        if not separator:
            raise ValueError(f"--where: {pair!r} is not of the form FIELD=VALUE")
        where[name] = value or None
    return {"since": options.since, "until": options.until, "where": where}


def _show(report: Report) -> None:
    """A table; with rich on a terminal, plain otherwise."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console  # noqa: PLC0415 - an extra
        except ImportError:
            pass
        else:
            Console().print(report)
            return
    print(report)


def _overview(options: argparse.Namespace) -> int:
    ledger = _ledger(options)
    today = datetime.now(timezone.utc).date()
    reports = {
        "today": ledger.report("model", since=today),
        "this month": ledger.report("model", since=today.replace(day=1)),
    }
    if options.json:
        print(json.dumps({name: json.loads(report.to_json()) for name, report in reports.items()}, indent=2))
        return 0
    for name, report in reports.items():
        print(f"{name} (UTC)")
        _show(report)
        print()
    if not reports["this month"].total.calls:
        _say(f"nothing is recorded this month in {ledger.path}")
    return 0


def _report(options: argparse.Namespace) -> int:
    names = [name.strip() for name in options.by.split(",") if name.strip()]
    report = _ledger(options).report(names, **_filters(options))
    if options.csv:
        writer = csv.DictWriter(sys.stdout, [*names, *(field.name for field in fields(Row) if field.name != "key")])
        writer.writeheader()
        writer.writerows(report.to_dicts())
    elif options.json:
        print(report.to_json())
    else:
        _show(report)
    return 0


def _tail(options: argparse.Namespace) -> int:
    ledger = _ledger(options)
    events = ledger.last(options.lines) if options.no_follow else ledger.follow(last=options.lines)
    for event in events:
        print(json.dumps(event, ensure_ascii=False) if options.json else _line(event), flush=True)
    return 0


def _line(event: dict[str, Any]) -> str:
    cost = event["cost_usd"]
    labels = " ".join(str(event[name]) for name in config.ATTRIBUTION if name in event)
    return (
        f"{event['started_at'][:19]}Z  {event['provider']}/{event['model']}  {event['input_tokens']:,} in  "
        f"{event['output_tokens']:,} out  {'unpriced' if cost is None else '$' + cost}  {event['status']}  {labels}"
    ).rstrip()


def _export(options: argparse.Namespace) -> int:
    events = _ledger(options).events(**_filters(options))
    if not options.csv:
        for event in events:
            print(json.dumps(event, ensure_ascii=False))
        return 0
    writer = csv.DictWriter(sys.stdout, _COLUMNS, restval="", extrasaction="ignore")
    writer.writeheader()
    for event in events:
        nested = {name: json.dumps(event[name], ensure_ascii=False) for name in ("usage", "tags", "cost_notes") if name in event}
        writer.writerow(event | nested)
    return 0


def _drain(options: argparse.Namespace) -> int:
    report = _api.default_meter.drain_report()
    if options.json:
        print(json.dumps(report._asdict()))
    else:
        counts = {name: getattr(report, name) for name in ("left", "expired", "damaged")}
        print(
            ", ".join([f"{report.delivered:,} events delivered", *(f"{count:,} {name}" for name, count in counts.items() if count)])
        )
        for reason in report.reasons:
            _say(f"taximeter: {cli_journals.plain(reason)}")
    return 1 if report.left or report.expired or report.damaged or report.reasons else 0


def _dead_letters(options: argparse.Namespace) -> int:
    meter, state_dir = _api.default_meter, options.settings.state_dir
    if options.action == "drop":
        count = meter.drop_dead_letters()
        print(json.dumps({"dropped": count}) if options.json else f"{count:,} events dropped")
        return 0
    if options.action == "retry":
        count = meter.retry_dead_letters()
        left = cli_doctor.count_letters(state_dir)
        text = f"{count:,} events sent again, {left:,} dead letters left"
        print(json.dumps({"retried": count, "left": left}) if options.json else text)
        if left:
            _say("taximeter: those left were refused again, or are of destinations that the settings here do not name")
        return 1 if left else 0
    damaged = 0
    for line in cli_doctor.letters(state_dir):
        try:
            letter = json.loads(line)
            shown = _letter(letter)
        except (ValueError, KeyError, TypeError):
            damaged += 1
            continue
        print(json.dumps(letter, ensure_ascii=False) if options.json else shown)
    if damaged:
        _say(f"taximeter: {damaged:,} lines are damaged, as a full disk leaves them")
    return 0


def _letter(letter: dict[str, Any]) -> str:
    # What a server wrote is not to move the cursor of a terminal.
    reason = "".join(character if character.isprintable() else " " for character in letter["reason"])
    return f"{letter['at'][:19]}Z  {letter['destination']}  {letter['status']}  {letter['event']['id']}  {reason}"


if __name__ == "__main__":
    sys.exit(main())
