"""Clients made by the Stainless generator, openai and anthropic among them, share one shape.

Every response passes `_process_response` of the base client exactly once, after retries, whatever style of call it answers: plain,
streamed, raw, parsed or through a helper. There the response's byte stream is replaced by one that shows the bytes to a scanner.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from types import MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from .. import _core
from . import _engine
from ._engine import HEADER_PREFIX, Call, Family, Recorder
from ._hosts import includes_usage_safely, provider_of

if TYPE_CHECKING:
    from ..meter import Meter

__all__ = ["stainless_family"]

log = logging.getLogger("taximeter")

_MARK: Final = "__taximeter__"
_CAPTURE: Final = "_process_response"
# Methods that an asynchronous class has as plain ones, for they return a manager.
_SYNC_EVERYWHERE: Final = frozenset({"stream", "tool_runner"})
# What the clients write for a keyword that is not given.
_UNSET: Final = frozenset({"NotGiven", "Omit"})


def stainless_family(
    name: str,
    *,
    operations: Mapping[str, str],
    methods: Mapping[str, Mapping[str, tuple[str, ...]]],
) -> Family:
    """A family of clients.

    Args:
        name: The package, which is also the wire format and the provider of hosts that are not known.
        operations: The ends of the paths that are metered, and OpenTelemetry's name for what they do.
        methods: By module and class, the public methods that take keywords. `Async` classes follow from the plain ones.
    """

    def attach(meter: Meter | None, options: Any, response: Any) -> None:
        if meter is None or not meter.enabled or response.request.method != "POST":
            return
        path = response.request.url.path
        operation = next((what for end, what in operations.items() if path.endswith(end)), None)
        if operation is not None:
            _follow(meter, name, operation, options, response)

    def hook_base(module: ModuleType) -> None:
        for class_name in ("SyncAPIClient", "AsyncAPIClient"):
            owner = getattr(module, class_name)
            original = getattr(owner, _CAPTURE)
            if not hasattr(original, _MARK):
                setattr(owner, _CAPTURE, _captured(original, lambda: _engine.meter_of(name), attach))
        _strip_headers(module.BaseClient)

    def bind_client(client: Any, meter: Meter) -> None:
        original = getattr(type(client), _CAPTURE)
        original = original.__wrapped__ if hasattr(original, _MARK) else original
        client.__dict__[_CAPTURE] = MethodType(_captured(original, lambda: meter, attach), client)
        for copier in ("copy", "with_options"):
            client.__dict__[copier] = _copying(getattr(client, copier), bind_client, meter)

    def owns(client: object) -> bool:
        base = sys.modules.get(f"{name}._base_client")
        return base is not None and isinstance(client, base.BaseClient)

    def hook_methods(classes: Mapping[str, tuple[str, ...]], module: ModuleType) -> None:
        for class_name, names in classes.items():
            for variant in (class_name, f"Async{class_name}"):
                owner = getattr(module, variant, None)
                for method in names:
                    if owner is not None and hasattr(owner, method):
                        _shim(family, owner, method, is_async=variant.startswith("Async") and method not in _SYNC_EVERYWHERE)

    hooks: dict[str, Callable[[ModuleType], None]] = {f"{name}._base_client": hook_base}
    hooks |= {module: functools.partial(hook_methods, classes) for module, classes in methods.items()}
    family = Family(name, hooks, f"{name}._base_client", owns, bind_client)
    return family


def _captured(original: Any, meter: Callable[[], Meter | None], attach: Callable[[Meter | None, Any, Any], None]) -> Any:
    def look(kwargs: Mapping[str, Any]) -> None:
        try:
            attach(meter(), kwargs["options"], kwargs["response"])
        except Exception:
            log.debug("taximeter could not follow a response", exc_info=True)

    # Asked of the method itself: before openai 1.8, the asynchronous client's was a plain one.
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def process_async(self: Any, *args: Any, **kwargs: Any) -> Any:
            look(kwargs)
            return await original(self, *args, **kwargs)

        process: Any = process_async
    else:

        @functools.wraps(original)
        def process_sync(self: Any, *args: Any, **kwargs: Any) -> Any:
            look(kwargs)
            return original(self, *args, **kwargs)

        process = process_sync
    setattr(process, _MARK, True)
    return process


def _copying(copy: Callable[..., Any], bind_client: Callable[[Any, Meter], None], meter: Meter) -> Callable[..., Any]:
    """Copies of a metered client are metered."""

    @functools.wraps(copy)
    def make(*args: Any, **kwargs: Any) -> Any:
        client = copy(*args, **kwargs)
        bind_client(client, meter)
        return client

    return make


def _strip_headers(base: Any) -> None:
    """Takes taximeter's headers out of every request, also of methods without a shim and of a client's default headers."""
    original = getattr(base, "_build_headers", None)
    if original is None or hasattr(original, _MARK):
        return

    @functools.wraps(original)
    def build(self: Any, *args: Any, **kwargs: Any) -> Any:
        headers = original(self, *args, **kwargs)
        for name in [name for name in headers if name.lower().startswith(HEADER_PREFIX)]:
            del headers[name]
        return headers

    setattr(build, _MARK, True)
    base._build_headers = build  # noqa: SLF001 - public under no other name


def _follow(meter: Meter, family: str, operation: str, options: Any, response: Any) -> None:
    """Watches one response from here to its end."""
    url = response.request.url
    body = getattr(options, "json_data", None)
    provider = provider_of(url.host, family)
    fields = {
        "provider": provider,
        "model": body.get("model") if isinstance(body, Mapping) else None,
        "operation": operation,
        # Counts only where the response does not say which tier served.
        "service_tier": body.get("service_tier") if isinstance(body, Mapping) else None,
    }
    content_type = response.headers.get("content-type", "").lower()
    is_stream = "event-stream" in content_type
    is_readable = is_stream or "json" in content_type
    call = _engine.current_call()
    if response.is_closed:
        scanner = _core.Scanner(family, provider=provider, stream=is_stream) if is_readable else None
        recorder = Recorder(meter, scanner, fields, call)
        if scanner is not None:
            recorder.feed(response.content)
        recorder.finish()
        return
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip", ""}:
        is_readable = False
    strips = call is not None and call.strips_usage and is_stream and is_readable
    scanner = (
        _core.Scanner(family, provider=provider, stream=is_stream, gzip=encoding == "gzip", strip=strips) if is_readable else None
    )
    response.stream = _tee(response, Recorder(meter, scanner, fields, call))


class _Forwarding:
    """Has what the stream it stands for has."""

    def __init__(self, inner: Any, recorder: Recorder) -> None:
        self._inner = inner
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __del__(self) -> None:
        # Abandoned without being closed. Attributes may be missing when making it failed.
        recorder = self.__dict__.get("_recorder")
        if recorder is not None:
            recorder.finish()


class _SyncTee(_Forwarding):
    def __iter__(self) -> Iterator[bytes]:
        error: type[BaseException] | None = None
        try:
            for data in self._inner:
                if passed := self._recorder.feed(data):
                    yield passed
            if rest := self._recorder.rest():
                yield rest
        except GeneratorExit:
            raise
        except BaseException as exception:
            error = type(exception)
            raise
        finally:
            self._recorder.finish(error)

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._recorder.finish()


class _AsyncTee(_Forwarding):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        error: type[BaseException] | None = None
        try:
            async for data in self._inner:
                if passed := self._recorder.feed(data):
                    yield passed
            if rest := self._recorder.rest():
                yield rest
        except GeneratorExit:
            raise
        except BaseException as exception:
            error = type(exception)
            raise
        finally:
            self._recorder.finish(error)

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._recorder.finish()


@functools.cache
def _tee_class(transport: str, kind: str) -> Any:
    """A tee that the transport's own type checks accept. Which transport a client uses is its own choice and changes."""
    base = getattr(sys.modules[transport], f"{kind}ByteStream")
    return type(f"{kind}Tee", ({"Sync": _SyncTee, "Async": _AsyncTee}[kind], base), {})


