"""The gate before a request: it asks the budgets, and keeps the ticket until the event of the request settles it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple

from .. import _core
from .refusal import raise_for

__all__ = ["Asked", "Held", "admit", "claim", "current", "free", "how_ended"]

_NEVER_SENT: Final = frozenset({
    "ConnectError", "ConnectTimeout", "ConnectTimeoutError", "ConnectionTimeoutError", "PoolTimeout", "EndpointConnectionError",
    "NewConnectionError", "ClientConnectorError",
})  # fmt: skip
"""Exceptions of HTTP libraries for a connection that was not made."""
_BROKEN: Final = frozenset({
    "ReadError", "WriteError", "CloseError", "RemoteProtocolError", "ProtocolError", "ConnectionResetError", "BrokenPipeError",
    "ServerDisconnectedError", "ClientPayloadError", "ConnectionClosedError", "ChunkedEncodingError", "IncompleteRead",
    "DeadlineExceeded", "CancelledError",
})  # fmt: skip
"""Exceptions for a connection that broke after the request, so that the provider may bill it. So does every other timeout."""
_MOST_CAUSES: Final = 10


class Asked(NamedTuple):
    """What a request asks for, as far as it decides the estimate."""

    provider: str
    model: str | None
    request: Any = None
    """The request's texts are counted in it: its JSON, or the keywords of the call."""
    max_output: int | None = None
    """The most output tokens of one choice."""
    choices: int = 1
    service_tier: str | None = None
    region: str | None = None
    caching: bool = False
    """Whether the input is written to a cache."""
    input_tokens: int | None = None
    """The input tokens, if they are known. `request` is not looked at then."""
    scope: _core.Scope | None = None
    """Attribution over the current one, for a request that is made outside of its call."""

    def without_estimate(self) -> Asked:
        """Return it for a batch or a session: it is refused if nothing is left, but its cost cannot be estimated."""
        return self._replace(request=None, input_tokens=0, max_output=0)


_held: ContextVar[Held | None] = ContextVar("taximeter_held", default=None)


current = _held.get
"""Returns what the request in this context holds, or `None`."""


class Held:
    """What an admitted request holds while it is made, in this context and in those that are copied from it.

    A layer above a client, such as litellm, is admitted first. Its ticket is lent to the client's requests, one after the other.
    """

    __slots__ = ("_handled", "_lender", "_tickets", "before")

    def __init__(self, ticket: _core.Ticket, lender: Held | None = None) -> None:
        # A list, because its `pop` gives a ticket to one thread only.
        self._tickets = [ticket]
        self._lender = lender
        self._handled = sys.exc_info()[1]
        self.before = _held.get()
        _held.set(self)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the request in this context. A layer's own event may come later, and claims the ticket then."""
        if error is None:
            self.leave()
        else:
            self.failed(error)

    def claim(self) -> _core.Ticket | None:
        """Return the ticket to the only one that has to settle it; `None` if another one has it."""
        try:
            return self._tickets.pop()
        except IndexError:
            return None

    def leave(self) -> None:
        """End the request in this context. What follows its response claims the ticket, if it has not yet."""
        if _held.get() is self:
            _held.set(self.before)
        if self._lender is not None and (ticket := self.claim()) is not None:
            self._lender._tickets.append(ticket)  # noqa: SLF001 - of the same class

    def answered(self, status: object = None) -> None:
        """End the request after a response, by its HTTP status if that is known. Without an event, it has no known end."""
        ticket = self.claim()
        self.leave()
        if ticket is not None:
            ticket.end("failed" if isinstance(status, int) and status >= 400 else "cancelled")  # noqa: PLR2004 - an error

    def failed(self, error: BaseException) -> None:
        """End the request with an exception. A layer above gets its ticket back, because it may try again."""
        self.leave()
        if (ticket := self.claim()) is not None:
            ticket.end(how_ended(error, self._handled))

    def drop(self) -> None:
        """End a request that costs nothing, such as one that a cache answered."""
        self.leave()
        if (ticket := self.claim()) is not None:
            ticket.end("failed")


def admit(budgets: _core.Budgets, scope: _core.Scope | None, asked: Asked, lenders: Iterable[Held] = ()) -> Held | None:
    """Ask the budgets for a request, or take the ticket of the layer above.

    Args:
        budgets: The budgets.
        scope: The attribution of the request.
        asked: What it asks for.
        lenders: What layers above hold, beside those that are in this context.

    Returns:
        What it holds; `None` if no budget counts it.

    Raises:
        BudgetExceeded: A budget has no room for it.
        BudgetUnavailable: The counts of a budget that blocks then cannot be read.
    """
    for outer in (*_around(), *lenders):
        # The tickets of a parent process belong to it.
        if (ticket := outer.claim()) is not None and not ticket.is_settled:
            return Held(ticket, outer)
    if asked.scope is not None:
        scope = asked.scope if scope is None else asked.scope.over(scope)
    answer = budgets.admit(
        scope,
        asked.provider,
        asked.model or "",
        asked.request,
        max_output=asked.max_output,
        choices=asked.choices,
        service_tier=asked.service_tier,
        region=asked.region,
        caching=asked.caching,
        input_tokens=asked.input_tokens,
    )
    if isinstance(answer, _core.Refusal):
        raise_for(answer)
    return None if answer is None else Held(answer)


def _around() -> Iterator[Held]:
    held = _held.get()
    while held is not None:
        yield held
        held = held.before


def claim() -> _core.Ticket | None:
    """Return the ticket of the request in this context to what follows its response; `None` without one."""
    held = _held.get()
    return None if held is None else held.claim()


def free() -> None:
    """End the request in this context at no charge, because its work is charged when it is fetched."""
    if (ticket := claim()) is not None:
        ticket.end("failed")


def how_ended(error: BaseException, handled: BaseException | None = None) -> Literal["failed", "cancelled"]:
    """Return how a request ended that raised: `failed` if it was refused or never sent, `cancelled` if it may be billed.

    Args:
        error: The exception.
        handled: An exception that was handled already when the request was made, which is not its cause.
    """
    if not isinstance(error, Exception):
        return "cancelled"  # interrupted
    names = {kind.__name__ for cause in _causes(error, handled) for kind in type(cause).__mro__}
    if names & _NEVER_SENT:
        return "failed"
    return "cancelled" if names & _BROKEN or any("Timeout" in name for name in names) else "failed"


def _causes(error: BaseException | None, handled: BaseException | None) -> Iterator[BaseException]:
    for _ in range(_MOST_CAUSES):
        if error is None or error is handled:
            return
        yield error
        error = error.__cause__ or error.__context__
