"""Round numbers for axes, and the texts of values in charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal

from .table import EXACT, amounts

__all__ = ["Number", "Unit", "axis_text", "round_numbers", "value_text"]

Number = Decimal | float | int | None
Unit = Literal["", "USD", "ms", "%"]

_STEPS: Final = ("1", "2", "2.5", "5", "10")
_LARGE: Final = ((1e9, Decimal(10**9), "B"), (1e6, Decimal(10**6), "M"), (1e4, Decimal(1000), "k"))
"""From which number on an axis has a suffix, and what the suffix stands for."""
_SECONDS: Final = 2000
"""From how many milliseconds on an axis of durations has seconds."""
_ROUNDING: Final = 1e-9
"""The part of a step by which floating point may be wrong."""


def round_numbers(low: float, high: float) -> list[Decimal]:
    """Return three to six round numbers at equal distances, the first at most `low` and the last at least `high`."""
    least = (high - low) / 4 or 0.25
    exponent = math.floor(math.log10(least))
    steps = [Decimal(digits).scaleb(exponent, context=EXACT) for digits in _STEPS]
    step = next((step for step in steps if float(step) >= least * (1 - _ROUNDING)), steps[-1])
    first, last = math.floor(low / float(step) + _ROUNDING), math.ceil(high / float(step) - _ROUNDING)
    return [EXACT.multiply(step, Decimal(count)) for count in range(first, max(last, first + 1) + 1)]


def axis_text(mark: Decimal, marks: Sequence[Decimal], unit: Unit) -> str:
    """Return the text of one number of an axis. All numbers of the axis get the same suffix and the same decimal places."""
    most = max(map(abs, map(float, marks)))
    _, factor, suffix = next((row for row in _LARGE if most >= row[0]), (0, Decimal(1), ""))
    if unit == "ms" and most >= _SECONDS:
        factor, suffix, unit = Decimal(1000), " s", ""
    exponents = [EXACT.divide(value, factor).normalize(EXACT).as_tuple().exponent for value in marks]
    places = max(0, *(-int(exponent) for exponent in exponents))
    number = EXACT.divide(mark.copy_abs(), factor).quantize(Decimal(1).scaleb(-places, context=EXACT), context=EXACT)
    return f"{'-' if mark < 0 else ''}{'$' if unit == 'USD' else ''}{number:,f}{suffix}{_suffix(unit)}"


def value_text(value: Number, unit: Unit) -> str:
    """Return a value: amounts with the decimal places that reports show, whole numbers in full, others with one decimal place."""
    if value is None:
        return "unknown"
    if unit == "USD":
        text = amounts([value if isinstance(value, Decimal) else Decimal(str(value))])[0]
        return f"-${text[1:]}" if text.startswith("-") else f"${text}"
    return f"{value:,}{_suffix(unit)}" if isinstance(value, int) else f"{float(value):,.1f}{_suffix(unit)}"


def _suffix(unit: Unit) -> str:
    return {"USD": "", "ms": " ms"}.get(unit, unit)
