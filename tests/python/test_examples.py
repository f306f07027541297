"""The examples run unchanged and print a report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from conftest import EXAMPLES


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("from_*.py")), ids=lambda path: path.stem)
def test_an_example_prints_a_report(path, state):
    outcome = subprocess.run(
        [sys.executable, path], env={**os.environ, "TAXIMETER_STATE_DIR": str(state)}, cwd=state.parent, capture_output=True, text=True, timeout=300
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    header, *_, total = outcome.stdout.rstrip().splitlines()[-5:]
    assert total.startswith("total") and "unpriced" in outcome.stdout


def test_the_notebook_runs_and_shows_tables_and_charts(tmp_path):
    shutil.copy(EXAMPLES / "report.ipynb", tmp_path)
    outcome = subprocess.run(
        [
            sys.executable, "-m", "jupyter", "nbconvert", "--execute", "--to", "notebook", "--inplace", "--ExecutePreprocessor.timeout=120",
            "report.ipynb",
        ],
        env={**os.environ, "JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "JUPYTER_DATA_DIR": str(tmp_path / "data"), "IPYTHONDIR": str(tmp_path / "ipython"), "JUPYTER_PLATFORM_DIRS": "1"},
        cwd=tmp_path, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    cells = {cell["id"]: cell.get("outputs", []) for cell in json.loads((tmp_path / "report.ipynb").read_text("utf-8"))["cells"]}
    assert "<table" in "".join(cells["by-model"][0]["data"]["text/html"])
    for name in ("by-day", "customers"):
        assert 'role="img"' in "".join(cells[name][0]["data"]["text/html"])
    assert (tmp_path / "last-30-days.svg").read_text("utf-8").startswith("<svg")
    assert cells["exact"][0]["data"]["text/plain"][0].startswith("Decimal(")
