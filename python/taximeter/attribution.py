"""Attributes the calls in a block, a function or a thread to a team, a customer, a user and so on."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import AsyncGeneratorType, CoroutineType, GeneratorType, TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from . import _core

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .fields import AttributionFields

__all__ = [
    "active_span",
    "attribute",
    "bind",
    "count_remark",
    "current",
    "enter",
    "leave",
    "of_mapping",
    "report_to",
    "steps",
    "steps_async",
    "within",
]

P = ParamSpec("P")
R = TypeVar("R")

_current: ContextVar[_core.Scope | None] = ContextVar("taximeter_attribution", default=None)
_entered: ContextVar[tuple[tuple[object, _core.Scope | None], ...]] = ContextVar("taximeter_entered", default=())
"""The owners whose attributions are active in this context, the outermost first, each with the attribution before it."""
current = _current.get
"""Returns the active attribution, or `None`."""

_reporter: Callable[[str, str], None] | None = None


def report_to(reporter: Callable[[str, str], None]) -> None:
    """Set the function that counts and logs values that cannot be recorded: `Engine.count_remark` of the default meter."""
    global _reporter  # noqa: PLW0603 - there is one default meter
    _reporter = reporter


def count_remark(what: str, field: str) -> None:
    """Count and log a remark that belongs to no particular meter; see `Engine.count_remark`."""
    if _reporter is not None:
        _reporter(what, field)


def active_span() -> dict[str, str]:
    """Return `trace_id` and `span_id` of OpenTelemetry's active span; nothing without one, or if OpenTelemetry is not loaded."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    try:
        context = trace and trace.get_current_span().get_span_context()
        is_valid = context is not None and context.is_valid
    except Exception:
        is_valid = False  # while another thread imports it
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"} if is_valid else {}


def enter(owner: object, scope: _core.Scope | None) -> None:
    """Activate an attribution until its owner leaves."""
    _entered.set((*_entered.get(), (owner, _current.get())))
    _current.set(scope)


def leave(owner: object) -> None:
    """End what this owner entered last in this context.

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
        tags: Further dimensions to report by.

    Values are recorded as texts: numbers, decimals, UUIDs and other ids, dates, members of an `Enum` and bytes are converted. A value
    that cannot be recorded is left out, counted as `invalid_text` in `stats()["remarks"]` and warned about.

    Raises:
        TypeError: A name is unknown. The message has the most similar known name.
    """

    __slots__ = ("_scope",)

    def __init__(self, **fields: Unpack[AttributionFields]) -> None:
        self._scope, dropped = _core.Scope.lenient(None, fields)
        if dropped:
            from .fields import ATTRIBUTION, TAGS, check_names  # noqa: PLC0415 - only needed after a mistake

            check_names("attribute", fields, (*ATTRIBUTION, TAGS))
        for name in dropped:
            count_remark("invalid_text", name)

    def __enter__(self) -> None:
        outer = _current.get()
        enter(self, self._scope if outer is None else self._scope.over(outer))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        leave(self)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Wrap a function so that its calls are attributed. Supports plain, async, generator and async generator functions."""
        return within(lambda: self, function)


def of_mapping(fields: Mapping[str, Any]) -> attribute:
    """Return an attribution of fields that do not come from program code. Unknown fields are left out, counted and logged."""
    from .fields import ATTRIBUTION, TAGS, unknown_name  # noqa: PLC0415 - see attribute

    names = (*ATTRIBUTION, TAGS)
    for name in fields:
        if name not in names:
            count_remark("unknown_field", unknown_name(str(name), names))
    return attribute(**{name: value for name, value in fields.items() if name in names})


class _Held:
    """Activates one attribution, independent of the surrounding one."""

    __slots__ = ("_scope",)

    def __init__(self, scope: _core.Scope | None) -> None:
        self._scope = scope

    def __enter__(self) -> None:
        enter(self, self._scope)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        leave(self)


def within(make: Callable[[], AbstractContextManager[Any]], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the same kind that runs in a scope, together with a coroutine or generator that it returns.

    Args:
        make: Returns the scope of one call. It is entered for each step of a generator.
        function: The function.
    """
    import inspect  # noqa: PLC0415 - takes a tenth of the package's import time; only decorators need it

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run_async(*args: Any, **kwargs: Any) -> Any:
            with make():
                return await function(*args, **kwargs)

        return run_async

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        scope = make()
        with scope:
            result = function(*args, **kwargs)
        kind = type(result)
        if kind is GeneratorType:
            return steps(scope, result)
        if kind is AsyncGeneratorType:
            return steps_async(scope, result)
        return _awaited(scope, result) if kind is CoroutineType else result

    # The wrapper is of the same kind, because frameworks check the kind of a function.
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generate(*args: Any, **kwargs: Any) -> Any:
            return (yield from steps(make(), function(*args, **kwargs)))

        return generate
    return functools.wraps(function)(_stepping(make, function)) if inspect.isasyncgenfunction(function) else run


async def _awaited(scope: AbstractContextManager[Any], coroutine: Any) -> Any:
    with scope:
        return await coroutine


def steps(scope: AbstractContextManager[Any], generator: Any) -> Any:
    """Run a generator with the scope active while the generator runs, but not while its consumer runs."""
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


def steps_async(scope: AbstractContextManager[Any], generator: Any) -> Any:
    """Do the same as `steps` for an asynchronous generator."""
    return _stepping(lambda: scope, lambda: generator)()


def _stepping(make: Callable[[], AbstractContextManager[Any]], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return an asynchronous generator function that runs another one in the scope."""

    async def generate(*args: Any, **kwargs: Any) -> Any:
        generator, scope = function(*args, **kwargs), make()
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

    return generate


@overload
def bind(function: Callable[P, R]) -> Callable[P, R]: ...
@overload
def bind(function: Callable[..., R], *args: Any, **kwargs: Any) -> Callable[..., R]: ...


def bind(function: Callable[..., R], *args: Any, **kwargs: Any) -> Callable[..., R]:
    """Bind a function to the current attribution, for threads and executors, which start with an empty context.

        executor.submit(taximeter.bind(work), item)

    The attribution stays active while a coroutine function or a generator function runs, and while a coroutine or generator runs that
    a plain function returns.

    Args:
        function: The function that will run elsewhere.
        *args: Positional arguments, put before those of the later call.
        **kwargs: Keyword arguments.

    Returns:
        A callable of the same kind that runs the function with the current attribution.
    """
    if args or kwargs:
        partial = functools.partial(function, *args, **kwargs)
        functools.update_wrapper(partial, function)
        function = partial
    held = _Held(_current.get())
    return within(lambda: held, function)
