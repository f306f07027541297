"""Raises the exception for a call that a budget does not admit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import BudgetExceeded, BudgetUnavailable, TaximeterError

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["SEPARATOR", "error_of", "moment", "raise_for", "with_unit"]

SEPARATOR = "/"
"""Between the values of a key, as in `limits`."""


def raise_for(refusal: Any) -> NoReturn:
    """Raise the exception for a refusal of the core.

    Args:
        refusal: A `_core.Refusal`.

    Raises:
        BudgetExceeded: The call does not fit, or has no known price, or no value of `by`.
        BudgetUnavailable: The counts cannot be read.
    """
    raise error_of(refusal)


def error_of(refusal: Any) -> TaximeterError:
    """Return the exception for a refusal of the core; see `raise_for`."""
    name = f"budget {refusal.budget}"
    if refusal.reason == "unavailable":
        why = refusal.detail or "unknown reason"
        return BudgetUnavailable(
            f"{name}: its counts cannot be read: {why}; calls are blocked, because it has unavailable='block'",
            budget=refusal.budget,
            reason=refusal.detail,
        )
    key = SEPARATOR.join(refusal.key)
    resets_at = moment(refusal.resets_at)
    return BudgetExceeded(
        f"{name}{f', {key!r}' if key else ''}: {_reason(refusal, resets_at)}",
        reason=refusal.reason,
        budget=refusal.budget,
        key=key,
        unit=refusal.unit,
        amount=refusal.amount,
        used=refusal.used,
        held=refusal.held,
        estimate=refusal.estimate,
        is_held=refusal.is_held,
        resets_at=resets_at,
        retry_after=refusal.retry_after,
    )


def _reason(refusal: Any, resets_at: datetime | None) -> str:
    if refusal.reason == "unpriced":
        return "the price of this model is unknown, and the budget blocks such calls; set its price, or unpriced='allow'"
    if refusal.reason == "absent":
        return "the call has no value that the budget is split by, and is blocked for it; attribute the call, or set absent='count'"
    unit = refusal.unit
    when = "" if resets_at is None else f"; it resets at {resets_at:%Y-%m-%d %H:%M} UTC"
    if refusal.reason == "cut":
        taken, limit = with_unit(refusal.estimate, unit), with_unit(refusal.amount, unit)
        return f"this stream has taken {taken} and exceeds what is left of {limit}; it was closed, and what it has taken counts{when}"
    held = f", {with_unit(refusal.held, unit)} held by calls in flight" if refusal.held else ""
    hope = "; it may fit when these calls have ended" if refusal.is_held else when
    return (
        f"{with_unit(refusal.used, unit)} of {with_unit(refusal.amount, unit)} used{held}; "
        f"this call may take {with_unit(refusal.estimate, unit)}{hope}"
    )


def with_unit(amount: Any, unit: str) -> str:
    """Return an amount with its unit, for messages: `$0.50`, `1,200 tokens`."""
    if unit != "usd":
        return f"{int(amount):,} {unit}"
    found = format(amount, ",f")
    if "." in found:
        found = found.rstrip("0")
        whole, _, places = found.partition(".")
        found = f"{whole}.{places:0<2}" if places else whole
    return f"${found}"


def moment(seconds: float | None) -> datetime | None:
    """Return a time in UTC from seconds since 1970; `None` for `None`, and for times that a calendar does not have."""
    from datetime import datetime, timezone  # noqa: PLC0415 - only for a refusal

    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return None
