"""The pytest plugin: the fixture `taximeter_events`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import Captured, capture

__all__ = ["taximeter_events"]


@pytest.fixture
def taximeter_events() -> Iterator[Captured]:
    """Return the events that a test records, apart from all others; see `taximeter.testing.capture`."""
    with capture() as captured:
        yield captured
