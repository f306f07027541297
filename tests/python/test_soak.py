"""A short form of the soak test: three rounds of eight seconds. `make soak` runs the long form."""

from __future__ import annotations

import random

from soak import soak


def test_three_rounds_of_faults_lose_nothing_and_do_not_leak():
    random.seed(5)
    assert soak(3, 8) > 1000
