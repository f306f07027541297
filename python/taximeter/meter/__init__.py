"""The meter validates, prices and records events, and reports the results."""

from __future__ import annotations

from .. import attribution
from .engine import Engine
from .meter import Meter, engine_of, meter_with
from .reports import DrainReport, FlushReport

__all__ = ["DrainReport", "Engine", "FlushReport", "Meter", "engine_of", "get_default", "meter_with", "set_default"]

_default: Meter | None = None


def get_default() -> Meter:
    """Return the default meter, for packages below `taximeter._default`, which creates it."""
    if _default is None:
        raise RuntimeError("import taximeter before its submodules")
    return _default


def set_default(meter: Meter) -> None:
    """Set the default meter."""
    global _default  # noqa: PLW0603 - there is one default meter
    _default = meter
    attribution.report_to(engine_of(meter).count_remark)
