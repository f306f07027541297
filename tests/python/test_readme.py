"""Runs the code in the README and in the pages of docs/ unchanged.

- Python blocks of a page run one after the other in one process, against the fake provider. A `text` block after one is its output.
- A block with a title is a file. It is written first, and the page's driver in `page_drivers.py` uses it with the real framework.
- TOML blocks are loaded as `taximeter.toml`; JSON and YAML blocks are parsed; SQL runs on a ledger.
- `taximeter` commands in console blocks run in this process, except those in `NOT_RUN`.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
import yaml

import taximeter
from page_drivers import DRIVERS, PREPARE
from pages import DOCS, PAGES, ROOT, Block, blocks, name
from taximeter import settings as rules
from taximeter.cli.main import main, parser
from taximeter.settings.model import KNOWN

PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]
SETTINGS = [(page, block) for page in PAGES for block in blocks(page) if block.language == "toml"]
COMMANDS = [
    pytest.param(page, line.removeprefix("$ "), id=f"{name(page)}: {line.removeprefix('$ ')}")
    for page in PAGES
    for block in blocks(page)
    if block.language == "console"
    for line in block.text.splitlines()
    if line.startswith("$ ")
]
NOT_RUN = {
    "serve": "it does not end",
    "tail": "it does not end",
    "prices update": "it downloads",
    "prices diff": "it downloads",
    "journals drop": "it names a journal that is not there",
    "budgets reset": "it names a budget that is not there",
    "budgets rm": "it names a budget that is not there",
    "clickhouse": "it asks another machine",
    "export --to": "it asks another machine",
    "report --by team,day --from": "it asks another machine",
}
NEEDS_A_LEDGER = {"prune", "ledger", "query", "backup"}
OTHER_PROGRAMS = {"cargo", "make", "pip", "python", "gunicorn", "uvicorn", "celery", "git", "kill", "kubectl", "docker"}
LANGUAGES = {"python", "text", "console", "toml", "json", "yaml", "sql", "dockerfile", "html"}


def run_page(page, state, provider, files: list[Block], code: list[Block], **environment: str) -> list[str]:
    for block in files:
        path = state.parent / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
    texts = [[0, PREPARE.get(name(page), "")], *([block.line, block.text] for block in code)]
    if driver := DRIVERS.get(name(page)):
        texts.append([10_000, driver])
    outcome = subprocess.run(
        [sys.executable, ROOT / "tests" / "python" / "page_runner.py"],
        env={
            **os.environ, "TAXIMETER_STATE_DIR": str(state), "PYTHONPATH": os.pathsep.join([str(state.parent), str(ROOT / "tests" / "python")]),
            "OPENAI_BASE_URL": f"{provider.url}/v1", "OPENAI_API_KEY": "k", "ANTHROPIC_BASE_URL": provider.url, "ANTHROPIC_API_KEY": "k",
            **environment,
        },
        input=json.dumps({"page": name(page), "blocks": texts}), capture_output=True, text=True, timeout=120, cwd=state.parent,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    return json.loads(outcome.stdout.splitlines()[-1])[1:]


@pytest.mark.slow
@pytest.mark.parametrize("page", PYTHON, ids=name)
def test_code_of_a_page_prints_what_the_page_shows(page, provider, collector, state):
    found = blocks(page)
    files = [block for block in found if block.title]
    code = [block for block in found if block.language == "python" and not block.title]
    if code or name(page) in DRIVERS:
        printed = run_page(page, state, provider, files, code, COLLECTOR=collector.url)
    assert code or not files or name(page) in DRIVERS, "nothing uses the files of this page: add a driver"
    for number, block in enumerate(code):
        after = found[found.index(block) + 1 :]
        if after and after[0].language == "text":
            assert printed[number] == after[0].text, f"{name(page)}:{block.line}"


@pytest.mark.parametrize(("page", "block"), SETTINGS, ids=lambda value: value if isinstance(value, str) else "")
def test_settings_are_valid(page, block, state):
    place = state.parent / (block.title or "taximeter.toml")
    place.write_text(block.text)
    settings = rules.resolve({}, {}, state.parent)
    assert settings != rules.resolve({}, {}, "/"), "the file changes nothing"


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_commands_are_accepted(page, command, state, monkeypatch, capsys):
    words = [word for word in shlex.split(command.rpartition("| ")[2], comments=True) if not re.match(r"[A-Z_]+=", word)]
    program, *arguments = words
    if program != "taximeter":
        assert os.path.basename(program) in OTHER_PROGRAMS, f"{program}: run it in this test, or add it to OTHER_PROGRAMS"
        return
    if ">" in arguments:
        arguments = arguments[: arguments.index(">")]
    arguments = [argument for argument in arguments if not argument.startswith("[")]
    parser().parse_args(arguments)
    if any(" ".join(arguments).startswith(one) for one in NOT_RUN) and "--no-follow" not in arguments:
        return
    if arguments and arguments[0] in NEEDS_A_LEDGER:
        with taximeter.Meter(state_dir=state) as meter:
            meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    (state.parent / "prompt.txt").write_text("Hello, world")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Hello, world")))
    assert main(arguments) in {0, 1}, capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_is_checked(page):
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{name(page)}:{block.line}: a block of {block.language or 'no language'}"
        if block.language == "yaml":
            yaml.safe_load(block.text)
        elif block.language == "json":
            json.loads(block.text)
    # Fences that the regular expression misses, such as indented ones, would not be checked.
    assert page.read_text("utf-8").count("```") == 2 * len(blocks(page)), name(page)


def test_sql_runs_on_a_ledger(meter):
    meter.track(provider="openai", model="gpt-4o", input_tokens=1, tags={"plan": "pro"})
    meter.flush()
    with closing(sqlite3.connect(meter.settings.ledger)) as connection, connection:
        for page in PAGES:
            for block in blocks(page):
                # The statements of that page are for ClickHouse.
                if block.language == "sql" and page.stem != "clickhouse":
                    connection.execute(block.text).fetchall()
    connection.close()


def test_the_pages_own_prices_are_right(run, state):
    rules, partial, free, weekdays = [block.text for block in blocks(DOCS / "pricing.md") if block.language == "toml"]
    (state.parent / "taximeter.toml").write_text(rules)
    ask = "import taximeter; print(taximeter.price({!r}, {!r}, {!r}{}).usd)"
    assert run(ask.format("gpt-4o-2024-08-06", {"input_tokens": 1_000_000}, "openai", "")).stdout == "2.025\n"
    assert run(ask.format("painter", {"output_images": 2}, "my-gateway", "")).stdout == "0.084\n"
    assert run(ask.format("prod-eu", {"input_tokens": 1_000_000}, "azure", "")).stdout == "2.1\n"
    (state.parent / "taximeter.toml").write_text(partial)
    million = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}
    assert run(ask.format("gpt-4o", million, "openai", "")).stdout == "12\n"
    (state.parent / "taximeter.toml").write_text(free)
    assert run(ask.format("llama3", million, "ollama", "")).stdout == "0\n"
    (state.parent / "taximeter.toml").write_text(weekdays)
    friday, saturday = ", at=1_795_176_000", ", at=1_795_262_400"
    asked = ("deepseek-chat", {"input_tokens": 1_000_000}, "deepseek")
    assert [run(ask.format(*asked, day)).stdout for day in (friday, saturday)] == ["0.27\n", "0.135\n"]


def test_every_note_of_a_cost_is_documented():
    source = (ROOT / "src" / "event" / "mod.rs").read_text("utf-8")
    names = re.search(r"const NAMES: \[&str; \d+\] = \[(.*?)\]", source, re.DOTALL)[1]
    page = (DOCS / "pricing.md").read_text("utf-8")
    for note in re.findall(r'"(\w+)"', names):
        assert f"`{note}`" in page, note


def test_every_column_of_the_ledger_is_documented(meter):
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    meter.flush()
    connection = sqlite3.connect(meter.settings.ledger)
    page = (DOCS / "ledger.md").read_text("utf-8")
    for (column,) in connection.execute("SELECT name FROM pragma_table_info('events')").fetchall():
        assert f"`{column}`" in page, column
    for (table,) in connection.execute(
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite%'"
    ).fetchall():
        assert f"`{table}`" in page, table
    connection.close()


def test_every_setting_is_documented():
    page = (DOCS / "configuration.md").read_text("utf-8")
    for setting in sorted(KNOWN):
        assert f"`{setting}`" in page, setting
        assert f"`TAXIMETER_{setting.upper()}`" in page, setting
    files = [path for path in [*(ROOT / "python").rglob("*.py"), *(ROOT / "src").rglob("*.rs")] if "tests" not in path.parts]
    sources = "".join(path.read_text("utf-8") for path in files)
    for variable in sorted(set(re.findall(r"\bTAXIMETER_[A-Z_]*[A-Z]\b", sources))):
        assert f"`{variable}`" in page, variable


def test_every_count_is_documented(meter):
    page = (DOCS / "stats.md").read_text("utf-8")
    meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    stats = meter.stats()
    (destination,) = stats["destinations"].values()
    for key in [*stats, *stats["refused"], *stats["remarks"], *destination]:
        assert f"| `{key}` |" in page, key


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120


@pytest.mark.slow
def test_the_site_is_built_without_a_warning():
    """An invalid link or anchor is an error, each page is in the menu, and no page loads anything from another host."""
    pytest.importorskip("zensical", reason="it is in the dependency group docs, which needs Python 3.11")
    zensical = os.path.join(os.path.dirname(sys.executable), "zensical")
    outcome = subprocess.run([zensical, "build", "--clean", "--strict"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "griffe:" not in outcome.stdout + outcome.stderr, "a docstring and its signature differ"
    menu = set(re.findall(r'"([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text("utf-8")))
    assert menu == {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    site = ROOT / "target" / "site"
    for page in site.rglob("*.html"):
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text("utf-8")):
            assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag), tag
    assert "Stop metering clients" in (site / "api.html").read_text("utf-8"), "the docstrings are not in the reference"


def test_links_of_pages_outside_the_site_are_valid():
    for page in PAGES:
        if DOCS in page.parents:
            continue
        for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text("utf-8")):
            path, _, anchor = link.partition("#")
            assert (page.parent / path).is_file(), f"{name(page)}: {link}"
            text = (page.parent / path).read_text("utf-8") if anchor else ""
            headings = {
                re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
                for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            }
            assert not anchor or anchor in headings or f"{{ #{anchor} }}" in text, f"{name(page)}: {link}"


def test_every_public_name_is_in_the_reference():
    page = (DOCS / "api.md").read_text("utf-8")
    for public in taximeter.__all__:
        assert re.search(rf"(^::: [\w.]+\.|heading: ){public}$", page, re.MULTILINE) or public == "__version__", public


def test_functions_that_pages_name_exist():
    """Check the functions that pages call by their full name."""
    for page in PAGES:
        for called in set(re.findall(r"`taximeter\.(\w+)\(", page.read_text("utf-8"))):
            assert hasattr(taximeter, called), f"{name(page)}: taximeter.{called}"
