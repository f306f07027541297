"""Whom to charge for the calls made within a block, a function or a thread."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, overload

from . import _core

__all__ = ["attribute", "bind", "current", "enter", "leave"]

P = ParamSpec("P")
R = TypeVar("R")

_current: ContextVar[_core.Scope | None] = ContextVar("taximeter_attribution", default=None)
current = _current.get
"""Returns the attribution in force, or `None`."""
enter = _current.set
"""Puts an attribution in force; returns what `leave` takes."""
leave = _current.reset


class attribute:  # noqa: N801 - used as a function
    """Charge the calls of a block or a function to somebody.

    Scopes nest: an inner value replaces the outer one of the same field, tags merge key by key, and what a call is given itself
    comes before both. The scope follows contexts: asyncio tasks and `asyncio.to_thread` have it; for executors see `bind`.

        with taximeter.attribute(agent="support", team="acme", tags={"plan": "pro"}):
            ...

        @taximeter.attribute(feature="summaries")
        async def summarise(text): ...

    Args:
        agent: The agent that makes the calls.
        feature: The product feature they are made for.
        team: The team that owns it.
        customer: The customer they are made for.
        user: The end user.
        session: The conversation or session.
        tags: Further dimensions; keys and values are texts, numbers or UUIDs.

    Raises:
        TypeError: A value is none of these.
    """

    __slots__ = ("_fields", "_tokens")

    def __init__(
        self,
        *,
        agent: object = None,
        feature: object = None,
        team: object = None,
        customer: object = None,
        user: object = None,
        session: object = None,
        tags: Mapping[str, object] | None = None,
    ) -> None:
        self._fields: dict[str, Any] = {
            "agent": agent,
            "feature": feature,
            "team": team,
            "customer": customer,
            "user": user,
            "session": session,
            "tags": tags,
        }
        self._tokens: list[Token[_core.Scope | None]] = []
        _core.Scope(**self._fields)  # a bad value shows here, not where the block begins

    def __enter__(self) -> None:
        self._tokens.append(_current.set(_core.Scope(_current.get(), **self._fields)))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            _current.reset(self._tokens.pop())
        except ValueError:
            # Left in another context than entered, as generators can be: that context ends with its own copy.
            pass

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, with its calls charged so. Works for plain, async, generator and async generator functions."""
        import inspect  # noqa: PLC0415 - a tenth of the package's import, for decorators only

        fields = self._fields
        if inspect.isasyncgenfunction(function):

            @functools.wraps(function)
            async def generate_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                with attribute(**fields):
                    async for item in function(*args, **kwargs):
                        yield item

            return generate_async
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                with attribute(**fields):
                    return await function(*args, **kwargs)

            return run_async  # type: ignore[return-value]
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generate(*args: P.args, **kwargs: P.kwargs) -> Any:
                with attribute(**fields):
                    return (yield from function(*args, **kwargs))

            return generate

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with attribute(**fields):
                return function(*args, **kwargs)

        return run


@overload
def bind(function: Callable[P, R]) -> Callable[P, R]: ...
@overload
def bind(function: Callable[..., R], *args: Any, **kwargs: Any) -> Callable[..., R]: ...


def bind(function: Callable[..., R], *args: Any, **kwargs: Any) -> Callable[..., R]:
    """Carry the current attribution into a thread or an executor, which start with an empty context.

        executor.submit(taximeter.bind(work), item)

    Args:
        function: What will run elsewhere.
        *args: Arguments to call it with, before those it is called with.
        **kwargs: Keywords to call it with.

    Returns:
        A callable that runs it under the attribution in force now.
    """
    scope = _current.get()

    @functools.wraps(function)
    def bound(*more: Any, **others: Any) -> R:
        token = _current.set(scope)
        try:
            return function(*args, *more, **{**kwargs, **others})
        finally:
            _current.reset(token)

    return bound
