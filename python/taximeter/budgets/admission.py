"""Asks the budgets whether a call that the user's code makes itself is admitted."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, TypedDict

from .. import _core, attribution
from ..errors import UsageError
from ..fields import ATTRIBUTION, TAGS, AttributionFields, check_names
from .refusal import raise_for

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Estimate", "ReserveFields", "admit", "scope_of"]

_MOST: Final = 10**12
"""As of counts of usage."""


class Estimate(TypedDict, total=False):
    """What is known of a call before it is made."""

    request: Annotated[Any, "The keywords of the call, or its messages: the tokens of their texts are counted, and nothing is kept."]
    input_tokens: Annotated[int | None, "The input tokens, if they are known; `request` is not looked at then."]
    max_output_tokens: Annotated[int | None, "The most output tokens of one choice; 4,096 are assumed otherwise."]
    choices: Annotated[int | None, "The number of choices; 1 by default."]
    service_tier: Annotated[str | None, "The requested tier; it can change the price."]
    region: Annotated[str | None, "The region that serves the call; it can change the price."]
    caching: Annotated[bool, "Whether the input is written to a cache, which can cost more."]


class ReserveFields(AttributionFields, Estimate, total=False):
    """The fields of a reserved call, except its provider and model."""


def scope_of(fields: Mapping[str, Any]) -> _core.Scope | None:
    """Return the attribution in force with the attribution of some fields over it."""
    own = {name: fields[name] for name in (*ATTRIBUTION, TAGS) if fields.get(name) is not None}
    current = attribution.current()
    if not own:
        return current
    scope, dropped = _core.Scope.lenient(None, own)
    for name in dropped:
        attribution.count_remark("invalid_text", name)
    return scope if current is None else scope.over(current)


def admit(
    budgets: _core.Budgets, scope: _core.Scope | None, provider: str, model: str, **estimate: Unpack[Estimate]
) -> _core.Ticket | None:
    """Hold what a call is expected to take in all of its budgets.

    Returns:
        The ticket, which the event of the call settles; `None` if no budget counts the call.

    Raises:
        BudgetExceeded: The call does not fit in a budget. Nothing is held.
        BudgetUnavailable: The counts of a budget with `unavailable="block"` cannot be read.
        UsageError: A number of the estimate is invalid.
        TypeError: A field of the estimate is unknown.
    """
    check_names("reserve", estimate, Estimate.__annotations__)
    found = budgets.admit(
        scope,
        provider,
        model,
        estimate.get("request"),
        max_output=_count("max_output_tokens", estimate.get("max_output_tokens")),
        choices=_count("choices", estimate.get("choices")),
        service_tier=estimate.get("service_tier"),
        region=estimate.get("region"),
        caching=bool(estimate.get("caching")),
        input_tokens=_count("input_tokens", estimate.get("input_tokens")),
    )
    if isinstance(found, _core.Refusal):
        raise_for(found)
    return found


def _count(field: str, value: Any) -> int | None:
    if value is None:
        return None
    try:
        found = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = -1
    if not 0 <= found <= _MOST:
        raise UsageError(f"{field} must be a whole number from 0 to {_MOST:,}, not {value!r:.60}")
    return found
