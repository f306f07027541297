"""Transparent wrappers around functions of a client."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any, Final

from .bindings import hooked_family, hooking
from .call import Call, carried
from .gates import Find, admitted, status_of
from .guard import check_signature, name_of, report, run_guarded

__all__ = [
    "Forwarding", "after", "before", "each_subclass", "public_methods", "put", "shim", "shim_classes",
    "shim_public",
]  # fmt: skip

_MARK: Final = "__taximeter__"

Prepare = Callable[[Any, Call], None]
"""Gets the object of a method call, and the call, before the method runs."""


class Forwarding:
    """An object that forwards its attributes to another one."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        # Copying and pickling read attributes before the object has any.
        if name == "_inner":
            raise AttributeError(name)
        return getattr(self._inner, name)


def _is_coroutine_function(function: Any, *, is_wrapped: bool = False) -> bool:
    """Return whether a function is a coroutine function; with `is_wrapped`, also below its decorators."""
    import inspect  # noqa: PLC0415 - imports many modules; clients have already imported it

    return inspect.iscoroutinefunction(inspect.unwrap(function) if is_wrapped else function)


def put(owner: Any, name: str, make: Callable[[Any], Any], *, needs: Sequence[str] = ()) -> None:
    """Replace a function of a class with the result of `make`, once.

    Args:
        owner: The class, or the module of a function.
        name: The function's name.
        make: Makes the replacement from the original function.
        needs: Parameters that the function must have.

    Raises:
        SignatureError: The function lacks one of them.
    """
    original = getattr(owner, name)
    if hasattr(original, _MARK):
        return
    check_signature(original, needs, name_of(owner, name))
    ours = make(original)
    setattr(ours, _MARK, True)
    setattr(owner, name, ours)


