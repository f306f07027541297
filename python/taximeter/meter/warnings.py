"""The texts of a meter's warnings, and a limit on how often each is logged."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from ..log import log
from ..sanitize import printable

__all__ = ["NOTICES", "RULES", "Warnings"]

# At most one warning of each kind in this time; `stats()` counts all of them.
SECONDS_BETWEEN_WARNINGS: Final = 60.0


class Rule(NamedTuple):
    """What a warning says about a count of `stats()`."""

    rule: str
    """The rule that the event broke, and what was done."""
    remedy: str
    """What to do, as an imperative."""


_REPORT: Final = "please report this fault of taximeter"
RULES: Final = {
    "missing_provider": Rule("an event without a provider is not recorded", "pass provider="),
    "missing_model": Rule("an event without a model is not recorded", "pass model="),
    "invalid_usage": Rule("counts are whole numbers from 0 to 1,000,000,000,000; the event is not recorded", "correct the count"),
    "invalid_text": Rule(
        "not a text of valid Unicode, a number, an id, a date, an Enum or bytes; it is left out, or invalid characters are replaced",
        "pass a str",
    ),
    "invalid_time": Rule(
        "a time is an aware datetime, a date, an ISO 8601 text or seconds since 1970, from 2015 to a day from now; a duration is "
        "milliseconds from 0; it is left out",
        "correct the time",
    ),
    "invalid_cost": Rule(
        "a cost is a decimal from 0 with at most 24 places; the computed cost is recorded instead", "pass a Decimal in US dollars"
    ),
    "unknown_unit": Rule("not a unit of usage; it is left out", "use the names in taximeter.UNITS"),
    "no_space": Rule("the journal is full; the event is lost", "free disk space, or raise budget_mb"),
    "too_large": Rule("a request of more than 48 KiB is not recorded", "shorten the request"),
    "internal_error": Rule("the event is lost", _REPORT),
    "given_up": Rule(
        "events were deleted before a destination accepted them, because they were too old or the journal is full",
        "see last_error in stats(), or raise budget_mb or max_age",
    ),
    "truncated": Rule("texts over 512 bytes are cut, tags over 64 or 12 KiB are left out", "shorten them"),
    "unreadable_usage": Rule(
        "this usage object cannot be read; the event is recorded without usage", "pass the provider's usage object or counts by unit"
    ),
    "usage_unreported": Rule(
        "the response does not report its usage; the event is recorded without",
        "ask for it: stream_options={'include_usage': True}, or the host in usage_hosts",
    ),
    "usage_interrupted": Rule(
        "the response ended before it reported its usage; the event is recorded without", "read streams to their end"
    ),
    "usage_malformed": Rule("the response cannot be read; the event is recorded without usage", "check the proxy or gateway"),
    "usage_not_json": Rule(
        "the response is neither JSON nor a stream of it; the event is recorded without usage", "check the proxy or gateway"
    ),
    "usage_internal_error": Rule("the event is recorded without usage", _REPORT),
    "contradictory_usage": Rule(
        "parts exceed the total that includes them, or overlap unknown; the event has no cost", "correct the counts"
    ),
    "unknown_field": Rule("not a field of an event; it is left out", "check the spelling"),
    "instrument_failed": Rule(
        "a call of this client could not be followed; it is not recorded, or without some of its fields",
        "run taximeter doctor --clients, and report it",
    ),
    "attribution_failed": Rule(
        "the function that attributes requests raised this; the request goes on without attribution", "correct the function"
    ),
    "callback_failed": Rule("on_threshold of this budget raised this; the call goes on", "correct the function"),
    "budget_unavailable": Rule(
        "the counts of budgets cannot be read or written; calls are admitted or blocked, as each budget's unavailable says",
        "free disk space, or set state_dir= to a directory that this user can write",
    ),
    "budget_clock": Rule(
        "periods of budgets follow the clock: set forward, they begin early; set back, the present ones last longer",
        "have the machine synchronise its clock",
    ),
    "unreadable_catalog": Rule(
        "the price catalog in the state directory cannot be read; the embedded one is used", "run taximeter prices update"
    ),
}
"""By the name of a count in `stats()`."""

NOTICES: Final = {
    "destination_paused": "delivery to it is paused until its key, address or account is corrected; events are kept, and it is tried "
    "again every five minutes",
    "destination_failing": "it has failed for more than a minute; events are kept and sent again until it accepts them",
    "unsent_at_end": "delivery ends before it accepted all events; they are kept, and the next program with the same destination "
    "sends them",
    "fallback_written": "it failed too often, so they were written to a file of the fallback directory; they are sent when it "
    "accepts events again",
    "dead_letters": "it rejected events permanently; `taximeter dead-letters` lists them with the reasons, and can send them again",
    "journal_damaged": "events of a journal are damaged or missing; the others are delivered, and `taximeter journals requeue` "
    "reads damaged segments again",
    "thread_refused": "raise the limit of threads or of memory of this user or container (ulimit -u, pids.max), and restart",
    "upkeep_failing": "calls are stored, but the work that follows has failed for more than a minute: reports are slower, or old "
    "calls stay; if another program keeps the ledger locked, end it; else run `taximeter ledger check`",
    "kept_in_memory": "the disk budget of the state directory is used up, or its disk is full; let `taximeter drain` deliver what "
    "`taximeter journals` lists, raise budget_mb, or free disk space",
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
            rule, remedy = RULES.get(what, Rule("see the documentation of stats()", "correct it"))
            log().warning(
                "taximeter: %s: %s; %s (%s; further cases are only counted in stats())",
                printable(field[:160]),
                rule,
                remedy,
                what,
            )
        else:
            # What a remote destination said often begins with its host.
            said = detail if detail.startswith(field) else f"{field}: {detail}"
            log().warning("taximeter: %s: %s (%s)", printable(said[:500]), notice, what)
