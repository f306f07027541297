"""The texts of a meter's warnings, and a limit on how often each is logged."""

from __future__ import annotations

import logging
import time
from typing import Final

__all__ = ["NOTICES", "RULES", "Warnings"]

log = logging.getLogger("taximeter")

# At most one warning of each kind in this time; `stats()` counts all of them.
SECONDS_BETWEEN_WARNINGS: Final = 60.0

RULES: Final = {
    "missing_provider": "an event without a provider is not recorded",
    "missing_model": "an event without a model is not recorded",
    "invalid_usage": "counts are whole numbers from 0 to 1,000,000,000,000; the event is not recorded",
    "invalid_text": "not a text of valid Unicode, a number, an id, a date, an Enum or bytes; it is left out, or its invalid "
    "characters are replaced",
    "invalid_time": "a time is an aware datetime, a date, an ISO 8601 text or seconds since 1970, from 2015 to a day from now; "
    "a duration is milliseconds from 0; it is left out",
    "invalid_cost": "a cost is a decimal from 0 with at most 24 places; the computed cost is recorded instead",
    "unknown_unit": "not a unit of usage; it is left out",
    "no_space": "the journal is full; the event is lost",
    "too_large": "a request of more than 48 KiB is not recorded",
    "internal_error": "a fault of taximeter itself; the event is lost: please report it",
    "given_up": "the oldest events that waited for a destination were given up, for their age or because the journal is full",
    "truncated": "texts over 512 bytes are cut, tags over 64 or 12 KiB are left out",
    "unreadable_usage": "this usage object cannot be read; the event is recorded without usage",
    "usage_unreported": "the response does not report its usage; the event is recorded without",
    "usage_interrupted": "the response ended before it reported its usage; the event is recorded without",
    "usage_malformed": "the response cannot be read; the event is recorded without usage",
    "usage_not_json": "the response is neither JSON nor a stream of it; the event is recorded without usage",
    "usage_internal_error": "a fault of taximeter itself; the event is recorded without usage: please report it",
    "contradictory_usage": "parts exceed the total that includes them, or overlap unknown; the event has no cost",
    "unknown_field": "not a field of an event; it is left out",
    "instrument_failed": "taximeter could not follow a call of this client, which is not recorded, or without some of its fields; "
    "please report it with the client's version, which `taximeter.status()` has",
    "attribution_failed": "the function that attributes requests raised this; the request goes on without attribution; correct the "
    "function",
    "unreadable_catalog": "the price catalog in the state directory cannot be read; the embedded one is used",
}
"""By the name of a count in `stats()`: the rule that an event broke, and what was done."""

NOTICES: Final = {
    "destination_paused": "delivery to it is paused until its key, address or account is corrected; events are kept, and it is tried "
    "again every five minutes",
    "destination_failing": "it has failed for more than a minute; events are kept and sent again until it accepts them",
    "dead_letters": "it refused events for good; `taximeter dead-letters` lists them with the reason, and can send them again",
    "journal_damaged": "events of a journal are damaged or missing; the others are delivered, and `taximeter journals requeue` "
    "reads damaged segments again",
    "delivery_panicked": "this is a fault of taximeter; delivery goes on; please report it",
}
"""By the name of a notice: what it means for a destination, and what to do."""


class Warnings:
    """The warnings of one meter."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def warn(self, what: str, field: str, detail: str = "") -> None:
        """Log a warning, unless one of its kind was logged within a minute.

        Args:
            what: The name of a count or of a notice.
            field: The field it is about, or the destination's host.
            detail: Of a notice: what the destination or the journal said.
        """
        notice = NOTICES.get(what)
        # One destination's trouble does not hide another's.
        key = what if notice is None else f"{what} {field}"
        now = time.monotonic()
        if now - self._last.get(key, float("-inf")) < SECONDS_BETWEEN_WARNINGS:
            return
        self._last[key] = now
        if notice is None:
            log.warning("%s: %s (%s; further cases are only counted in stats())", _one_line(field[:160]), RULES.get(what, ""), what)
        else:
            log.warning("taximeter: %s: %s: %s (%s)", _one_line(field), _one_line(detail), notice, what)


def _one_line(text: str) -> str:
    # A user's key or a server's answer could hold a line break that looks like another line of the log.
    return "".join(character if character.isprintable() else " " for character in text[:500])
