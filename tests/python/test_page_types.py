"""The Python code that the README and the pages in docs/ show passes type checkers in their strictest modes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pages import PAGES, ROOT, blocks, name

PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]


# Pages whose blocks are programs of their own, and have other clients under the same name.
SEPARATE = {"docs/migrating.md"}
# What pages do not need: the types of frameworks without any, names that only show where they come from, a notebook's last line.
PYRIGHT = {
    "typeCheckingMode": "strict",
    "reportDuplicateImport": False,
    "reportMissingTypeStubs": False,
    "reportUnknownMemberType": False,
    "reportUntypedFunctionDecorator": False,
    "reportUnusedExpression": False,
    "reportUnusedImport": False,
    "reportUnnecessaryTypeIgnoreComment": False,
}
MYPY = ("--strict", "--allow-untyped-decorators", "--no-warn-unused-ignores", "--ignore-missing-imports")


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    """Return a directory with a module for each page: its blocks, one after the other, on the lines that they have in the page."""
    directory = tmp_path_factory.mktemp("pages")
    for page in PYTHON:
        program = "page_" + re.sub(r"\W", "_", name(page).removesuffix(".md"))
        sources: dict[str, str] = {}
        for block in blocks(page):
            if block.language != "python":
                continue
            path = (
                f"{program}/{block.title}"
                if block.title
                else f"{program}_{block.line}.py"
                if name(page) in SEPARATE
                else f"{program}.py"
            )
            source = sources.get(path, "import taximeter.compat" if name(page) in SEPARATE else "")
            sources[path] = source + "\n" * (block.line - source.count("\n")) + block.text
        for path, source in sources.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(source)
    return directory


def check(*command: str | Path, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)], cwd=directory, capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "MYPYPATH": str(ROOT / "python")},
    )  # fmt: skip


def test_mypy_passes_in_strict_mode(programs):
    outcome = check(
        "mypy", *MYPY, "--no-error-summary", "--cache-dir", ROOT / ".mypy_cache" / "pages", "--scripts-are-modules",
        "--explicit-package-bases", "--namespace-packages", *sorted(programs.rglob("*.py")), directory=programs,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_pyright_passes_in_strict_mode(programs):
    settings = {**PYRIGHT, "extraPaths": [str(ROOT / "python")], "include": ["."]}
    (programs / "pyrightconfig.json").write_text(json.dumps(settings))
    # A fork that brings its own node.js; pyright itself would download one.
    outcome = check("basedpyright", "--outputjson", "--pythonpath", sys.executable, directory=programs)
    found = json.loads(outcome.stdout)
    errors = [
        f"{Path(one['file']).relative_to(programs)}:{one['range']['start']['line'] + 1}: {one['message']} ({one.get('rule')})"
        for one in found["generalDiagnostics"]
        if one["severity"] == "error"
    ]
    assert not errors, "\n".join(errors)
    assert found["summary"]["filesAnalyzed"] >= len(PYTHON)
