"""Handles errors of the instrumentation: they are counted and logged, and never reach the caller."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .. import attribution

__all__ = ["SignatureError", "check_signature", "name_of", "report", "run_guarded"]

log = logging.getLogger("taximeter")

Made = TypeVar("Made")


class SignatureError(Exception):
    """A client's function lacks a parameter that the instrumentation reads."""


def report(where: str, error: BaseException) -> None:
    """Counts an error as `instrument_failed` in `stats()["remarks"]`, and logs it once a minute. Never raises.

    Args:
        where: The client's function that could not be followed, or the step that failed.
        error: The exception. Its message is only logged at DEBUG level, because it may quote a prompt.
    """
    try:
        log.debug("taximeter could not follow %s", where, exc_info=error)
        attribution.count_remark("instrument_failed", f"{where} ({type(error).__name__})")
    except Exception:
        pass


def run_guarded(make: Callable[..., Made], *arguments: Any, where: str = "") -> Made | None:
    """Runs a function of the instrumentation. Returns its result, or `None` if it raises, which is counted and logged."""
    try:
        return make(*arguments)
    except Exception as error:
        report(where or name_of(make), error)
        return None


def name_of(function: Any, name: str = "") -> str:
    """Returns the full name of a function, or of an attribute of a class or a module."""
    function = getattr(function, "func", function)  # of a partial function
    module, own = getattr(function, "__module__", ""), getattr(function, "__qualname__", None) or getattr(function, "__name__", "?")
    return ".".join(filter(None, (module, own, name)))


def check_signature(function: Any, needs: Sequence[str], where: str) -> None:
    """Checks that a function has the parameters that the instrumentation reads.

    Raises:
        SignatureError: One is missing, so this version of the client is not supported.
    """
    import inspect  # noqa: PLC0415 - see shims

    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return  # it has no signature
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for name in needs:
        if name not in known:
            raise SignatureError(f"{where} has no parameter {name!r}; this version of the client is not supported")
