"""The parser of the command line, and the settings of its commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .. import __version__, _default
from ..errors import ConfigError, TaximeterError
from ..meter import engine_of
from ..settings import NO_HOME, Settings, resolve
from . import budgets, calls, dead_letters, doctor, journals, ledger, overview, prices, report, tokens
from .common import Run, action_adder
from .progress import INTERRUPTED, run
from .render import say

__all__ = ["main", "parser"]

GROUPS = (report, calls, prices, tokens, budgets, dead_letters, journals, ledger, doctor)
"""The modules of commands, in the order of the help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Return the exit code."""
    options = parser().parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):
        # Redirected output on Windows may have an encoding without box-drawing characters and dashes. They become question marks.
        sys.stdout.reconfigure(errors="replace")
    try:
        return run(lambda: _run(options))
    except BrokenPipeError:
        # The reader of the pipe has closed it. Standard output is replaced so that Python's flush at exit does not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (TaximeterError, ValueError, OSError) as error:
        say(f"taximeter: {error}")
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    command: Run = getattr(options, "run", overview.overview)
    try:
        options.settings = _settings(options)
    except ConfigError as error:
        if command is not doctor.doctor:
            raise
        return doctor.report_settings(options, error)
    return command(options)


def _settings(options: argparse.Namespace) -> Settings:
    settings = resolve({} if options.state_dir is None else {"state_dir": options.state_dir})
    if not settings.root:
        raise ConfigError(f"state_dir: {NO_HOME}")
    if owner := _other_owner(settings.root):
        raise ConfigError(
            f"state_dir: {settings.root} belongs to {owner}. Run this as that user, for example `sudo -u {owner} taximeter …`, "
            f"because the programs of {owner} could not use the files that another user, even root, creates in it"
        )
    engine = engine_of(_default.default_meter)
    engine.sets_budgets = False
    try:
        return engine.configure({"state_dir": options.state_dir, "enabled": True})
    finally:
        engine.sets_budgets = True


def _other_owner(directory: str) -> str | None:
    """Return the name of a directory's owner, if it is another user."""
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


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    whole = argparse.ArgumentParser(prog="taximeter", description="What LLM calls use and cost.")
    whole.add_argument("--version", action="version", version=f"taximeter {__version__}")
    whole.add_argument("--state-dir", metavar="DIR", help="the directory of journals and ledger")
    whole.add_argument("--json", action="store_true", help="print JSON")
    add = action_adder(whole.add_subparsers(title="commands", metavar="COMMAND"))
    for group in GROUPS:
        group.add_commands(add)
    return whole
