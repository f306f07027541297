"""The meter: validates, prices and records events, and says how it went."""

from __future__ import annotations

from .meter import Meter
from .reports import DrainReport, FlushReport

__all__ = ["DrainReport", "FlushReport", "Meter", "get_default", "set_default"]

_default: Meter | None = None


def get_default() -> Meter:
    """The meter that the functions of `taximeter` share, for packages below `taximeter._default`, which makes it."""
    if _default is None:
        raise RuntimeError("import taximeter before its parts")
    return _default


def set_default(meter: Meter) -> None:
    """Makes a meter the one that all share."""
    global _default  # noqa: PLW0603 - there is one
    _default = meter
