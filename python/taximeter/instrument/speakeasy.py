"""Clients made by the Speakeasy generator: Mistral's, and Gemini's for interactions. Every request passes `do_request`."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from ..budgets.gate import free
from . import bindings, deferred, http
from .call import current_call, drop_own_headers
from .failures import failed
from .gates import Found, asked_in, limited
from .hosts import answered_by
from .shims import after, each_subclass, shim_public

if TYPE_CHECKING:
    from ..meter import Engine

__all__ = ["hook_base"]

_LIMITS: Final = ("completion_args", "generation_config")
"""The parts of a request that have the output's limit, for Mistral's conversations and Gemini's interactions."""


def hook_base(
    family: str, provider: str, operations: Mapping[str, str], wire: str, shared: Callable[[Any], Any], *, batches: str = ""
) -> Callable[[ModuleType], None]:
    """Return the hook of a base module.

    Args:
        family: The family's name.
        provider: The provider of unknown hosts.
        operations: The endings of metered paths, with OpenTelemetry's name of their operation.
        wire: The format of the responses.
        shared: Returns the object that all parts of one client share, from one of them.
        batches: The ending of the path that creates a batch, if there is one.
    """

    def fields_of(meter: Engine, request: Any) -> dict[str, Any] | None:
        """Return the known fields of a POST request's event; `None` if it is not metered."""
        operation = next((what for end, what in operations.items() if _resource(request.url.path).endswith(end)), None)
        if operation is None or request.method != "POST":
            return None
        call = current_call()
        # Used if the response names no model, like a stream that ends before its first part.
        model = call and call.kwargs.get("model")
        return {**answered_by(meter, request.url, provider), "model": model, "operation": operation}

    def creates_batch(request: Any) -> bool:
        return bool(batches) and request.method == "POST" and request.url.path.endswith(batches)

    def look(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], response: Any) -> None:
        meter = bindings.meter_of(family, shared(client))
        request = kwargs.get("request") or args[1]
        if meter is None:
            return
        if request.method == "GET":
            deferred.follow_fetched(meter, wire, answered_by(meter, request.url, provider), response)
        elif creates_batch(request):
            free()
        elif (fields := fields_of(meter, request)) is not None:
            http.follow(meter, wire, fields, response, admit=functools.partial(deferred.billed, meter), settles=True)

    def fail(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: BaseException) -> None:
        meter = bindings.meter_of(family, shared(client))
        if meter is not None and (fields := fields_of(meter, kwargs.get("request") or args[1])) is not None:
            failed(meter, fields, error)

    def ask_budgets(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Found | None:
        meter = limited(family, shared(client))
        request = kwargs.get("request") or args[1]
        if meter is None:
            return None
        if creates_batch(request):
            # Its results are charged when they are fetched.
            answered = answered_by(meter, request.url, provider)
            return meter, asked_in({**answered, "model": _body(request).get("model")}, {}).without_estimate()
        if (fields := fields_of(meter, request)) is None:
            return None
        body = _body(request)
        limits = next((body[name] for name in _LIMITS if name in body), None)
        return meter, asked_in({**fields, "model": body.get("model") or fields["model"]}, body, limits=limits)

    def hook(module: ModuleType) -> None:
        for name in ("BaseSDK", "AsyncBaseSDK"):
            if (base := getattr(module, name, None)) is not None:
                # Every public method of every part of a client, including classes that are defined later.
                each_subclass(base, shim_public)
            for method in ("do_request", "do_request_async"):
                owner = getattr(module, name, None)
                if owner is not None and hasattr(owner, method):
                    after(owner, method, look, change=_strip_headers, fail=fail, gate=ask_budgets, needs=("request",))

    return hook


def _strip_headers(_client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Remove taximeter's headers from every request, including those of methods without a shim."""
    drop_own_headers((kwargs.get("request") or args[1]).headers)


def _body(request: Any) -> dict[str, Any]:
    """Return the JSON of a request that is about to be made; an empty one for an upload."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        return {}
    body = json.loads(request.content)
    return body if isinstance(body, dict) else {}


def _resource(path: str) -> str:
    """Return the path of the collection, for the path of one of its conversations."""
    path = path.removesuffix("/restart")
    return path.rpartition("/")[0] if "/conversations/" in path else path
