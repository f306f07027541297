"""What the README shows, run as written."""

from __future__ import annotations

import re
import sqlite3

import pytest

from conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.strip().splitlines()[-1][:40])
def test_code_runs_as_written(block, provider, run):
    outcome = run(block, OPENAI_BASE_URL=f"{provider.url}/v1", OPENAI_API_KEY="k")
    shown = re.findall(r"```text\n(.*?)```", README, re.DOTALL)[0]
    if "Ledger" in block:
        assert outcome.stdout == shown
    else:
        assert "0.0055" in outcome.stdout


def test_there_are_blocks():
    assert len(BLOCKS) == 2


def test_commands_that_are_shown_exist():
    from taximeter.cli import _parser

    choices = next(action.choices for action in _parser()._actions if action.choices and "report" in action.choices)
    shown = set(re.findall(r"^\$ taximeter ([a-z]+)", README, re.MULTILINE))
    assert shown == set(choices) - {"models"}


def test_every_column_of_the_ledger_is_documented(meter):
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    meter.flush()
    connection = sqlite3.connect(meter.settings.ledger)
    page = (ROOT / "docs" / "ledger.md").read_text("utf-8")
    for (name,) in connection.execute("SELECT name FROM pragma_table_info('events')").fetchall():
        assert f"`{name}`" in page, name
    for (name,) in connection.execute(
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite%'"
    ).fetchall():
        assert f"`{name}`" in page, name
    connection.close()
