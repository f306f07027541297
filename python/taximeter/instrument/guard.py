"""Handles errors of the instrumentation: they are counted and logged, and never reach the caller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from .. import attribution
from ..log import log
from ..sanitize import printable

__all__ = ["Counts", "SignatureError", "check_signature", "count_remark", "find_meters_with", "name_of", "report", "run_guarded"]

Made = TypeVar("Made")


class SignatureError(Exception):
    """A client's function lacks a parameter that the instrumentation reads."""


class Counts(Protocol):
    """A meter, as far as it counts."""

    def count_remark(self, what: str, field: str) -> None:
        """Count a remark under its name in `stats()`, and warn about it."""


_find: Callable[[str, Any], Counts | None] | None = None


def find_meters_with(find: Callable[[str, Any], Counts | None]) -> None:
    """Set the function that finds the meter of a call, from the client's family and the client or a part of it."""
    global _find  # noqa: PLW0603 - the registry sets it once
    _find = find


def count_remark(what: str, field: str, *, family: str, part: Any, meter: Counts | None = None) -> None:
    """Count and log a remark in the meter of a call.

    Args:
        what: The remark's name in `stats()["remarks"]`.
        field: What it is about.
        family: The client's family. Its meter counts the remark if the client has none of its own.
        part: The client, or a part of it.
        meter: The meter, if it is known. Without a meter of the call, it is the default meter.
    """
    if meter is None and _find is not None:
        meter = _find(family, part)
    (attribution if meter is None else meter).count_remark(what, field)


def report(where: str, error: BaseException, *, family: str = "", part: Any = None, meter: Counts | None = None) -> None:
    """Count an error as `instrument_failed` in `stats()["remarks"]`, and log it once a minute. Never raises.

    Args:
        where: The client's function that could not be followed, or the step that failed.
        error: The exception. Its message is only logged at DEBUG level, because it may quote a prompt.
        family: See `count_remark`.
        part: See `count_remark`.
        meter: See `count_remark`.
    """
    try:
        log().debug("taximeter could not follow %s", printable(where), exc_info=error)
        count_remark("instrument_failed", f"{where} ({type(error).__name__})", family=family, part=part, meter=meter)
    except Exception:
        pass


def run_guarded(
    make: Callable[..., Made], *arguments: Any, where: str = "", family: str = "", part: Any = None, meter: Counts | None = None
) -> Made | None:
    """Run a function of the instrumentation. Return its result, or `None` if it raises, which is counted and logged.

    Args:
        make: The function.
        *arguments: Its arguments.
        where: See `report`; by default, the function's name.
        family: See `count_remark`.
        part: See `count_remark`; by default, the first argument.
        meter: See `count_remark`.
    """
    try:
        return make(*arguments)
    except Exception as error:
        if part is None and arguments:
            part = arguments[0]
        report(where or name_of(make), error, family=family, part=part, meter=meter)
        return None


def name_of(function: Any, name: str = "") -> str:
    """Return the full name of a function, or of an attribute of a class or a module."""
    function = getattr(function, "func", function)  # of a partial function
    module, own = getattr(function, "__module__", ""), getattr(function, "__qualname__", None) or getattr(function, "__name__", "?")
    return ".".join(filter(None, (module, own, name)))


def check_signature(function: Any, needs: Sequence[str], where: str) -> None:
    """Check that a function has the parameters that the instrumentation reads. A wrapper that takes anything passes.

    Raises:
        SignatureError: One is missing, so this version of the client is not supported.
    """
    import inspect  # noqa: PLC0415 - see shims

    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return  # it has no signature
    kinds = [parameter.kind for parameter in known.values()]
    # The first parameter may be the object of a method.
    if inspect.Parameter.VAR_KEYWORD in kinds and {*kinds[1:]} <= {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        return
    for name in needs:
        if name not in known:
            raise SignatureError(f"{where} has no parameter {name!r}; this version of the client is not supported")
