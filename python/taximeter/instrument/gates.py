"""Asks the budgets before a client makes a request. `after` and `recorded` call this; each family says what its requests ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from .. import attribution
from ..budgets import gate
from ..budgets.gate import Asked, Held
from ..errors import BudgetExceeded, BudgetUnavailable
from . import bindings, layers
from .guard import report, run_guarded
from .observers import EventFanout

if TYPE_CHECKING:
    from .. import _core
    from ..meter import Engine

__all__ = ["Find", "Found", "admitted", "asked_in", "count", "limited", "settle", "status_of"]

Found = tuple["Engine", Asked]
"""The meter of a request, and what the request asks for."""
Find = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Found | None]
"""Returns this from the object and the arguments of a client's function; `None` if no budget can limit the request."""

_LIMITS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
"""The names of the output's limit, the more specific ones first."""
_WITHOUT_OUTPUT: Final = frozenset({"embeddings", "rerank", "classify"})
"""Operations that are billed by their input."""
_MARKS: Final = ("cache_control", "cachePoint")
"""The fields that make Anthropic and Bedrock write the input before them to a cache."""


def limited(family: str, client: object) -> Engine | None:
    """Return the meter of a request that is about to be made; `None` if no budget is in force."""
    meter = bindings.meter_of(family, client)
    if meter is None:
        return None
    engine = _limiter(meter)
    if engine.settings is None:
        # Those of the state directory are in force once it is known.
        run_guarded(engine.settled, meter=engine)
    return meter if engine.budgets.is_active and engine.enabled else None


def _limiter(meter: Any) -> Engine:
    """Return the meter that has the budgets."""
    found: Engine = meter.limiter if isinstance(meter, EventFanout) else meter
    return found


def admitted(
    find: Find, client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, where: str = "", family: str = ""
) -> Held | None:
    """Ask the budgets for a request that is about to be made.

    Args:
        find: Says what it asks for.
        client: The object of the client's function, as its arguments.
        args: See above.
        kwargs: See above.
        where: The function's name.
        family: The client's family.

    Returns:
        What the request holds; `None` if it is not limited.

    Raises:
        BudgetExceeded: A budget has no room for it.
        BudgetUnavailable: The counts of a budget that blocks then cannot be read.
    """
    try:
        found = find(client, args, kwargs)
        if found is None:
            return None
        meter, asked = found
        return gate.admit(_limiter(meter).budgets, _scope(meter), asked, layers.lenders())
    except (BudgetExceeded, BudgetUnavailable):
        raise
    except Exception as error:
        report(where, error, family=family, part=client)
        return None


def _scope(meter: Any) -> _core.Scope | None:
    return meter.scope() if isinstance(meter, EventFanout) else attribution.current()


def settle(meter: Any, ticket: _core.Ticket | None, event: Mapping[str, Any]) -> None:
    """Record an event, and settle its ticket if it has one."""
    if ticket is None:
        meter.track(**event)
    elif isinstance(meter, EventFanout):
        meter.settle(ticket, event)
    else:
        meter.budgets.track(ticket, **event)


def status_of(response: Any) -> object:
    """Return the HTTP status of a response; `None` if it does not say."""
    return getattr(response, "status_code", None)


def asked_in(fields: Mapping[str, Any], body: Any, *, limits: Any = None, choices: int | None = None) -> Asked:
    """Return what a request asks for.

    Args:
        fields: The known fields of its event.
        body: Its JSON.
        limits: The part of it that has the output's limit; by default the whole.
        choices: The number of choices; by default those of its JSON.
    """
    body = body if isinstance(body, Mapping) else {}
    limits = limits if isinstance(limits, Mapping) else body
    model = fields.get("model")
    is_silent = fields.get("operation") in _WITHOUT_OUTPUT
    return Asked(
        fields["provider"],
        model if isinstance(model, str) else None,
        body or None,
        max_output=0 if is_silent else count(limits, *_LIMITS),
        choices=choices or max(count(body, "n") or 1, count(body, "best_of") or 1),
        service_tier=fields.get("service_tier"),
        region=fields.get("region"),
        caching=_caches(body),
    )


def count(body: Any, *names: str) -> int | None:
    """Return the first of these values that is a count; `None` if none is."""
    if isinstance(body, Mapping):
        for name in names:
            value = body.get(name)
            if type(value) is int and value >= 0:
                return value
    return None


def _caches(body: Mapping[str, Any]) -> bool:
    """Return whether a part of a request is marked to be written to a cache."""
    blocks = [body, *_list(body.get("system")), *_list(body.get("tools"))]
    for message in _list(body.get("messages")):
        if isinstance(message, Mapping):
            blocks += [message, *_list(message.get("content"))]
    if isinstance(tools := body.get("toolConfig"), Mapping):
        blocks += _list(tools.get("tools"))
    return any(mark in block for block in blocks if isinstance(block, Mapping) for mark in _MARKS)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
