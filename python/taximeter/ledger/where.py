"""Parses conditions as the command line and the dashboard take them."""

from __future__ import annotations

import re
from typing import Final

from ..fields import nearest
from ..zones import UNITS
from .filters import Above, Below, Condition, Like, Not

__all__ = ["GROUPS", "NUMBERS", "check_field", "condition"]

GROUPS: Final = (
    "provider", "model", "operation", "status", "cost_status", "agent", "feature", "team", "customer", "user", "session",
    "usage_status", "service_tier", "region", "error", "finish_reason", "catalog", "cost_notes", "trace_id", "call_id", *UNITS,
)  # fmt: skip
"""The fields that reports group by. `tag:KEY` is another for each tag."""
NUMBERS: Final = (
    "latency_ms", "ttft_ms", "cost_usd", "input_tokens", "output_tokens", "cache_read_tokens",
    "cache_write_tokens", "reasoning_tokens",
)  # fmt: skip
"""The fields that only conditions have."""
_FORM: Final = re.compile(r"\s*(?P<field>[^=!~<>]+?)\s*(?P<sign>!=|=|~|<|>)(?P<text>.*)", re.DOTALL)
_COMMA: Final = re.compile(r"(?<!\\),")
_NUMBER: Final = re.compile(r"-?(\d+(\.\d*)?|\.\d+)")


def check_field(option: str, name: str, known: tuple[str, ...] = GROUPS) -> None:
    """Check the name of a field.

    Raises:
        ValueError: There is no such field. The message names the nearest.
    """
    if name in known or (name.startswith("tag:") and name != "tag:"):
        return
    alike = nearest(name, known)
    remedy = f"did you mean {alike!r}?" if alike else f"there are {', '.join(known)} and tag:KEY"
    raise ValueError(f"{option}: there is no field {name!r}; {remedy}")


def condition(text: str, option: str = "--where") -> tuple[str, Condition]:
    r"""Return a condition of `Ledger.report` from a text such as `team=a,b`, `model!=x`, `model~gpt` or `latency_ms>2000`.

    A comma in a value is written `\,`.

    Args:
        text: The text.
        option: The name of the option, for errors.

    Raises:
        ValueError: The text has another form, or its field is unknown.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"{option}: {text!r} is not of the form FIELD=VALUE, nor with !=, ~, < or > instead of =")
    name, sign = match["field"], match["sign"]
    check_field(option, name, (*GROUPS, *NUMBERS))
    if sign in {"<", ">"}:
        if not _NUMBER.fullmatch(match["text"].strip()):
            raise ValueError(
                f"{option}: {text!r}: {match['text']!r} is not a decimal number; {sign} needs one, such as {name}{sign}2000"
            )
        return name, (Above if sign == ">" else Below)(match["text"].strip())
    values = [value.replace("\\,", ",") or None for value in _COMMA.split(match["text"])]
    if sign == "=":
        return name, values[0] if len(values) == 1 else values
    if sign == "!=":
        return name, Not(values)
    parts = [value for value in values if value]
    if not parts:
        raise ValueError(f"{option}: {text!r}: ~ needs a part of the value after it; an absent value is {name}=")
    return name, Like(parts)
