"""Putting our functions around a client's own, so that nobody can tell but by what they do."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from .call import Call, carried

__all__ = ["Forwarding", "after", "before", "put", "run_guarded", "shim", "shim_all"]

log = logging.getLogger("taximeter")

_MARK: Final = "__taximeter__"

Made = TypeVar("Made")
Prepare = Callable[[Any, Call], None]
"""Is shown the object a method is called on, and the call, before the method runs."""


class Forwarding:
    """Has what the object has that it stands for."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        # Copying and pickling ask an object that has nothing yet.
        if name == "_inner":
            raise AttributeError(name)
        return getattr(self._inner, name)


def put(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Replaces a function of a class by what `make` makes of it, once."""
    original = getattr(owner, name)
    if hasattr(original, _MARK):
        return
    ours = make(original)
    setattr(ours, _MARK, True)
    setattr(owner, name, ours)


def run_guarded(make: Callable[..., Made], *arguments: Any) -> Made | None:
    """Does something of ours: what it returns, or `None` if it goes wrong, which is not the caller's business."""
    try:
        return make(*arguments)
    except Exception:
        log.debug("taximeter could not follow a call", exc_info=True)
        return None


def shim(
    owner: Any,
    name: str,
    *,
    is_async: bool | None = None,
    prepare: Prepare | None = None,
    carry: Callable[[Any, Call], Any] = carried,
) -> None:
    """Takes taximeter's keywords and headers out of a public method, and lets what it does know whose call it is.

    Args:
        owner: The class, or the module of a function.
        name: The method.
        is_async: Whether it has to be awaited; by default, whether it is a coroutine function. (Decorated ones are not.)
        prepare: What else is to be done before it runs.
        carry: What is done to a result whose request is made after the method has returned.
    """

    def carry_guarded(result: Any, call: Call) -> Any:
        ours = run_guarded(carry, result, call)
        return result if ours is None else ours

    def make(original: Any) -> Any:
        def prepared(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
            call = Call(kwargs)
            if prepare is not None:
                run_guarded(prepare, args[0] if args else None, call)
            return call

        if inspect.iscoroutinefunction(original) if is_async is None else is_async:

            @functools.wraps(original)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                with prepared(args, kwargs) as call:
                    result = await original(*args, **call.kwargs)
                return carry_guarded(result, call)

            return call_async

        @functools.wraps(original)
        def call_sync(*args: Any, **kwargs: Any) -> Any:
            with prepared(args, kwargs) as call:
                result = original(*args, **call.kwargs)
            return carry_guarded(result, call)

        return call_sync

    put(owner, name, make)


def shim_all(module: Any, classes: Mapping[str, tuple[str, ...]]) -> None:
    """`shim` for methods by class, of those that this version of a client has."""
    for class_name, names in classes.items():
        owner = getattr(module, class_name, None)
        for name in names:
            if owner is not None and hasattr(owner, name):
                shim(owner, name)


def before(owner: Any, name: str, look: Callable[[Any, tuple[Any, ...], Mapping[str, Any]], None]) -> None:
    """Shows `look` the object and the arguments a method is called with, before it runs."""

    def make(original: Any) -> Any:
        # Asked of the method itself: before openai 1.8, the asynchronous client's was a plain one.
        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            async def run_async(self: Any, *args: Any, **kwargs: Any) -> Any:
                run_guarded(look, self, args, kwargs)
                return await original(self, *args, **kwargs)

            return run_async

        @functools.wraps(original)
        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            run_guarded(look, self, args, kwargs)
            return original(self, *args, **kwargs)

        return run

    put(owner, name, make)


def after(
    owner: Any,
    name: str,
    look: Callable[[Any, tuple[Any, ...], Mapping[str, Any], Any], None],
    *,
    change: Callable[[Any, tuple[Any, ...], dict[str, Any]], None] | None = None,
) -> None:
    """Shows `look` the object, the arguments and what a method returned; `change` may change its keywords before."""

    def make(original: Any) -> Any:
        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            async def run_async(self: Any, *args: Any, **kwargs: Any) -> Any:
                if change is not None:
                    run_guarded(change, self, args, kwargs)
                result = await original(self, *args, **kwargs)
                run_guarded(look, self, args, kwargs, result)
                return result

            return run_async

        @functools.wraps(original)
        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            if change is not None:
                run_guarded(change, self, args, kwargs)
            result = original(self, *args, **kwargs)
            run_guarded(look, self, args, kwargs, result)
            return result

        return run

    put(owner, name, make)
