"""Clients made by the Stainless generator, such as openai and anthropic, have the same structure.

Every response passes `_process_response` of the base client exactly once, after retries, for every style of call: plain, streamed,
raw, parsed or through a helper. There, the response's byte stream is replaced by one that also shows the bytes to a scanner.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from . import bindings, deferred, http
from .bindings import Family
from .call import CALL, Call, carried, drop_own_headers, own_keywords
from .failures import failed
from .gates import Found, asked_in, limited
from .hosts import answered_by, asks_for_usage, region_of
from .shims import after, before, each_subclass, public_methods, shim

if TYPE_CHECKING:
    from ..meter import Engine
    from ..settings import Settings

__all__ = ["stainless_family"]

_MANAGED: Final = ("stream", "tool_runner", "connect")
"""The name endings of methods that return a manager, which makes the request later."""
_MODEL_IN_PATH: Final = re.compile(r"/models?/([^/:]+)(?::|/invoke)")
_SERVED_BY: Final = {
    "Azure": "azure.ai.openai", "Foundry": "azure.ai.inference", "Bedrock": "aws.bedrock", "Vertex": "gcp.vertex_ai",
}  # fmt: skip
_REGIONS: Final = {"gcp.vertex_ai": "region", "aws.bedrock": "aws_region"}
"""The attributes of clients that hold the region."""
_MOST_ROUTES: Final = 1_000
"""The most addresses that are remembered, about 1 MB: some have an id in their path."""
_GLOBAL_PROFILE: Final = re.compile(r"/model/(?:.*/)?global\.")
"""The path of a Bedrock profile that is served anywhere in the world, which costs less than others."""
# The clients' placeholders for arguments that are not given.
_UNSET: Final = frozenset({"NotGiven", "Omit"})


class _Routes:
    """What the addresses of requests say about their events. A program calls few addresses often."""

    def __init__(self, vendor: str, operations: Mapping[str, str]) -> None:
        self.vendor = vendor
        self._operations = operations
        self._known: dict[tuple[Any, ...], tuple[Settings | None, dict[str, Any] | None]] = {}
        """The fields at an address for a class of clients, with the settings for which they hold."""

    def fields_of(self, meter: Engine, client: Any, url: Any, path: str, options: Any) -> dict[str, Any] | None:
        """Return the known fields of a POST request's event; `None` if it is not metered."""
        key = (type(client), url.scheme, url.host, url.port, path)
        known = self._known.get(key)
        if known is None or known[0] is not meter.settings:
            if len(self._known) >= _MOST_ROUTES:
                self._known.clear()
            known = self._known[key] = (meter.settings, self._found(meter, client, url, path))
        fields = known[1]
        if fields is None:
            return None
        body = getattr(options, "json_data", None)
        body = body if isinstance(body, Mapping) else {}
        # Used if the response does not name them. What is not given is one of the client's placeholders here.
        tier, geography = body.get("service_tier"), body.get("inference_geo")
        region = fields["region"] or _region(client, fields["provider"])
        return {
            **fields,
            "region": region or (geography if isinstance(geography, str) else None),
            "model": body.get("model"),
            "service_tier": tier if isinstance(tier, str) else None,
        }

    def posted(
        self, meter: Engine, client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Any, str, dict[str, Any]] | None:
        """Return the options, the path and the known fields of a POST request that is about to be made; `None` if it is another."""
        options = kwargs["options"] if "options" in kwargs else args[1]
        if options.method.upper() != "POST":
            return None
        path = str(options.url).partition("?")[0]
        fields = self.fields_of(meter, client, client.base_url, path, options) or {}
        if fields:
            # The clients for Bedrock and Vertex AI move the model from the body to the path.
            moved = _MODEL_IN_PATH.search(path)
            fields["model"] = fields["model"] or (moved and moved[1])
        return options, path, fields

    def _found(self, meter: Engine, client: Any, url: Any, path: str) -> dict[str, Any] | None:
        """Return what the address says."""
        operation = next((what for end, what in self._operations.items() if path.endswith(end)), None)
        if operation is None or path.rpartition("/")[2].startswith("count-tokens"):
            return None
        region = "global" if _GLOBAL_PROFILE.search(path) else region_of(url.host)
        return {**_answered(meter, client, url, self.vendor), "operation": operation, "region": region}


