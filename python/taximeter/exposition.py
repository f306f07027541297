"""Writes metrics in Prometheus' text format 0.0.4, or in OpenMetrics 1.0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from .sanitize import printable

__all__ = ["OPENMETRICS", "PLAIN", "Family", "Sample", "expose", "wants_openmetrics"]

PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The content type of Prometheus' text format."""
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""The content type of OpenMetrics."""
_TOTAL: Final = "_total"


class Sample(NamedTuple):
    """One value of a metric."""

    labels: Mapping[str, str]
    value: float | Decimal | str
    """A number; a text is written as it is."""
    suffix: str = ""
    """What follows the name of the metric, such as `_bucket`."""


class Family(NamedTuple):
    """A metric with all its values."""

    name: str
    """The name. That of a counter ends with `_total`."""
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    """The description."""
    samples: Sequence[Sample]


def expose(families: Iterable[Family], *, is_openmetrics: bool = False) -> str:
    """Return metrics as a text. Those without values are left out.

    Args:
        families: The metrics, each once.
        is_openmetrics: Whether to write OpenMetrics, which a scraper asks for in its `Accept` header.
    """
    lines = [line for family in families if family.samples for line in _lines(family, is_openmetrics=is_openmetrics)]
    if is_openmetrics:
        lines.append("# EOF")
    return "".join(f"{line}\n" for line in lines)


def wants_openmetrics(accept: str) -> bool:
    """Return whether an `Accept` header asks for OpenMetrics 1.0, and not rather for the other format.

    Args:
        accept: The header; empty if there was none.
    """
    weights = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for media in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in media.split(";"))
        given = dict(pair.partition("=")[::2] for pair in parameters)
        if kind in weights and given.get("version", "").strip('"') in {"", "1.0.0", "0.0.4"}:
            try:
                weight = float(given.get("q", "1"))
            except ValueError:
                weight = 0.0
            weights[kind] = max(weights[kind], weight)
    return weights["application/openmetrics-text"] > 0 and weights["application/openmetrics-text"] >= weights["text/plain"]


def _lines(family: Family, *, is_openmetrics: bool) -> Iterator[str]:
    head = family.name
    if is_openmetrics and family.kind == "counter":
        head = head.removesuffix(_TOTAL)
    yield f"# HELP {head} {family.text}"
    yield f"# TYPE {head} {family.kind}"
    for labels, value, suffix in family.samples:
        number = format(value, "f") if isinstance(value, Decimal) else value
        yield f"{family.name}{suffix}{_labels(labels)} {number}"


def _labels(labels: Mapping[str, str]) -> str:
    def escaped(text: str) -> str:
        return printable(text).replace("\\", r"\\").replace('"', r"\"")

    inner = ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""
