"""`taximeter completion` and `taximeter help`. The scripts are made during development; see tests/python/test_cli_page.py."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from ..fields import unknown_name
from .common import Add

__all__ = ["SCRIPTS", "SHELLS", "add_commands"]

SHELLS: Final = ("bash", "zsh", "fish")
SCRIPTS: Final = Path(__file__).parent / "completions"
"""The directory with one script for each shell, named `taximeter.SHELL`."""


def add_commands(add: Add) -> None:
    """Add the commands of this module to the command line."""
    examples = (
        "completion bash > ~/.local/share/bash-completion/completions/taximeter",
        "completion zsh > ~/.zfunc/_taximeter          # a directory of $fpath",
        "completion fish > ~/.config/fish/completions/taximeter.fish",
    )
    completion = add("completion", _completion, "print a script that completes the command line in a shell", *examples)
    completion.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")
    command = add("help", _help, "print the help of a command", "help daily", "help prices update")
    command.add_argument("names", nargs="*", metavar="COMMAND", help="the command, and its action")


def _completion(options: argparse.Namespace) -> int:
    sys.stdout.write((SCRIPTS / f"taximeter.{options.shell}").read_text("utf-8"))
    return 0


def _help(options: argparse.Namespace) -> int:
    found: argparse.ArgumentParser = options.whole
    for name in options.names:
        choices = _choices(found)
        if name not in choices:
            raise ValueError(unknown_name(name, choices) if choices else f"{found.prog} has no actions")
        found = choices[name]
    found.print_help()
    return 0


def _choices(parser: argparse.ArgumentParser) -> dict[str, Any]:
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to the commands
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return dict(action.choices)
    return {}
