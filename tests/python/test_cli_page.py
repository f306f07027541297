"""What is made from the parser: the reference in `docs/cli.md`, the completions of shells, and the manual page.

`WRITE_CLI_PAGE=1 pytest tests/python/test_cli_page.py` updates them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import shtab

from pages import DOCS, ROOT
from taximeter.cli.main import GROUPS, MODULES, main, parser
from taximeter.cli.shells import SCRIPTS, SHELLS

MANUAL = ROOT / "packaging" / "data" / "share" / "man" / "man1" / "taximeter.1"
PAGE = DOCS / "cli.md"
COMMON = {"state_dir", "json", "timezone", "color", "quiet"}
"""The options of every command, which the page lists once."""
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
        if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)) or action.dest in COMMON:
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


def rows(parser: argparse.ArgumentParser, without: set[str] = frozenset()) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)) or action.dest in without:
            continue
        names = ", ".join(f"`{option}`" for option in action.option_strings) or f"`{shown(action)}`"
        values = "" if action.nargs == 0 or not action.option_strings else f" `{shown(action).partition(' ')[2]}`"
        yield f"| {names}{values} | {(action.help or '').replace('|', chr(92) + '|')} |"


def reference() -> str:
    whole = parser()
    lines = ["## Options of every command", "", "| option | meaning |", "|---|---|", *rows(whole), ""]
    for name, command in commands(whole):
        lines += [f"## taximeter {name}", "", command.description or "", "", "```text", usage(name, command), "```", ""]
        if arguments := [*rows(command, COMMON)]:
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


def manual(monkeypatch) -> str:
    from build_manpages.manpage import Manpage

    # Otherwise the page has the date of the build, and usages are broken at the width of this terminal.
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    monkeypatch.setenv("COLUMNS", "80")
    whole = parser()
    whole.epilog = None
    whole.version = ""
    text = str(Manpage(whole, format="single-commands-section"))
    # Versions of argparse and of the package differ in these lines.
    lines = [line for line in text.splitlines() if not line.startswith(".TH ")]
    return "\n".join(['.TH TAXIMETER 1 "" "" "taximeter"', *lines, ""])


def made(monkeypatch) -> Iterator[tuple[Path, str]]:
    """Yield each file that is made, and its contents."""
    for shell in SHELLS:
        yield SCRIPTS / f"taximeter.{shell}", shtab.complete(parser(), shell)
    yield MANUAL, manual(monkeypatch)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the texts of argparse differ between versions of Python")
def test_completions_and_the_manual_page_match_the_parser(monkeypatch):
    for path, text in made(monkeypatch):
        if os.environ.get("WRITE_CLI_PAGE"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        else:
            assert path.read_text("utf-8") == text, f"{path.name}: run this test with WRITE_CLI_PAGE=1 to update it"


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_scripts_are_printed_and_parse(cli, shell):
    script = cli("completion", shell).stdout
    assert "what-if" in script
    if (program := shutil.which(shell)) is not None:
        outcome = subprocess.run([program, "-n"], input=script, capture_output=True, text=True, timeout=300, check=False)
        assert (outcome.returncode, outcome.stderr) == (0, "")


def test_bash_completes_commands_and_options():
    script = f"source {SCRIPTS / 'taximeter.bash'}; COMP_WORDS=(taximeter da); COMP_CWORD=1; _shtab_taximeter; echo ${{COMPREPLY[@]}}"
    outcome = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert outcome.stdout.split() == ["daily"]


@pytest.mark.skipif(shutil.which("man") is None, reason="needs man")
def test_the_manual_page_renders():
    outcome = subprocess.run(["man", "--local-file", str(MANUAL)], capture_output=True, text=True, timeout=300, check=False)
    assert "taximeter" in outcome.stdout
    assert "what-if" in outcome.stdout


def test_the_help_lists_every_command_in_a_group():
    named = [name for group in GROUPS.values() for name in group]
    assert sorted(named) == sorted(name for name, _ in commands(parser()) if " " not in name)
    assert all(f"  {name} " in parser().format_help() for name in named)


def test_help_of_a_command_has_examples(cli):
    assert "taximeter daily --breakdown team" in cli("help", "daily").stdout
    assert "usage: taximeter prices update" in cli("help", "prices", "update").stdout
    assert "did you mean 'daily'?" in cli("help", "dayly", code=2).stderr


def test_a_command_needs_only_its_own_module():
    for module, own in MODULES.items():
        assert {name for name, _ in commands(parser([module])) if " " not in name} == set(own), module
    # In a process of its own, because other tests have imported every module.
    text = "import sys; from taximeter.cli import main; main(['models', '--provider', 'openai']); print(*sys.modules)"
    outcome = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    loaded = set(outcome.stdout.splitlines()[-1].split())
    assert "taximeter.cli.prices" in loaded
    assert not {"taximeter.cli.doctor", "taximeter.cli.report", "taximeter.dashboard", "taximeter.ledger.clickhouse"} & loaded


def test_an_error_in_the_command_names_all_others(capsys):
    with pytest.raises(SystemExit):
        main(["xyzzy", "--by", "top"])
    told = capsys.readouterr().err
    assert all(repr(name) in told for names in GROUPS.values() for name in names)
