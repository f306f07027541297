"""What a request asks for. All of it is in the query, so that an address shows the same to everyone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, tzinfo
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from ..fields import unknown_name
from ..ledger import Row
from ..ledger.filters import Condition
from ..ledger.where import GROUPS, check_field, condition
from ..moments import midnight, starts_in_a_day, unix_ns
from ..zones import UNITS, zone
from .http import Request, RequestError

__all__ = ["METRICS", "State", "check_redacted"]

METRICS: Final = tuple(field.name for field in fields(Row) if field.name != "key")
"""The sums that panels show."""
_DEFAULTS: Final = {
    "since": "30d", "until": "", "tz": "", "by": "model", "bin": "auto", "metric": "cost_usd", "sort": "", "top": "8", "limit": "50",
    "offset": "0", "after": "", "width": "760", "start": "exact",
}  # fmt: skip
_OF_PAGE: Final = ("since", "until", "tz", "by", "bin", "metric", "where")
"""What the address of the page and the query of an answer have in common. The page ignores other names."""
_LATENCY: Final = "latency_ms"
"""A metric of the page that has no sum."""
_MOST: Final = {"top": 50, "limit": 500, "offset": 1_000_000, "width": 2_400}
_EVERYTHING: Final = "all"
_STARTS: Final = ("exact", "day")


@dataclass(frozen=True)
class State:
    """The state of the page."""

    since: str | datetime | None
    """When the period begins, as `Ledger.report` takes it; `None` for the first call."""
    until: str | None
    """When it ends; `None` for now."""
    zone: tzinfo
    """The time zone of days and of texts without one."""
    by: str
    """The field to group by; empty for one group."""
    bin: str
    """`hour`, `day`, `week`, `month` or `auto`."""
    metric: str
    """One of `METRICS`."""
    where: tuple[tuple[str, Condition], ...]
    """The conditions."""
    sort: str
    """A metric or the field of `by`, with a minus for the other order; empty for the metric."""
    top: int
    """How many groups a chart names."""
    limit: int
    """The most rows of a table."""
    offset: int
    """How many rows come before them."""
    after: str
    """The place after which a page of calls begins; empty for the newest."""
    width: int
    """The width of a chart in pixels."""
    is_whole: bool = False
    """Whether a number of days before now begins at midnight, and the period before it at a whole hour. Then every panel of a page
    has the days of its charts, and no panel has to read the calls of a part of an hour."""

    @classmethod
    def of(cls, request: Request, own_zone: tzinfo, redacted: Collection[str] = ()) -> State:
        """Return what a request asks for.

        Args:
            request: The request.
            own_zone: The zone if the request names none.
            redacted: Fields whose values are not shown, so that conditions must not test them.

        Raises:
            RequestError: A field is unknown, given twice, or invalid. The message names it.
        """
        texts, conditions = dict(_DEFAULTS), []
        seen = set()
        for name, value in request.query():
            if name == "where":
                conditions.append(value)
            elif name not in _DEFAULTS:
                raise _wrong(f"{unknown_name(name, [*_DEFAULTS, 'where'])}")
            elif name in seen:
                raise _wrong(f"{name}: it is there twice")
            else:
                seen.add(name)
                texts[name] = value
        try:
            return cls._parsed(texts, conditions, own_zone, redacted)
        except ValueError as error:  # a ConfigError is one too
            raise _wrong(str(error)) from None

    @classmethod
    def of_page(cls, request: Request, own_zone: tzinfo, redacted: Collection[str] = ()) -> State:
        """Return what a request asks for whose query is that of the address of the page."""
        given: dict[str, str] = {"start": "day"}
        for name, value in request.query():
            if name in _OF_PAGE and name != "where" and (name, value) != ("metric", _LATENCY):
                given.setdefault(name, value)
        conditions = [("where", value) for name, value in request.query() if name == "where"]
        return cls.of(replace(request, text=urlencode([*given.items(), *conditions])), own_zone, redacted)

    @classmethod
    def _parsed(cls, texts: Mapping[str, str], conditions: Collection[str], own_zone: tzinfo, redacted: Collection[str]) -> State:
        if texts["by"]:
            check_field("by", texts["by"], GROUPS)
        for name, known in (("metric", METRICS), ("bin", ("auto", *UNITS)), ("start", _STARTS)):
            if texts[name] not in known:
                raise ValueError(f"{name}: {unknown_name(texts[name], known)}")
        where = tuple(condition(text, "where") for text in conditions)
        for name, _ in where:
            if name in redacted:
                raise ValueError(f"where: the values of {name} are redacted, so it cannot be filtered by")
        place = zone("tz", texts["tz"]) if texts["tz"] else own_zone
        since: str | datetime | None = None if texts["since"] == _EVERYTHING else texts["since"] or _DEFAULTS["since"]
        is_whole = texts["start"] == "day"
        if is_whole and starts_in_a_day(since) and (begin := unix_ns("since", since, place)) is not None:
            since = datetime.fromtimestamp(midnight(begin, place) / 1e9, place)
        numbers = {name: _number(name, texts[name]) for name in _MOST}
        return cls(
            since,
            texts["until"] or None,
            place,
            texts["by"],
            texts["bin"],
            texts["metric"],
            where,
            texts["sort"],
            numbers["top"],
            numbers["limit"],
            numbers["offset"],
            texts["after"],
            numbers["width"],
            is_whole,
        )


def check_redacted(text: str) -> tuple[str, ...]:
    """Return the fields of a text such as `user,session,tag:email`.

    Raises:
        ValueError: There is no such field. The message names the nearest.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        check_field("redact", name, tuple(group for group in GROUPS if group not in UNITS))
    return names


def _number(name: str, text: str) -> int:
    least = 0 if name == "offset" else 1
    if not (text.isascii() and text.isdigit() and len(text) < 9 and least <= int(text) <= _MOST[name]):  # noqa: PLR2004 - digits
        raise ValueError(f"{name}: {text!r} is not a number from {least} to {_MOST[name]:,}")
    return int(text)


def _wrong(message: str) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, message)
