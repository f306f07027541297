"""Handles errors of the instrumentation: they are counted and logged, and never reach the caller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from .. import attribution
from ..log import log
from ..sanitize import printable

__all__ = ["Counts", "SignatureError", "check_signature", "find_meters_with", "name_of", "report", "run_guarded"]

Made = TypeVar("Made")


class SignatureError(Exception):
    """A client's function lacks a parameter that the instrumentation reads."""


class Counts(Protocol):
    """A meter, as far as it counts."""

    def count_remark(self, what: str, field: str) -> None:
        """Count a remark under its name in `stats()`, and warn about it."""


_find: Callable[[str, Any], Counts | None] | None = None


def find_meters_with(find: Callable[[str, Any], Counts | None]) -> None:
    """Set the function that finds the meter of a failed step, from its name and the part of a client that it worked for."""
    global _find  # noqa: PLW0603 - the registry sets it once
    _find = find


def report(where: str, error: BaseException, *, part: Any = None, meter: Counts | None = None) -> None:
    """Count an error as `instrument_failed` in `stats()["remarks"]`, and log it once a minute. Never raises.

    Args:
        where: The client's function that could not be followed, or the step that failed.
        error: The exception. Its message is only logged at DEBUG level, because it may quote a prompt.
        part: The client, or a part of it. The meter that meters its calls counts the error.
        meter: The meter that counts it, if it is known. Without either, it is the default meter.
    """
    try:
        log().debug("taximeter could not follow %s", printable(where), exc_info=error)
        found = _find(where, part) if meter is None and _find is not None else meter
        count = attribution.count_remark if found is None else found.count_remark
        count("instrument_failed", f"{where} ({type(error).__name__})")
    except Exception:
        pass


def run_guarded(
    make: Callable[..., Made], *arguments: Any, where: str = "", part: Any = None, meter: Counts | None = None
) -> Made | None:
    """Run a function of the instrumentation. Return its result, or `None` if it raises, which is counted and logged.

    Args:
        make: The function.
        *arguments: Its arguments.
        where: See `report`; by default, the function's name.
        part: See `report`; by default, the first argument.
        meter: See `report`.
    """
    try:
        return make(*arguments)
    except Exception as error:
        if part is None and arguments:
            part = arguments[0]
        report(where or name_of(make), error, part=part, meter=meter)
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
