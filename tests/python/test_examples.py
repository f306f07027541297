"""The examples run unchanged and print a report."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from conftest import EXAMPLES


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("from_*.py")), ids=lambda path: path.stem)
def test_an_example_prints_a_report(path, state):
    outcome = subprocess.run(
        [sys.executable, path], env={**os.environ, "TAXIMETER_STATE_DIR": str(state)}, cwd=state.parent, capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    header, *_, total = outcome.stdout.rstrip().splitlines()[-5:]
    assert total.startswith("total") and "unpriced" in outcome.stdout
