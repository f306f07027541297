"""`docs/cli.md` contains the help texts of the parser. `WRITE_CLI_PAGE=1 pytest tests/python/test_cli_page.py` updates it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

from pages import DOCS
from taximeter.cli.main import parser

PAGE = DOCS / "cli.md"
BEGIN, END = "<!-- generated from the parser -->\n", "<!-- end of the generated part -->\n"


def commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield name, command
                for inner, deeper in commands(command):
                    yield f"{name} {inner}", deeper


def usage(name: str, parser: argparse.ArgumentParser) -> str:
    """Return the usage on one line, independent of the terminal's width."""
    parts = ["taximeter", name]
    for action in parser._actions:
        if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            continue
        what = shown(action)
        parts.append(what if action.required else f"[{what}]")
    if any(isinstance(action, argparse._SubParsersAction) for action in parser._actions):
        parts.append("[COMMAND]")
    return " ".join(filter(None, parts))


def shown(action: argparse.Action) -> str:
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    if not action.option_strings:
        return value
    return action.option_strings[-1] + ("" if action.nargs == 0 else f" {value}")


def rows(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            continue
        names = ", ".join(f"`{option}`" for option in action.option_strings) or f"`{shown(action)}`"
        values = "" if action.nargs == 0 or not action.option_strings else f" `{shown(action).partition(' ')[2]}`"
        yield f"| {names}{values} | {(action.help or '').replace('|', chr(92) + '|')} |"


def reference() -> str:
    whole = parser()
    lines = ["## Options of every command", "", "| option | meaning |", "|---|---|", *rows(whole), ""]
    for name, command in commands(whole):
        lines += [f"## taximeter {name}", "", command.description or "", "", "```text", usage(name, command), "```", ""]
        if arguments := [row for row in rows(command) if "`--json`" not in row]:
            lines += ["| argument | meaning |", "|---|---|", *arguments, ""]
    return "\n".join(lines)


def test_the_page_matches_the_parser():
    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    if os.environ.get("WRITE_CLI_PAGE"):
        PAGE.write_text(f"{before}{BEGIN}\n{reference()}\n{END}{after}", "utf-8")
    else:
        assert old.strip() == reference().strip(), "run this test with WRITE_CLI_PAGE=1 to update the page"