def _tee(response: Any, recorder: Recorder) -> Any:
    roots = (kind.__module__.partition(".")[0] for kind in type(response).__mro__)
    transport = next(root for root in roots if hasattr(sys.modules.get(root), "SyncByteStream"))
    kind = "Async" if hasattr(response.stream, "__aiter__") and not hasattr(response.stream, "__iter__") else "Sync"
    return _tee_class(transport, kind)(response.stream, recorder)


def _shim(family: Family, owner: Any, name: str, *, is_async: bool) -> None:
    original = getattr(owner, name)
    if hasattr(original, _MARK):
        return

    if is_async:

        @functools.wraps(original)
        async def call_async(self: Any, *args: Any, **kwargs: Any) -> Any:
            with _prepared(family, self, owner, name, kwargs) as call:
                return await original(self, *args, **call.kwargs)

        shim: Any = call_async
    else:

        @functools.wraps(original)
        def call_sync(self: Any, *args: Any, **kwargs: Any) -> Any:
            with _prepared(family, self, owner, name, kwargs) as call:
                result = original(self, *args, **call.kwargs)
            return _carried(result, call) if name == "stream" else result

        shim = call_sync
    setattr(shim, _MARK, True)
    setattr(owner, name, shim)


def _prepared(family: Family, resource: Any, owner: Any, method: str, kwargs: dict[str, Any]) -> Call:
    call = Call(kwargs)
    try:
        # Without the capture point, nobody would take the extra chunk out again.
        is_watched = family.is_bound and _engine.meter_of(family.name) is not None
        if is_watched and method == "create" and "completions" in owner.__module__ and kwargs.get("stream") is True:
            _ask_for_usage(call, resource._client)  # noqa: SLF001 - public under no other name
    except Exception:
        log.debug("taximeter could not ask for usage", exc_info=True)
    return call


def _ask_for_usage(call: Call, client: Any) -> None:
    """Asks a chat stream to report its usage, where that is safe and the caller has not decided it."""
    options = call.kwargs.get("stream_options")
    if options is None or type(options).__name__ in _UNSET:
        options = {}
    if not isinstance(options, Mapping) or "include_usage" in options:
        return
    if not includes_usage_safely(client.base_url.host, getattr(client, "_api_version", None)):
        return
    headers = call.kwargs.get("extra_headers")
    headers = headers if isinstance(headers, Mapping) else {}
    if not any(str(name).lower() == "accept-encoding" for name in headers):
        # The one compression that the scanner can take a chunk out of.
        headers = {**headers, "Accept-Encoding": "gzip"}
    call.kwargs = {**call.kwargs, "stream_options": {**options, "include_usage": True}, "extra_headers": headers}
    call.strips_usage = True


def _carried(manager: Any, call: Call) -> Any:
    """A stream helper's manager makes its request when it is entered; the call's attribution has to wait there with it."""
    for name, request in list(getattr(manager, "__dict__", {}).items()):
        if not name.endswith("api_request"):
            continue
        if callable(request):
            manager.__dict__[name] = _within(request, call)
        elif hasattr(request, "__await__"):
            manager.__dict__[name] = _awaited_within(request, call)
    return manager


def _within(request: Callable[..., Any], call: Call) -> Callable[..., Any]:
    @functools.wraps(request)
    def run(*args: Any, **kwargs: Any) -> Any:
        with call:
            return request(*args, **kwargs)

    return run


async def _awaited_within(request: Awaitable[Any], call: Call) -> Any:
    with call:
        return await request
