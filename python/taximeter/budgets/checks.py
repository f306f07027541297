"""Checks the fields of a budget and converts each to one form. Errors name the field, the rule and the remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import urlsplit

from ..errors import ConfigError
from ..fields import ATTRIBUTION
from ..moments import seconds
from ..zones import WEEKDAYS, named_zone

__all__ = [
    "FieldError", "Url", "amount", "by", "callback", "choice", "duration", "exact", "fraction", "limits", "name",
    "period", "plain", "shown", "switch", "text", "thresholds", "unit", "unpriced", "webhook", "where",
]  # fmt: skip

UNITS: Final = ("usd", "tokens", "calls")
PERIODS: Final = ("hour", "day", "week", "month", "total")
DIMENSIONS: Final = (*ATTRIBUTION, "provider", "model")
TAG: Final = "tag:"
MAX_DIMENSIONS: Final = 8
"""The most values of a key: a key is at most 4 KiB of text."""
MAX_LIMITS: Final = 10_000
MAX_THRESHOLDS: Final = 16
MAX_TEXT: Final = 512
"""The most bytes of a value. Longer values of events are cut there, so they would never be equal."""
PLACES: Final = 24
"""Amounts of money are whole numbers of 10^-24 US dollars."""
_MAX_DIGITS: Final = 100
_MAX_USD: Final = Decimal(10**12)
_MAX_COUNT: Final = 10**18
_NAME: Final = re.compile(r"[a-z0-9_-]{1,64}")
_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_WEEK: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY: Final = 86_400


class FieldError(ConfigError):
    """An invalid field. `Budget` adds the name of the budget."""


def name(value: Any) -> str:
    """Return the name of a budget."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise FieldError(f"name: {shown(value)} is not 1 to 64 of the characters a-z, 0-9, - and _; choose such a name")
    return value


def shown(value: Any) -> str:
    """Return how a value is shown in an error."""
    try:
        found = repr(value)
    except Exception:
        found = f"a {type(value).__name__}"
    return found if len(found) <= 60 else f"{found[:60]}…"  # noqa: PLR2004 - enough to find it