def stainless_family(
    name: str,
    *,
    operations: Mapping[str, str],
    wire: str = "openai",
    hooks: Mapping[str, Callable[[ModuleType], None]] | None = None,
) -> Family:
    """Return a family of clients.

    Args:
        name: The package, which is also the provider of unknown hosts.
        operations: The endings of metered paths, with OpenTelemetry's name of their operation.
        wire: The format of the responses.
        hooks: Further functions to run on modules of the family.
    """
    routes = _Routes(name, operations)
    fields_of = routes.fields_of
    ask_budgets = functools.partial(_ask_budgets, routes)

    def look(client: Any, _args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        meter = bindings.meter_of(name, client)
        response = kwargs["response"]
        if meter is None:
            return
        url, method = response.request.url, response.request.method
        path = url.path
        if method == "GET":
            deferred.follow_fetched(meter, wire, _answered(meter, client, url, name), response)
        elif method == "POST" and path.endswith("/batches"):
            deferred.follow_batch(meter, wire, _answered(meter, client, url, name), response)
        elif method == "POST" and (fields := fields_of(meter, client, url, path, kwargs["options"])):
            if fields["operation"] == "speech":
                fields["usage"] = _spoken(getattr(kwargs["options"], "json_data", None))
            http.follow(meter, wire, fields, response, admit=functools.partial(deferred.billed, meter), settles=True)

    def fail(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: BaseException) -> None:
        meter = bindings.meter_of(name, client)
        if meter is not None and (found := routes.posted(meter, client, args, kwargs)) and (fields := found[2]):
            failed(meter, fields, error)

    def hook_base(module: ModuleType) -> None:
        for class_name in ("SyncAPIClient", "AsyncAPIClient"):
            before(getattr(module, class_name), "_process_response", look, needs=("options", "response"))
            # Tries of one call are made within this.
            after(getattr(module, class_name), "request", fail=fail, gate=ask_budgets, needs=("options",))
        after(module.BaseClient, "_build_headers", _strip_headers)
        before(module.BaseClient, "_build_request", _strip_body, needs=("options",))

    def ask(resource: Any, call: Call) -> None:
        # Without the capture point, the extra chunk would not be removed again.
        client = resource._client  # noqa: SLF001 - public under no other name
        if call.kwargs.get("stream") is True and bindings.is_bound(family):
            meter = bindings.meter_of(name, client)
            if meter is not None and asks_for_usage(meter, client.base_url, getattr(client, "_api_version", None)):
                _ask_for_usage(call, resource)

    def shim_resource(owner: Any) -> None:
        asks = "completions" in owner.__module__
        for method in public_methods(owner):
            prepare = _strip_defaults if method == "connect" else ask if asks and method == "create" else None
            shim(owner, method, prepare=prepare, carry=_carried if method.endswith(_MANAGED) else carried)

    def hook_resources(module: ModuleType) -> None:
        """Instrument every public method of every resource, including classes that are defined later."""
        for class_name in ("SyncAPIResource", "AsyncAPIResource"):
            each_subclass(getattr(module, class_name), shim_resource)

    by_module: dict[str, Callable[[ModuleType], None]] = {f"{name}._base_client": hook_base, f"{name}._resource": hook_resources}
    by_module |= hooks or {}
    family = Family(name, by_module, (f"{name}._base_client",), functools.partial(_owns, name), _bind_client)
    return family


def _owns(package: str, client: object) -> bool:
    base = sys.modules.get(f"{package}._base_client")
    return base is not None and isinstance(client, base.BaseClient)


def _region(client: Any, provider: str) -> str | None:
    """Return the region in the settings of a client for Vertex AI or Bedrock behind another host."""
    name = _REGIONS.get(provider)
    region = getattr(client, name, None) if name else None
    return region if isinstance(region, str) else None


def _spoken(body: Any) -> dict[str, int] | None:
    """Return the characters of a text for speech. Models that are not billed by tokens are billed by them."""
    text, model = (body.get("input"), body.get("model")) if isinstance(body, Mapping) else (None, None)
    if not isinstance(text, str) or (isinstance(model, str) and model.startswith("gpt-")):
        return None
    return {"input_characters": len(text)}


def _ask_budgets(routes: _Routes, client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Found | None:
    meter = limited(routes.vendor, client)
    if meter is None or (found := routes.posted(meter, client, args, kwargs)) is None:
        return None
    options, path, fields = found
    body, extra = getattr(options, "json_data", None), getattr(options, "extra_json", None)
    if fields:
        return meter, asked_in(fields, {**body, **extra} if isinstance(body, Mapping) and isinstance(extra, Mapping) else body)
    if not path.endswith("/batches"):
        return None
    answered = _answered(meter, client, client.base_url, routes.vendor)
    return meter, asked_in({**answered, "model": _model_of_batch(body)}, {}).without_estimate()


def _model_of_batch(body: Any) -> str | None:
    """Return the model of the first request of Anthropic's batches. OpenAI's requests are in a file."""
    requests = body.get("requests") if isinstance(body, Mapping) else None
    first = requests[0] if isinstance(requests, list) and requests else None
    parameters = first.get("params") if isinstance(first, Mapping) else None
    return parameters.get("model") if isinstance(parameters, Mapping) else None


def _answered(meter: Engine, client: Any, url: Any, vendor: str) -> dict[str, str]:
    """Return the fields of an event that name the provider."""
    kind: Any = type(client)
    served_by = _served_by(kind)
    return answered_by(meter, url, served_by or vendor, is_known=served_by is not None)


@functools.cache
def _served_by(kind: Any) -> str | None:
    """Return the provider of a client class for unknown hosts. Subclasses may prefix names such as Azure's with their own."""
    names = [base.__name__ for base in kind.__mro__]
    return next((provider for part, provider in _SERVED_BY.items() if any(part in name for name in names)), None)


def _bind_client(client: Any, meter: Engine) -> None:
    bindings.mark(client, meter)
    # Hooks the class, because a function on the client itself would create a reference cycle.
    for owner in type(client).__mro__:
        for name in ("copy", "with_options"):
            if name in vars(owner):
                after(owner, name, _mark_copy)


def _mark_copy(client: Any, _args: tuple[Any, ...], _kwargs: Mapping[str, Any], copy: Any) -> None:
    bindings.mark_alike(client, copy)


def _strip_headers(_client: Any, _args: tuple[Any, ...], _kwargs: Mapping[str, Any], headers: Any) -> None:
    """Remove taximeter's headers from every request, including those of methods without a shim and the client's default headers."""
    drop_own_headers(headers)


def _strip_defaults(resource: Any, _call: Call) -> None:
    """Remove taximeter's headers from a client's default headers, because WebSockets build their headers in another way."""
    drop_own_headers(resource._client._custom_headers)  # noqa: SLF001 - public under no other name


def _strip_body(_client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Remove taximeter's keywords from every body and query, because wrappers around a client pass unknown keywords on."""
    options = args[0] if args else kwargs["options"]
    for part in ("json_data", "extra_json", "params"):
        body = getattr(options, part, None)
        if isinstance(body, Mapping) and (own := own_keywords(body)):
            setattr(options, part, {name: value for name, value in body.items() if name not in own})


def _ask_for_usage(call: Call, resource: Any) -> None:
    """Make a chat stream report its usage, if the host accepts that and the caller has not decided it."""
    client = resource._client  # noqa: SLF001 - public under no other name
    kind: Any = type(resource)
    body = call.kwargs.get("extra_body")
    body = body if isinstance(body, Mapping) else {}
    # `extra_body` overrides a keyword of the same name. openai 1.0 to 1.25 do not have the keyword.
    goes_in_body = "stream_options" in body or not _takes_stream_options(kind)
    options = body.get("stream_options") if "stream_options" in body else call.kwargs.get("stream_options")
    if options is None or type(options).__name__ in _UNSET:
        options = {}
    if not isinstance(options, Mapping) or "include_usage" in options:
        return
    headers = call.kwargs.get("extra_headers")
    headers = headers if isinstance(headers, Mapping) else {}
    own = {str(name).lower(): value for name, value in {**getattr(client, "_custom_headers", {}), **headers}.items()}
    # The scanner can remove a chunk only from this compression.
    if (encoding := own.get("accept-encoding")) is None:
        headers = {**headers, "Accept-Encoding": "gzip"}
    elif encoding not in {"gzip", "identity"}:
        return
    asked = {"stream_options": {**options, "include_usage": True}}
    call.kwargs = {**call.kwargs, "extra_headers": headers, **({"extra_body": {**body, **asked}} if goes_in_body else asked)}
    call.strips_usage = True


@functools.cache
def _takes_stream_options(kind: Any) -> bool:
    return "stream_options" in inspect.signature(kind.create).parameters


def _carried(manager: Any, call: Call) -> Any:
    """Keep the attribution for a helper that makes its requests later.

    A stream's manager makes its request when it is entered, and a tool runner makes one in each turn.
    """
    if call.has_own and hasattr(manager, "__dict__"):
        manager.__dict__[CALL] = call
    call.hold()
    for name, request in list(getattr(manager, "__dict__", {}).items()):
        if name == "_iterator":
            manager.__dict__[name] = carried(request, call)
        elif name.endswith("api_request") and callable(request):
            manager.__dict__[name] = _within(request, call)
        elif name.endswith("api_request") and hasattr(request, "__await__"):
            manager.__dict__[name] = _Awaited(request, call)
    return manager


def _within(request: Callable[..., Any], call: Call) -> Callable[..., Any]:
    @functools.wraps(request)
    def run(*args: Any, **kwargs: Any) -> Any:
        with call:
            return request(*args, **kwargs)

    return run


class _Awaited:
    """A request that is awaited in a call. It is not a coroutine, because Python would warn about one that is never awaited."""

    __slots__ = ("_call", "_request")

    def __init__(self, request: Awaitable[Any], call: Call) -> None:
        self._request = request
        self._call = call

    def __await__(self) -> Generator[Any, Any, Any]:
        with self._call:
            return (yield from self._request.__await__())
