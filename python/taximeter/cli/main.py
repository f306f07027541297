"""The parser of the command line, and the settings of its commands."""

from __future__ import annotations

import argparse
import os
import re
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Final, NoReturn

from .. import __version__, _core, _default
from ..errors import ConfigError, TaximeterError
from ..fields import nearest
from ..meter import engine_of
from ..sanitize import printable
from ..settings import NO_HOME, Settings, resolve
from .common import Run, action_adder, add_common, add_source
from .progress import INTERRUPTED, run
from .render import complain, set_up

__all__ = ["main", "parser"]

MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "report": ("hourly", "daily", "weekly", "monthly", "session", "customers", "report", "errors", "unpriced"),
    "calls": ("calls", "show", "tail", "export"),
    "top": ("top", "statusline"),
    "prices": ("price", "models", "prices"),
    "repricing": ("what-if", "reprice"),
    "tokens": ("tokens",),
    "budgets": ("budgets",),
    "dead_letters": ("dead-letters", "drain"),
    "journals": ("journals",),
    "ledger": ("backup", "restore", "prune", "ledger", "query"),
    "clickhouse": ("clickhouse",),
    "doctor": ("doctor",),
    "serve": ("serve",),
    "grafana": ("grafana",),
    "shells": ("completion", "help"),
}
"""The modules of commands, in the order of the documentation, with the commands of each."""
GROUPS: Final = {
    "look": (
        "hourly", "daily", "weekly", "monthly", "session", "customers", "report", "calls", "show", "errors", "unpriced", "top",
        "tail", "budgets", "statusline", "serve",
    ),
    "act": ("price", "tokens", "models", "prices", "what-if", "reprice", "export"),
    "care": (
        "doctor", "drain", "dead-letters", "journals", "ledger", "backup", "restore", "prune", "query", "clickhouse", "grafana",
        "completion", "help",
    ),
}  # fmt: skip
"""The commands in the order of the help."""
_EXAMPLES: Final = """examples:
  taximeter                                  today, this month, a forecast
  taximeter daily --breakdown team
  taximeter report --by customer,model --since last-month --until this-month
  taximeter calls --where 'latency_ms>2000' --where model=gpt-4o,gpt-4o-mini
  taximeter price gpt-4o --input 1200 --output 350 --explain"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _replace_closed_streams()
    options = parser(_modules(arguments)).parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):
        # Redirected output on Windows may have an encoding without box-drawing characters and dashes. They become question marks.
        sys.stdout.reconfigure(errors="replace")
    try:
        set_up(is_quiet=options.quiet, colors=options.color)
        return run(lambda: _run(options), is_quiet=options.quiet)
    except BrokenPipeError:
        # The reader of the pipe has closed it. Standard output is replaced so that Python's flush at exit does not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (TaximeterError, ValueError, OSError) as error:
        complain(f"taximeter: {error}")
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


def _replace_closed_streams() -> None:
    """Let a process without standard streams, as after `>&-` or in a window without console, print to nowhere.

    Python has `None` in their place. Then `print` fails for standard output, and for standard error it prints to standard output.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # Open until the process ends. It takes the lowest free descriptor, so that no file of ours gets one of the first three.
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115, PTH123


def _run(options: argparse.Namespace) -> int:
    command: Run = options.run
    if options.csv:
        if not getattr(options, "has_csv", False):
            raise ValueError(f"--csv: taximeter {options.command} prints no CSV; --json prints its data")
        if options.json:
            raise ValueError("--csv and --json exclude each other; give one of them")
    if options.source is not None and options.command != "overview" and not getattr(options, "has_source", False):
        raise ValueError(f"--from: taximeter {options.command} needs the files of this machine; leave out --from")
    try:
        options.settings = _settings(options)
    except ConfigError as error:
        if options.command != "doctor":
            raise
        from . import doctor  # noqa: PLC0415 - as in parser

        return doctor.report_settings(options, error)
    return command(options)