def text(field: str, value: Any) -> str:
    """Return a value of a dimension."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise FieldError(f"{field}: {shown(value)} is not a text; write it in quotes")
    found = str(value)
    try:
        size = len(found.encode())
    except UnicodeEncodeError:
        raise FieldError(f"{field}: {shown(value)} is not valid Unicode; correct it") from None
    if size > MAX_TEXT:
        raise FieldError(f"{field}: {shown(value)} has more than {MAX_TEXT} bytes, and no event has such a value; shorten it")
    return found


def choice(field: str, value: Any, allowed: Sequence[str]) -> str:
    """Return a value that is one of a few."""
    if value not in allowed:
        raise FieldError(f"{field}: {shown(value)} is not one of {', '.join(allowed)}; choose one of them")
    return str(value)


def switch(field: str, value: Any) -> bool:
    """Return a value that is true or false."""
    if not isinstance(value, bool):
        raise FieldError(f"{field}: {shown(value)} is not true or false; write {field}=True")
    return value


def exact(field: str, value: Any) -> Decimal:
    """Return a decimal from a text, a `Decimal` or an int. A float is an error, because it is not what its digits say."""
    if isinstance(value, float):
        raise FieldError(f'{field}: {shown(value)} is a float, which is not exact; write it in quotes: {field}="{shown(value)}"')
    if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool):
        try:
            found = Decimal(value[:_MAX_DIGITS] if isinstance(value, str) else value)
        except (InvalidOperation, ValueError):
            pass
        else:
            if found.is_finite() and len(found.as_tuple().digits) <= _MAX_DIGITS:
                return found
    raise FieldError(f'{field}: {shown(value)} is not a decimal number; write it as a text, such as {field}="10.50"')


def unit(given: Mapping[str, Any]) -> str:
    """Return the unit whose amount is given."""
    units = [unit for unit, value in given.items() if value is not None]
    if len(units) != 1:
        problem = f"{' and '.join(units)} are given" if units else "none is given"
        raise FieldError(f'usd, tokens, calls: {problem}; give one of them, such as usd="10"')
    return units[0]


def amount(unit: str, value: Any, field: str = "") -> str:
    """Return an amount above 0 in a unit, as a decimal text without an exponent."""
    field = field or unit
    found = exact(field, value)
    if found <= 0:
        raise FieldError(f"{field}: {shown(value)} is not above 0; give what may be used, or remove the budget")
    if unit == "usd":
        if found > _MAX_USD:
            raise FieldError(f"{field}: {shown(value)} is more than {_MAX_USD:,} US dollars; lower it")
        # An amount below 10^-24 could have a text of many megabytes.
        if found.adjusted() < -PLACES or len(plain(found).partition(".")[2]) > PLACES:
            raise FieldError(f"{field}: {shown(value)} has more than {PLACES} decimal places; round it")
    elif found > _MAX_COUNT or found != found.to_integral_value():
        raise FieldError(f"{field}: {shown(value)} is not a whole number up to {_MAX_COUNT:,}; correct it")
    return plain(found)


def plain(number: Decimal) -> str:
    """Return a decimal as a text without an exponent and without zeros at its end, so that equal amounts are equal texts."""
    found = format(number, "f")
    return found.rstrip("0").rstrip(".") if "." in found else found


def limits(unit: str, value: Any, *, has_keys: bool) -> list[list[str]]:
    """Return the amounts of single keys, as pairs of a pattern and an amount."""
    if value is None:
        return []
    if not isinstance(value, Mapping):
        raise FieldError(f'limits: {shown(value)} is not a mapping; write limits={{"acme": "500"}}')
    if value and not has_keys:
        raise FieldError('limits: the budget has no keys without by; add by=, such as by="customer"')
    if len(value) > MAX_LIMITS:
        raise FieldError(
            f"limits: {len(value):,} keys are more than {MAX_LIMITS:,}; use patterns such as trial-*, or several budgets"
        )
    return [[pattern("limits", key), amount(unit, limit, f"limits: {shown(key)}")] for key, limit in value.items()]


def pattern(field: str, value: Any) -> str:
    """Return a value, or the beginning of values with a `*` at its end."""
    found = text(field, value)
    if "*" in found[:-1]:
        raise FieldError(f"{field}: {shown(value)} has a * that is not its last character; only beginnings can be matched")
    return found


def dimension(field: str, value: Any) -> str:
    """Return the name of a dimension: an attribution field, `provider`, `model` or `tag:KEY`."""
    if isinstance(value, str):
        if value in DIMENSIONS or (value.startswith(TAG) and value != TAG):
            return text(field, value)
        from ..fields import nearest  # noqa: PLC0415 - only for a misspelt name

        if alike := nearest(value, DIMENSIONS):
            raise FieldError(f"{field}: there is no dimension {shown(value)}; did you mean {alike!r}?")
    raise FieldError(f"{field}: {shown(value)} is not a dimension; there are {', '.join(DIMENSIONS)} and tag:KEY")


def by(value: Any) -> list[str]:
    """Return the dimensions that split a budget."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")] if value else []
    if not isinstance(value, (list, tuple)):
        raise FieldError(f'by: {shown(value)} is not a list of dimensions; write by=["customer", "model"]')
    found = [dimension("by", one) for one in value]
    if len({*found}) < len(found):
        raise FieldError(f"by: a dimension is named twice in {', '.join(found)}; remove one")
    if len(found) > MAX_DIMENSIONS:
        raise FieldError(f"by: {len(found)} dimensions are more than {MAX_DIMENSIONS}; leave some out")
    return found


def where(value: Any) -> dict[str, list[str]]:
    """Return the values that calls must have for the budget to apply, by dimension."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise FieldError(f'where: {shown(value)} is not a mapping; write where={{"team": "search"}}')
    found = {}
    for key, given in value.items():
        values = list(given) if isinstance(given, (list, tuple, set, frozenset)) else [given]
        if not values:
            raise FieldError(f"where: {shown(key)} has no values, so no call would match; give one, or remove it")
        found[dimension("where", key)] = sorted(pattern(f"where: {key}", one) for one in values)
    return found


def duration(field: str, value: Any, least: int, most: int) -> int:
    """Return whole seconds from a number or a text such as `24h`."""
    found = None if isinstance(value, bool) else seconds(value)
    if found is None or not least <= found <= most or found != int(found):
        raise FieldError(
            f"{field}: {shown(value)} is not a time from {_span(least)} to {_span(most)}; write it like '15m', '24h' or '7d'"
        )
    return int(found)


def _span(length: int) -> str:
    sizes = ((_DAY, "days"), (3600, "hours"), (60, "minutes"))
    size, unit = next(((size, unit) for size, unit in sizes if length >= size), (1, "seconds"))
    count = length // size
    return f"{count} {unit if count > 1 else unit[:-1]}"


def fraction(field: str, value: Any, most: int) -> str:
    """Return a part of an amount above 0, as a decimal text. Floats are allowed: their digits are meant."""
    found = exact(field, str(value) if isinstance(value, float) else value)
    if not 0 < found <= most or len(found.as_tuple().digits) > PLACES:
        raise FieldError(f"{field}: {shown(value)} is not above 0 and at most {most}; write a part of the amount, such as 0.8")
    return plain(found)


def thresholds(value: Any) -> list[str]:
    """Return the parts of the amount that are warned about, ascending. The whole amount is one of them."""
    if isinstance(value, (str, int, float, Decimal)):
        value = [value]
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise FieldError(f"warn_at: {shown(value)} is not a list of parts of the amount; write warn_at=[0.8, 0.95]")
    found = {*(fraction("warn_at", one, 10) for one in value), "1"}
    if len(found) > MAX_THRESHOLDS:
        raise FieldError(f"warn_at: {len(found)} thresholds are more than {MAX_THRESHOLDS}; leave some out")
    return sorted(found, key=Decimal)


def unpriced(unit: str, value: Any) -> str:
    """Return what happens to calls without a known price: `allow`, `block`, or what each is charged in US dollars."""
    if value in ("allow", "block"):
        return str(value)
    if unit != "usd":
        raise FieldError(f"unpriced: {shown(value)} is an amount of money, and the budget counts {unit}; write 'allow' or 'block'")
    try:
        return amount("usd", value, "unpriced")
    except FieldError as error:
        raise FieldError(f"{error}; or write 'allow' or 'block'") from None


def period(per: Any, rolling: Any, tz: Any, starts: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the period without boundaries, and what its boundaries are computed from.

    Returns:
        The fields `period` and `period_source` of a definition.
    """
    if (per is None) == (rolling is None):
        problem = "missing" if per is None else "given together with rolling"
        raise FieldError(f'per: {problem}; give one of per="month" and rolling="24h"')
    if rolling is not None:
        _reject_calendar("rolling", tz, starts)
        return {"kind": "rolling", "seconds": duration("rolling", rolling, 60, 31 * _DAY)}, None
    per = choice("per", per, PERIODS)
    if per == "total":
        _reject_calendar("total", tz, starts)
        return {"kind": "total"}, None
    tz = _zone("UTC" if tz is None else tz)
    return {"kind": "calendar"}, {"per": per, "tz": tz, "starts": _starts(per, starts)}


