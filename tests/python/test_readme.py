"""What the README shows, run as written."""

from __future__ import annotations

import re
import sqlite3

import pytest

from conftest import ROOT

PRICING = (ROOT / "docs" / "pricing.md").read_text("utf-8")
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
        assert "TokenCount(tokens=3, encoding='o200k_base', exact=True)" in outcome.stdout


def test_the_pages_on_prices_run_as_written(run, state):
    (block,) = re.findall(r"```python\n(.*?)```", PRICING, re.DOTALL)
    assert "0.0159" in run(block).stdout
    rules, weekdays = re.findall(r"```toml\n(.*?)```", PRICING, re.DOTALL)
    (state.parent / "taximeter.toml").write_text(rules)
    ask = "import taximeter; print(taximeter.price({!r}, {!r}, {!r}{}).usd)"
    assert run(ask.format("gpt-4o-2024-08-06", {"input_tokens": 1_000_000}, "openai", "")).stdout == "2.025\n"
    assert run(ask.format("painter", {"output_images": 2}, "my-gateway", "")).stdout == "0.084\n"
    assert run(ask.format("prod-eu", {"input_tokens": 1_000_000}, "azure", "")).stdout == "2.1\n"
    (state.parent / "taximeter.toml").write_text(weekdays)
    friday, saturday = ", at=1_795_176_000", ", at=1_795_262_400"
    asked = ("deepseek-chat", {"input_tokens": 1_000_000}, "deepseek")
    assert [run(ask.format(*asked, day)).stdout for day in (friday, saturday)] == ["0.27\n", "0.135\n"]


def test_the_page_on_delivery_runs_as_written(run):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "delivery.md").read_text("utf-8"), re.DOTALL)
    # Nothing is tracked, so nothing is sent to the host that the page names.
    run(block)


def test_the_page_on_other_sdks_runs_as_written(run):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "migrating.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 8
    # Nothing is reported, so nothing is sent to the services.
    run("\n".join(blocks))


def test_the_page_on_tokens_runs_as_written(run):
    page = (ROOT / "docs" / "tokens.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert run(block).stdout == shown


def test_every_note_of_a_cost_is_documented():
    source = (ROOT / "src" / "event" / "mod.rs").read_text("utf-8")
    names = re.search(r"const NAMES: \[&str; \d\] = \[(.*?)\]", source, re.DOTALL)[1]
    for name in re.findall(r'"(\w+)"', names):
        assert f"`{name}`" in PRICING, name


def test_there_are_blocks():
    assert len(BLOCKS) == 2


def test_commands_that_are_shown_exist():
    from taximeter.cli import _parser

    choices = next(action.choices for action in _parser()._actions if action.choices and "report" in action.choices)
    shown = set(re.findall(r"^\$ taximeter ([a-z-]+)", README, re.MULTILINE))
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
