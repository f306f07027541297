"""Attributes the calls in a block, a function or a thread to a team, a customer, a user and so on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from . import _core

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .fields import AttributionFields

__all__ = ["attribute", "bind", "current", "enter", "leave", "steps", "steps_async"]

P = ParamSpec("P")
R = TypeVar("R")

_current: ContextVar[_core.Scope | None] = ContextVar("taximeter_attribution", default=None)
_entered: ContextVar[tuple[tuple[object, _core.Scope | None], ...]] = ContextVar("taximeter_entered", default=())
"""The owners whose attributions are active in this context, the outermost first, each with the attribution before it."""
current = _current.get
"""Returns the active attribution, or `None`."""


def enter(owner: object, scope: _core.Scope | None) -> None:
    """Activates an attribution until its owner leaves."""
    _entered.set((*_entered.get(), (owner, _current.get())))
    _current.set(scope)


def leave(owner: object) -> None:
    """Ends what this owner entered last in this context.

    Context variable tokens are not used: a generator, a cancelled task or a collected coroutine may end in another context than it
    began in, where a token would be rejected. The attribution of that context stays active.
    """
    entered = _entered.get()
    for place in range(len(entered) - 1, -1, -1):
        if entered[place][0] is owner:
            before, inner = entered[place][1], entered[place + 1 :]
            if inner:
                # The blocks overlap: the next one restores what was active before both.
                inner = ((inner[0][0], before), *inner[1:])
            else:
                _current.set(before)
            _entered.set(entered[:place] + inner)
            return


class attribute:  # noqa: N801 - used as a function
    """Attributes the calls of a block or a function to a team, a customer, a user and so on.

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
        TypeError: A value has another type, or a name is not one of these.
    """

    __slots__ = ("_fields",)

    def __init__(self, **fields: Unpack[AttributionFields]) -> None:
        _core.Scope(**fields)  # raises for an invalid name or value here, not when the block begins
        self._fields = fields

    def __enter__(self) -> None:
        enter(self, _core.Scope(_current.get(), **self._fields))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        leave(self)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Wraps a function so that its calls are attributed. Supports plain, async, generator and async generator functions."""
        import inspect  # noqa: PLC0415 - takes a tenth of the package's import time; only decorators need it

        if inspect.isasyncgenfunction(function):

            @functools.wraps(function)
            def generate_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                return steps_async(self, function(*args, **kwargs))

            return generate_async
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generate(*args: P.args, **kwargs: P.kwargs) -> Any:
                return steps(self, function(*args, **kwargs))

            return generate
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return run_async  # type: ignore[return-value]

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return run


def steps(scope: AbstractContextManager[Any], generator: Any) -> Any:
    """Runs a generator with the scope active while the generator runs, but not while its consumer runs."""
    step: Callable[[], Any] = functools.partial(generator.send, None)
    while True:
        try:
            with scope:
                item = step()
        except StopIteration as stop:
            return stop.value
        try:
            sent = yield item
        except GeneratorExit:
            with scope:
                generator.close()
            raise
        except BaseException as error:
            step = functools.partial(generator.throw, error)
        else:
            step = functools.partial(generator.send, sent)


async def steps_async(scope: AbstractContextManager[Any], generator: Any) -> Any:
    """Does the same as `steps` for an asynchronous generator."""
    step: Callable[[], Any] = functools.partial(generator.asend, None)
    while True:
        try:
            with scope:
                item = await step()
        except StopAsyncIteration:
            return
        try:
            sent = yield item
        except GeneratorExit:
            with scope:
                await generator.aclose()
            raise
        except BaseException as error:
            step = functools.partial(generator.athrow, error)
        else:
            step = functools.partial(generator.asend, sent)


@overload
def bind(function: Callable[P, R]) -> Callable[P, R]: ...
@overload
def bind(function: Callable[..., R], *args: Any, **kwargs: Any) -> Callable[..., R]: ...


def bind(function: Callable[..., R], *args: Any, **kwargs: Any) -> Callable[..., R]:
    """Binds a function to the current attribution, for threads and executors, which start with an empty context.

        executor.submit(taximeter.bind(work), item)

    Args:
        function: The function that will run elsewhere.
        *args: Positional arguments, put before those of the later call.
        **kwargs: Keyword arguments.

    Returns:
        A callable that runs it under the attribution in force now.
    """
    scope = _current.get()

    @functools.wraps(function)
    def bound(*more: Any, **others: Any) -> R:
        owner = object()
        enter(owner, scope)
        try:
            return function(*args, *more, **{**kwargs, **others})
        finally:
            leave(owner)

    return bound