def _reject_calendar(kind: str, tz: Any, starts: Any) -> None:
    for field, value in (("tz", tz), ("starts", starts)):
        if value is not None:
            raise FieldError(f"{field}: a {kind} budget does not follow the calendar; remove {field}")


def _zone(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise FieldError(f"tz: {shown(value)} is not the name of a time zone; write it like 'Europe/Paris'")
    try:
        named_zone(value)
    except ValueError as error:
        remedy = "write it like 'Europe/Paris', and install the package tzdata if the system has no time zones"
        raise FieldError(f"tz: {shown(value)} is {error}; {remedy}") from None
    return value


def _starts(per: str, value: Any) -> str | int | None:
    if per == "hour":
        if value is not None:
            raise FieldError("starts: hours begin at minute 0; remove starts")
        return None
    if per == "day":
        found = "00:00" if value is None else value
        if not isinstance(found, str) or not _TIME.fullmatch(found):
            raise FieldError(f"starts: {shown(value)} is not a time of the day from 00:00 to 23:59; write it like '06:00'")
        return found
    if per == "week":
        found = "mon" if value is None else value
        day_name = found.lower() if isinstance(found, str) else ""
        if not any(day_name in (full, full[:3]) for full in _WEEK):
            raise FieldError(f"starts: {shown(value)} is not a day of the week; write one of {', '.join(WEEKDAYS)}")
        return day_name[:3]
    found = 1 if value is None else value
    day = int(found) if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) <= 2 else found  # noqa: PLR2004
    if isinstance(day, bool) or not isinstance(day, int) or not 1 <= day <= 31:  # noqa: PLR2004 - the days of months
        raise FieldError(
            f"starts: {shown(value)} is not a day of the month from 1 to 31; correct it (31 is the last day of shorter months)"
        )
    return day


def callback(field: str, value: Any) -> Any:
    """Return a function, or `None`."""
    if value is not None and not callable(value):
        raise FieldError(f"{field}: {shown(value)} cannot be called; give a function of one argument")
    return value


def webhook(value: Any) -> str | None:
    """Return the URL of a webhook. Errors do not show it, because it may hold a key."""
    if value is None:
        return None
    rule = "webhook: not a URL of the form https://host/path, or http:// for localhost; correct it"
    if not isinstance(value, str):
        raise FieldError(rule)
    try:
        found = urlsplit(value)
        host, _ = found.hostname or "", found.port
    except ValueError:
        raise FieldError(rule) from None
    is_safe = found.scheme == "https" or (found.scheme == "http" and host in ("localhost", "127.0.0.1", "::1"))
    if not is_safe or not host or any(character.isspace() for character in value) or len(value) > 2048:  # noqa: PLR2004
        raise FieldError(rule)
    return str(value)


class Url:
    """A webhook's URL. `repr()` does not show it."""

    __slots__ = ("_text",)

    def __init__(self, value: Any) -> None:
        self._text = webhook(value)

    def reveal(self) -> str | None:
        """Return the URL."""
        return self._text

    def __repr__(self) -> str:
        return "'…'"
