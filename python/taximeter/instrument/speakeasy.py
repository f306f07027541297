"""Clients made by the Speakeasy generator, Mistral's and that of Gemini's interactions: every request passes `do_request`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from . import bindings, deferred, http
from .call import current_call, drop_own_headers
from .failures import failed
from .hosts import provider_of
from .shims import after, each_subclass, shim_public

__all__ = ["hook_base"]


def hook_base(
    family: str, provider: str, operations: Mapping[str, str], wire: str, shared: Callable[[Any], Any]
) -> Callable[[ModuleType], None]:
    """The hook of a base module.

    Args:
        family: Its family's name.
        provider: Who answers at hosts that are not known.
        operations: The ends of the paths that are metered, and OpenTelemetry's name for what they do.
        wire: Whose format the responses have.
        shared: What all parts of one client share, given one of them.
    """

    def fields_of(request: Any) -> dict[str, Any] | None:
        """What is known of the event of a POST; `None` for what is not metered."""
        operation = next((what for end, what in operations.items() if _resource(request.url.path).endswith(end)), None)
        if operation is None or request.method != "POST":
            return None
        call = current_call()
        # Counts where the response names no model, as a stream does not that ends before its first part.
        model = call and call.kwargs.get("model")
        return {"provider": provider_of(request.url.host, provider), "model": model, "operation": operation}

    def look(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], response: Any) -> None:
        meter = bindings.meter_of(family, shared(client))
        request = kwargs.get("request") or args[1]
        if meter is None:
            return
        if request.method == "GET":
            deferred.follow_fetched(meter, wire, provider_of(request.url.host, provider), response)
        elif (fields := fields_of(request)) is not None:
            http.follow(meter, wire, fields, response, admit=deferred.billed)

    def fail(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: BaseException) -> None:
        meter = bindings.meter_of(family, shared(client))
        fields = fields_of(kwargs.get("request") or args[1])
        if meter is not None and fields is not None:
            failed(meter, fields, error)

    def hook(module: ModuleType) -> None:
        for name in ("BaseSDK", "AsyncBaseSDK"):
            if (base := getattr(module, name, None)) is not None:
                # Every public method of every part of a client, those of classes that are made later included.
                each_subclass(base, shim_public)
            for method in ("do_request", "do_request_async"):
                owner = getattr(module, name, None)
                if owner is not None and hasattr(owner, method):
                    after(owner, method, look, change=_strip_headers, fail=fail)

    return hook


def _strip_headers(_client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Takes taximeter's headers out of every request, also of methods without a shim."""
    drop_own_headers((kwargs.get("request") or args[1]).headers)


def _resource(path: str) -> str:
    """The path of a collection, for that of one of its conversations."""
    path = path.removesuffix("/restart")
    return path.rpartition("/")[0] if "/conversations/" in path else path