def shim(
    owner: Any,
    name: str,
    *,
    is_async: bool | None = None,
    prepare: Prepare | None = None,
    carry: Callable[[Any, Call], Any] = carried,
    gate: Find | None = None,
    is_layer: bool = False,
) -> None:
    """Remove taximeter's keywords and headers from calls of a public method, and make the call known to what it calls.

    Args:
        owner: The class, or the module of a function.
        name: The method.
        is_async: Whether it must be awaited; by default, whether it is a coroutine function below its decorators.
        prepare: Called before the method runs.
        carry: Wraps a result whose request is made after the method has returned.
        gate: Says what the method's request asks for, if its clients do not say it: budgets may refuse it.
        is_layer: Whether the method calls other clients, and retries their failed calls itself.
    """
    where, family = name_of(owner, name), hooked_family()

    def carry_guarded(args: tuple[Any, ...], result: Any, call: Call) -> Any:
        try:
            return carry(result, call)
        except Exception as error:
            report(where, error, family=family, part=args[0] if args else None)
            return result

    def make(original: Any) -> Any:
        def prepared(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
            part = args[0] if args else None
            call = Call(kwargs, is_layer=is_layer, where=where, family=family, part=part)
            if prepare is not None:
                try:
                    prepare(part, call)
                except Exception as error:
                    report(where, error, family=family, part=part)
            return call

        if _is_coroutine_function(original, is_wrapped=True) if is_async is None else is_async:

            @functools.wraps(original)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                with prepared(args, kwargs) as call:
                    held = None if gate is None else admitted(gate, None, args, call.kwargs, where=where, family=family)
                    if held is None:
                        result = await original(*args, **call.kwargs)
                    else:
                        with held:
                            result = await original(*args, **call.kwargs)
                return carry_guarded(args, result, call)

            return call_async

        @functools.wraps(original)
        def call_sync(*args: Any, **kwargs: Any) -> Any:
            with prepared(args, kwargs) as call:
                held = None if gate is None else admitted(gate, None, args, call.kwargs, where=where, family=family)
                if held is None:
                    result = original(*args, **call.kwargs)
                else:
                    with held:
                        result = original(*args, **call.kwargs)
            return carry_guarded(args, result, call)

        return call_sync

    put(owner, name, make)


def public_methods(owner: type) -> list[str]:
    """Return the names of the public methods that a class itself defines."""
    return [name for name, value in vars(owner).items() if not name.startswith("_") and isinstance(value, FunctionType)]


def shim_public(owner: type, *, but: tuple[str, ...] = ()) -> None:
    """Apply `shim` to every public method that a class itself defines, except the named ones."""
    for name in public_methods(owner):
        if name not in but:
            shim(owner, name)


def shim_classes(module: ModuleType) -> None:
    """Apply `shim` to every public method of every class that a module defines."""
    for owner in list(vars(module).values()):
        if isinstance(owner, type) and owner.__module__ == module.__name__:
            shim_public(owner)


def each_subclass(base: Any, run: Callable[[Any], None]) -> None:
    """Run a function on every subclass of a class: on existing ones, and on each one defined later."""
    original, family = vars(base).get("__init_subclass__"), hooked_family()
    if getattr(original, _MARK, False):
        return

    def __init_subclass__(cls: Any, /, **options: Any) -> None:  # noqa: N807 - the method's own name
        if original is None:
            super(base, cls).__init_subclass__(**options)
        else:
            original.__get__(None, cls)(**options)
        with hooking(family):
            run_guarded(run, cls, where=name_of(cls), family=family)

    setattr(__init_subclass__, _MARK, True)
    base.__init_subclass__ = classmethod(__init_subclass__)
    waiting = list(base.__subclasses__())
    while waiting:
        owner = waiting.pop()
        run(owner)
        waiting += owner.__subclasses__()


def before(
    owner: Any, name: str, look: Callable[[Any, tuple[Any, ...], Mapping[str, Any]], None], *, needs: Sequence[str] = ()
) -> None:
    """Call `look` with the object and the arguments of a method call, before the method runs. For `needs`, see `put`."""
    where, family = name_of(owner, name), hooked_family()

    def make(original: Any) -> Any:
        # Decided for each method, because in openai before 1.8 the asynchronous client's method was synchronous.
        if _is_coroutine_function(original):

            @functools.wraps(original)
            async def run_async(self: Any, *args: Any, **kwargs: Any) -> Any:
                try:
                    look(self, args, kwargs)
                except Exception as error:
                    report(where, error, family=family, part=self)
                return await original(self, *args, **kwargs)

            return run_async

        @functools.wraps(original)
        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                look(self, args, kwargs)
            except Exception as error:
                report(where, error, family=family, part=self)
            return original(self, *args, **kwargs)

        return run

    put(owner, name, make, needs=needs)


def after(
    owner: Any,
    name: str,
    look: Callable[[Any, tuple[Any, ...], Mapping[str, Any], Any], None] | None = None,
    *,
    change: Callable[[Any, tuple[Any, ...], dict[str, Any]], None] | None = None,
    fail: Callable[[Any, tuple[Any, ...], Mapping[str, Any], BaseException], BaseException | None] | None = None,
    gate: Find | None = None,
    needs: Sequence[str] = (),
) -> None:
    """Call `look` with the object, the arguments and the result of a method call.

    Args:
        owner: The class.
        name: The method.
        look: Called after the method, if given.
        change: Called before the method. It may change the keywords.
        fail: Called with the exception if the method raises. It may return the one that is raised instead.
        gate: Says what a request asks for, if the method makes one: budgets may refuse it.
        needs: See `put`.
    """
    where, family = name_of(owner, name), hooked_family()

    def make(original: Any) -> Any:
        if _is_coroutine_function(original):

            @functools.wraps(original)
            async def run_async(self: Any, *args: Any, **kwargs: Any) -> Any:
                if change is not None:
                    run_guarded(change, self, args, kwargs, where=where, family=family)
                held = None if gate is None else admitted(gate, self, args, kwargs, where=where, family=family)
                try:
                    result = await original(self, *args, **kwargs)
                except BaseException as error:
                    if held is not None:
                        held.failed(error)
                    instead = None if fail is None else run_guarded(fail, self, args, kwargs, error, where=where, family=family)
                    if instead is not None:
                        raise instead from None
                    raise
                if look is not None:
                    try:
                        look(self, args, kwargs, result)
                    except Exception as error:
                        report(where, error, family=family, part=self)
                if held is not None:
                    held.answered(status_of(result))
                return result

            return run_async

        @functools.wraps(original)
        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            if change is not None:
                run_guarded(change, self, args, kwargs, where=where, family=family)
            held = None if gate is None else admitted(gate, self, args, kwargs, where=where, family=family)
            try:
                result = original(self, *args, **kwargs)
            except BaseException as error:
                if held is not None:
                    held.failed(error)
                instead = None if fail is None else run_guarded(fail, self, args, kwargs, error, where=where, family=family)
                if instead is not None:
                    raise instead from None
                raise
            if look is not None:
                try:
                    look(self, args, kwargs, result)
                except Exception as error:
                    report(where, error, family=family, part=self)
            if held is not None:
                held.answered(status_of(result))
            return result

        return run

    put(owner, name, make, needs=needs)