def _settings(options: argparse.Namespace) -> Settings:
    settings = resolve({} if options.state_dir is None else {"state_dir": options.state_dir})
    if not settings.root:
        raise ConfigError(f"state_dir: {NO_HOME}")
    if owner := _other_owner(settings.root):
        _work_for(settings, owner)
    engine = engine_of(_default.default_meter)
    engine.sets_budgets = False
    try:
        return engine.configure({"state_dir": options.state_dir, "enabled": True})
    finally:
        engine.sets_budgets = True


def _other_owner(directory: str) -> os.stat_result | None:
    """Return what the system knows of a directory, if it belongs to another user."""
    try:
        found = os.lstat(directory)
    except OSError:
        return None
    return found if hasattr(os, "geteuid") and found.st_uid != os.geteuid() else None


def _work_for(settings: Settings, owner: os.stat_result) -> None:
    """Let root work in the state directory of another user. What root creates there then belongs to that user.

    Raises:
        ConfigError: This process is not root's, or the ledger is not that user's file.
    """
    if os.geteuid() != 0:
        name = _user_name(owner.st_uid)
        raise ConfigError(
            f"state_dir: {settings.root} belongs to {name}. Run this as that user, for example `sudo -u {name} taximeter …`, "
            "or as root"
        )
    try:
        ledger = os.lstat(settings.ledger)
    except OSError:
        ledger = owner
    if ledger is not owner and (ledger.st_uid != owner.st_uid or not stat.S_ISREG(ledger.st_mode)):
        raise ConfigError(
            f"state_dir: {settings.ledger} is not a regular file of {_user_name(owner.st_uid)}; change its owner or move it"
        )
    _core.work_for(owner.st_uid, owner.st_gid)


def _user_name(uid: int) -> str:
    import pwd  # noqa: PLC0415 - not on Windows

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


class _Help(argparse.RawDescriptionHelpFormatter):
    """Lists the commands in groups."""

    def _format_action(self, action: argparse.Action) -> str:
        if not isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - argparse has no public name for it
            return super()._format_action(action)
        texts = {one.dest: super(_Help, self)._format_action(one) for one in action._get_subactions()}  # noqa: SLF001
        named = {name for names in GROUPS.values() for name in names}
        groups = {**GROUPS, "others": tuple(name for name in texts if name not in named)}
        parts = [f"  {title}:\n{''.join(texts[name] for name in names if name in texts)}" for title, names in groups.items() if names]
        return "\n".join(parts)


class _Parser(argparse.ArgumentParser):
    """Shows the control characters of wrong arguments as escapes, and names the command nearest to a misspelt one.

    The parsers of its commands are of this class, too.
    """

    def error(self, message: str) -> NoReturn:
        if found := re.match(r"argument COMMAND: invalid choice: '([^']*)'", message):
            alike = nearest(found[1], (name for names in MODULES.values() for name in names))
            if alike is not None:
                self.exit(2, f"taximeter: there is no command {printable(found[1])!r}; did you mean {alike!r}?\n")
        super().error(printable(message))


def _modules(arguments: Sequence[str]) -> Sequence[str]:
    """Return the modules that a command line needs: that of its command, or all for help and for errors."""
    if not arguments:
        return ()
    first = next((one for one in arguments if not one.startswith("-")), "help")
    return [name for name, commands in MODULES.items() if first in commands and first != "help"] or list(MODULES)


def _overview(options: argparse.Namespace) -> int:
    from .overview import overview  # noqa: PLC0415 - as in parser

    return overview(options)


def parser(modules: Iterable[str] = MODULES) -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Args:
        modules: The modules whose commands it has. Each takes time to import, and a command needs only its own.
    """
    whole = _Parser(
        prog="taximeter",
        description="What LLM calls use and cost. Without a command: today, this month, and a forecast.",
        formatter_class=_Help,
        epilog=_EXAMPLES,
    )
    whole.add_argument("--version", action="version", version=f"taximeter {__version__}")
    add_common(whole, is_whole=True)
    whole.add_argument("--csv", action="store_true", help="print CSV")
    add_source(whole, is_whole=True)
    whole.set_defaults(run=_overview, command="overview", whole=whole)
    add = action_adder(whole.add_subparsers(title="commands", metavar="COMMAND"))
    for name in modules:
        import_module(f".{name}", __package__).add_commands(add)
    return whole
