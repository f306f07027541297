"""The exceptions of taximeter.

`price()`, `count_tokens()`, `Ledger`, `init()` and the command line raise them. Metering never raises, except `BudgetExceeded` and
`BudgetUnavailable` for those who set a budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

__all__ = [
    "BudgetExceeded",
    "BudgetUnavailable",
    "CatalogError",
    "ConfigError",
    "DeliveryError",
    "LedgerError",
    "TaximeterError",
    "TransferError",
    "UnknownNameError",
    "UsageError",
]


class TaximeterError(Exception):
    """The base class of all exceptions of taximeter."""


class UsageError(TaximeterError, ValueError):
    """Invalid usage. The message names the field and the rule."""


class ConfigError(TaximeterError, ValueError):
    """An invalid setting. The message names the setting, its source and the rule."""


class LedgerError(TaximeterError):
    """The ledger cannot be read or written."""


class LedgerTimeoutError(LedgerError):
    """An answer would take longer than `Ledger.timeout` allows."""


class BudgetExceeded(TaximeterError):  # noqa: N818 - the name that users look for
    """A call that does not fit in a budget. No request was made; a stream that a budget with `cut=True` closes raises it later.

    Args:
        message: The budget, what is used and held of it, and when there is room again.
        reason: `exceeded`; `unpriced` if the budget blocks calls whose price is unknown; `absent` if it blocks calls without a value
            of its `by`; `cut` if a stream has used too much, and was closed.
        budget: The name of the budget; `run` for a block of `taximeter.budget`.
        key: The values of the budget's `by`, such as a customer, separated by `/`.
        unit: The unit of the amounts: `usd`, `tokens` or `calls`.
        amount: The limit.
        used: What is charged so far in this period.
        held: What calls in flight hold.
        estimate: The most that this call was expected to take; of a stream that was closed, what it has taken.
        is_held: Whether the call may fit once calls in flight end: they hold the room that it needs.
        resets_at: When the period ends; `None` if it does not.
        retry_after: Seconds after which another try makes sense; `None` if none does before the limit is raised.
    """

    status_code = 429
    """The status of HTTP for it: Too Many Requests."""

    def __init__(
        self,
        message: str,
        *,
        reason: Literal["exceeded", "unpriced", "absent", "cut"] = "exceeded",
        budget: str,
        key: str = "",
        unit: Literal["usd", "tokens", "calls"] = "usd",
        amount: Decimal | int,
        used: Decimal | int,
        held: Decimal | int,
        estimate: Decimal | int,
        is_held: bool = False,
        resets_at: datetime | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.budget = budget
        self.key = key
        self.unit = unit
        self.amount = amount
        self.used = used
        self.held = held
        self.estimate = estimate
        self.is_held = is_held
        self.resets_at = resets_at
        self.retry_after = retry_after

    def __reduce__(self) -> Any:
        return _restored, (type(self), str(self), dict(vars(self)))


class BudgetUnavailable(TaximeterError):  # noqa: N818 - as BudgetExceeded
    """A budget with `unavailable="block"` whose counts cannot be read at the moment. No request was made.

    Args:
        message: The budget, and why.
        budget: The name of the budget.
        reason: Why, in words.
    """

    status_code = 503
    """The status of HTTP for it: Service Unavailable."""
    retry_after = 1.0
    """Seconds after which another try makes sense."""

    def __init__(self, message: str, *, budget: str, reason: str) -> None:
        super().__init__(message)
        self.budget = budget
        self.reason = reason

    def __reduce__(self) -> Any:
        return _restored, (type(self), str(self), dict(vars(self)))


def _restored(kind: type[Exception], message: str, attributes: dict[str, Any]) -> Exception:
    """Return a pickled exception again. Its class takes keywords, which `BaseException` would not pass on."""
    error = kind.__new__(kind, message)
    vars(error).update(attributes)
    return error


class CatalogError(TaximeterError):
    """A price catalog that cannot be used. The previous one stays in force."""


class DeliveryError(TaximeterError):
    """A destination does not accept events at the moment. The events are kept."""


class TransferError(TaximeterError):
    """A request without a response.

    Args:
        kind: `url`, `header`, `connect_timeout`, `read_timeout`, `connect`, `tls`, `broken` or `too_large`.
        reason: The reason in words, without secrets.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class UnknownNameError(TaximeterError, ValueError, KeyError):
    """The name of an unknown encoding or model. The message lists the nearest names.

    `tiktoken` raises `ValueError` for unknown encodings and `KeyError` for unknown models. Code that catches either catches this.
    """

    def __str__(self) -> str:
        # KeyError would put quotes around the message.
        return Exception.__str__(self)
