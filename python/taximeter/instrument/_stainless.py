"""Clients made by the Stainless generator, openai and anthropic among them, share one shape.

Every response passes `_process_response` of the base client exactly once, after retries, whatever style of call it answers: plain,
streamed, raw, parsed or through a helper. There the response's byte stream is replaced by one that shows the bytes to a scanner.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from types import MethodType, ModuleType
from typing import Any, Final

from .. import _core
from . import _engine
from ._engine import Call, Family, Recorder
from ._hosts import includes_usage_safely, provider_of

__all__ = ["stainless_family"]

log = logging.getLogger("taximeter")

_MARK: Final = "__taximeter__"
_CAPTURE: Final = "_process_response"


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

    def attach(options: Any, response: Any) -> None:
        if not _engine.is_active() or response.request.method != "POST":
            return
        path = response.request.url.path
        operation = next((what for end, what in operations.items() if path.endswith(end)), None)
        if operation is not None:
            _follow(name, operation, options, response)

    def bind_class(base: Any) -> None:
        original = getattr(base, _CAPTURE)
        if not hasattr(original, _MARK):
            setattr(base, _CAPTURE, _captured(original, attach, is_async=base.__name__.startswith("Async")))

    def hook_base(module: ModuleType) -> None:
        for class_name in ("SyncAPIClient", "AsyncAPIClient"):
            bind_class(getattr(module, class_name))

    def bind_client(client: Any) -> None:
        base = sys.modules[f"{name}._base_client"]
        original = getattr(type(client), _CAPTURE)
        if not hasattr(getattr(client, _CAPTURE), _MARK):
            is_async = isinstance(client, base.AsyncAPIClient)
            client.__dict__[_CAPTURE] = MethodType(_captured(original, attach, is_async=is_async), client)

    def owns(client: object) -> bool:
        base = sys.modules.get(f"{name}._base_client")
        return base is not None and isinstance(client, base.BaseClient)

    def hook_methods(classes: Mapping[str, tuple[str, ...]], module: ModuleType) -> None:
        for class_name, names in classes.items():
            for variant in (class_name, f"Async{class_name}"):
                owner = getattr(module, variant, None)
                for method in names:
                    if owner is not None and hasattr(owner, method):
                        _shim(owner, method, is_async=variant.startswith("Async") and method != "stream")

    hooks: dict[str, Callable[[ModuleType], None]] = {f"{name}._base_client": hook_base}
    hooks |= {module: functools.partial(hook_methods, classes) for module, classes in methods.items()}
    return Family(name, hooks, f"{name}._base_client", owns, bind_client)


def _captured(original: Any, attach: Callable[[Any, Any], None], *, is_async: bool) -> Any:
    def look(kwargs: Mapping[str, Any]) -> None:
        try:
            attach(kwargs["options"], kwargs["response"])
        except Exception:
            log.debug("taximeter could not follow a response", exc_info=True)

    if is_async:

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


def _follow(family: str, operation: str, options: Any, response: Any) -> None:
    """Watches one response from here to its end."""
    url = response.request.url
    body = getattr(options, "json_data", None)
    fields = {
        "provider": provider_of(url.host, family),
        "model": body.get("model") if isinstance(body, Mapping) else None,
        "operation": operation,
    }
    content_type = response.headers.get("content-type", "").lower()
    is_stream = "event-stream" in content_type
    is_readable = is_stream or "json" in content_type
    call = _engine.current_call()
    if response.is_closed:
        scanner = _core.Scanner(family, stream=is_stream) if is_readable else None
        recorder = Recorder(scanner, fields, call)
        if scanner is not None:
            recorder.feed(response.content)
        recorder.finish()
        return
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip", ""}:
        is_readable = False
    strips = call is not None and call.strips_usage and is_stream and is_readable
    scanner = _core.Scanner(family, stream=is_stream, gzip=encoding == "gzip", strip=strips) if is_readable else None
    response.stream = _tee(response, Recorder(scanner, fields, call))


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
    transport = type(response).__module__.partition(".")[0]
    kind = "Async" if hasattr(response.stream, "__aiter__") and not hasattr(response.stream, "__iter__") else "Sync"
    return _tee_class(transport, kind)(response.stream, recorder)


def _shim(owner: Any, name: str, *, is_async: bool) -> None:
    original = getattr(owner, name)
    if hasattr(original, _MARK):
        return

    if is_async:

        @functools.wraps(original)
        async def call_async(self: Any, *args: Any, **kwargs: Any) -> Any:
            with _prepared(self, owner, name, kwargs) as call:
                return await original(self, *args, **call.kwargs)

        shim: Any = call_async
    else:

        @functools.wraps(original)
        def call_sync(self: Any, *args: Any, **kwargs: Any) -> Any:
            with _prepared(self, owner, name, kwargs) as call:
                result = original(self, *args, **call.kwargs)
            return _carried(result, call) if name == "stream" else result

        shim = call_sync
    setattr(shim, _MARK, True)
    setattr(owner, name, shim)


def _prepared(resource: Any, owner: Any, method: str, kwargs: dict[str, Any]) -> Call:
    call = Call(kwargs)
    try:
        is_chat = method == "create" and "completions" in owner.__module__ and kwargs.get("stream") is True
        if is_chat and _engine.is_active() and "stream_options" not in kwargs:
            if includes_usage_safely(resource._client.base_url.host):  # noqa: SLF001 - public under no other name
                call.kwargs = {**call.kwargs, "stream_options": {"include_usage": True}}
                call.strips_usage = True
    except Exception:
        log.debug("taximeter could not ask for usage", exc_info=True)
    return call


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
