"""Amazon's clients `boto3` and `aioboto3` for Bedrock's runtime. Every call of either passes `_make_api_call`."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from ...budgets.gate import claim
from .. import bindings
from ..bindings import Family
from ..call import Call, current_call
from ..failures import failed
from ..gates import Found, admitted, asked_in, count, limited
from ..guard import run_guarded
from ..recorder import Recorder, Watched, recorded, recorded_async, scanner_for
from ..shims import after, put

if TYPE_CHECKING:
    from ...meter import Engine

__all__ = ["FAMILY"]

_NAME: Final = "botocore"
_SERVICE: Final = "bedrock-runtime"
_PROVIDER: Final = "aws.bedrock"
_LINES: Final = "application/x-ndjson"
_NEEDS: Final = ("operation_name", "api_params")
_COUNTS: Final = {
    "x-amzn-bedrock-input-token-count": "inputTokenCount",
    "x-amzn-bedrock-output-token-count": "outputTokenCount",
    "x-amzn-bedrock-cache-read-input-token-count": "cacheReadInputTokenCount",
    "x-amzn-bedrock-cache-write-input-token-count": "cacheWriteInputTokenCount",
}
"""The usage headers of `InvokeModel`, and the names of the same counts in its streams."""


_LIMITS: Final = ("maxTokens", "max_tokens", "max_new_tokens", "max_gen_len", "maxTokenCount", "max_tokens_to_sample")
"""The names of the output's limit: that of `Converse`, and those of the models' own requests."""
_TIERS: Final = frozenset({"serviceTier", "performanceConfig", "performanceConfigLatency"})
_OPTIMIZED: Final = "optimized"
_STREAM_ERRORS: Final = frozenset({"exception", "error"})
"""The types of messages that end a stream with an error, for example when it is throttled."""


class _Scanner:
    """Reads like the extension's scanner, but without the model's name in the response: Bedrock's own name decides the price.

    Args:
        meter: The meter that decides which parts of the usage report are kept.
        wire: The format of the response.
        content_type: The content type; lines of JSON by default.
        counts: Counts from the headers, used if the body reports none.
        is_opaque: Whether the model's name in the call does not identify the model.
    """

    def __init__(
        self,
        meter: Engine,
        wire: str,
        content_type: str = _LINES,
        counts: Mapping[str, int] | None = None,
        *,
        is_opaque: bool = False,
    ) -> None:
        self._inner = scanner_for(meter, wire, _PROVIDER, content_type)
        self._meter = meter
        self._counts = counts
        self._wire = wire
        self._is_opaque = is_opaque

    def feed(self, data: bytes) -> None:
        self._inner.feed(data)

    def rest(self) -> None:
        """Do nothing, because nothing is held back."""

    def finish(self) -> Mapping[str, Any]:
        found = self._inner.finish() or {"usage_status": "missing"}
        if self._counts and found["usage_status"] == "missing":
            other = _Scanner(self._meter, "invoke")
            other.feed(_line({"amazon-bedrock-invocationMetrics": self._counts}))
            return other.finish()
        return {**found, "model": self._model(found.get("model"))}

    def _model(self, answered: str | None) -> str | None:
        """Return the model to price if the name in the call is an account's own: the one that a router invoked or that responded."""
        if answered is None or self._wire == "converse":
            return answered
        return f"anthropic.{answered}" if self._is_opaque and answered.startswith("claude") else None


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _converse(result: dict[str, Any], record: Callable[..., Recorder], body: bytes | None) -> None:
    recorder = record("converse")
    usage = result.get("usage") or {}
    if body is not None and usage.get("cacheWriteInputTokens") and "cacheDetails" not in usage:
        # botocore 1.40 drops what its model of the service does not have, such as how long written cache tokens live.
        usage = json.loads(body).get("usage") or usage
    router = (result.get("trace") or {}).get("promptRouter")
    blocks = ((result.get("output") or {}).get("message") or {}).get("content") or ()
    tools = [tool for block in blocks if (tool := _server_tool(block.get("toolUse")))]
    trace = {"promptRouter": router}
    recorder.feed(_line({"usage": usage, "stopReason": result.get("stopReason"), "trace": trace, "content": tools}))
    recorder.finish()


def _server_tool(use: Any) -> dict[str, Any] | None:
    """Return a tool that runs at Amazon, such as Nova's search, in Anthropic's form; `None` for tools of the caller."""
    if not isinstance(use, Mapping) or use.get("type") != "server_tool_use":
        return None
    return {"type": use["type"], "name": use.get("name"), "id": use.get("toolUseId")}


def _converse_stream(result: dict[str, Any], record: Callable[..., Recorder]) -> None:
    def show(message: Any) -> bytes:
        kind = message.headers.get(":event-type")
        if kind == "metadata":
            payload = bytes(message.payload)
            tier = _tier(json.loads(payload))
            return payload + b"\n" + (_line({"service_tier": tier}) if tier else b"")
        if kind == "messageStop":
            return bytes(message.payload) + b"\n"
        if kind == "contentBlockStart":
            tool = _server_tool((json.loads(message.payload).get("start") or {}).get("toolUse"))
            return _line({"content_block": tool}) if tool else b""
        return b'{"type": "delta"}\n' if kind == "contentBlockDelta" else b""

    _follow(result["stream"], record("converse"), show)


def _invoke(result: dict[str, Any], record: Callable[..., Recorder]) -> None:
    headers = result.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    counts = {name: int(headers[header]) for header, name in _COUNTS.items() if header in headers}
    body = result.get("body")
    # Only the body says how long written cache tokens live. If there are no headers, it has all counts.
    says_more = not counts or bool(counts.get("cacheWriteInputTokenCount"))
    content = getattr(getattr(body, "__wrapped__", None), "content", None)
    if says_more and hasattr(body, "_raw_stream"):
        recorder = record("invoke", "application/json", counts)
        body._raw_stream = _Read(body._raw_stream, recorder)  # type: ignore[union-attr] # noqa: SLF001
    elif says_more and hasattr(content, "read"):
        # aiobotocore's body wraps a response of aiohttp.
        body.__wrapped__.content = _AioRead(content, record("invoke", "application/json", counts))  # type: ignore[union-attr]
    else:
        record("invoke", counts=counts).finish()


def _invoke_stream(result: dict[str, Any], record: Callable[..., Recorder]) -> None:
    def show(message: Any) -> bytes:
        if message.headers.get(":event-type") != "chunk":
            return b""
        return base64.b64decode(json.loads(message.payload)["bytes"]) + b"\n"

    _follow(result["body"], record("invoke"), show)


def _follow(stream: Any, recorder: Recorder, show: Callable[[Any], bytes]) -> None:
    """Show the messages of an event stream to a recorder before they are parsed."""
    generator = stream._event_generator  # noqa: SLF001 - public under no other name
    watched = recorded_async if hasattr(generator, "__anext__") else recorded

    def show_checked(message: Any) -> bytes:
        if message.headers.get(":message-type") in _STREAM_ERRORS:
            # The client raises the error when it parses the message. By then, the stream looks as if it were abandoned.
            recorder.finish(_event_stream_error())
            return b""
        return show(message)

    stream._event_generator = watched(generator, lambda: recorder, show_checked, family=_NAME)  # noqa: SLF001


def _event_stream_error() -> type[BaseException]:
    """Return the exception that the client raises for an error message of a stream."""
    error: type[BaseException] = sys.modules["botocore.exceptions"].EventStreamError
    return error


class _AioRead(Watched):
    """The content of an asynchronous body. A recorder sees what is read."""

    async def read(self, *args: Any, **kwargs: Any) -> bytes:
        try:
            data: bytes = await self._inner.read(*args, **kwargs)
        except BaseException as error:
            self._recorder.finish(type(error))
            raise
        self._recorder.feed(data)
        if not data or (args[0] if args else kwargs.get("n", -1)) < 0:
            self._recorder.finish()
        return data


class _Read(Watched):
    """The raw stream of a body. A recorder sees what is read."""

    def __iter__(self) -> Iterator[bytes]:
        for line in self._inner:
            self._recorder.feed(line)
            yield line
        self._recorder.finish()

    def read(self, *args: Any, **kwargs: Any) -> bytes:
        try:
            data: bytes = self._inner.read(*args, **kwargs)
        except BaseException as error:
            self._recorder.finish(type(error))
            raise
        self._recorder.feed(data)
        if not data or (args[0] if args else kwargs.get("amt")) is None:
            self._recorder.finish()
        return data

    def readinto(self, buffer: Any) -> int:
        count: int = self._inner.readinto(buffer)
        self._recorder.feed(bytes(memoryview(buffer)[:count]))
        if not count:
            self._recorder.finish()
        return count

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._recorder.finish(is_cut=True)


_OPERATIONS: Final[dict[str, str]] = {
    "Converse": "chat",
    "ConverseStream": "chat",
    "InvokeModel": "generate_content",
    "InvokeModelWithResponseStream": "generate_content",
}


def _fields(client: Any, operation: str, call: Call) -> dict[str, Any]:
    """Return the known fields of a call's event."""
    return {
        "provider": _PROVIDER,
        "model": str(call.kwargs.get("modelId") or "unknown"),
        "operation": _OPERATIONS[operation],
        "region": client.meta.region_name,
    }


def _fail(client: Any, operation: str, call: Call, error: BaseException) -> None:
    if operation in _OPERATIONS and (meter := bindings.meter_of(_NAME, client)) is not None:
        failed(meter, _fields(client, operation, call), error)


def _tier(named: Mapping[str, Any]) -> str | None:
    """Return the tier in a request or a response. Optimized latency has its own price, so it counts as a tier."""
    # `Converse` has objects where `InvokeModel` has texts.
    tier, latency = named.get("serviceTier"), named.get("performanceConfig", named.get("performanceConfigLatency"))
    tier = tier.get("type") if isinstance(tier, Mapping) else tier
    latency = latency.get("latency") if isinstance(latency, Mapping) else latency
    return _OPTIMIZED if latency == _OPTIMIZED and tier in {None, "default"} else tier


def _look(client: Any, operation: str, call: Call, result: dict[str, Any]) -> None:
    meter = bindings.meter_of(_NAME, client)
    if meter is None or operation not in _OPERATIONS:
        return
    model = str(call.kwargs.get("modelId") or "unknown")
    # The requested tier counts only if the response says nothing about it.
    named = result if not _TIERS.isdisjoint(result) else call.kwargs
    fields = {**_fields(client, operation, call), "service_tier": _tier(named)}

    def record(*scanned: Any, **options: Any) -> Recorder:
        return Recorder(meter, _Scanner(meter, *scanned, **options, is_opaque=_is_opaque(model)), fields, call, ticket=claim())

    if operation == "Converse":
        _converse(result, record, call.body)
    elif operation == "ConverseStream":
        _converse_stream(result, record)
    elif operation == "InvokeModel":
        _invoke(result, record)
    else:
        _invoke_stream(result, record)


def _ask_budgets(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Found | None:
    operation, call = args
    if operation not in _OPERATIONS or (meter := limited(_NAME, client)) is None:
        return None
    fields = {**_fields(client, operation, call), "service_tier": _tier(call.kwargs)}
    body: Any = kwargs
    if "Converse" not in operation:
        raw = kwargs.get("body")
        # A file is not read, because it could not be read again.
        body = json.loads(raw) if isinstance(raw, (str, bytes, bytearray)) and raw else {}
    asked = asked_in(fields, body)
    parts = [body, *(body.get(name) for name in ("inferenceConfig", "textGenerationConfig"))] if isinstance(body, Mapping) else []
    return meter, asked._replace(max_output=next((most for part in parts if (most := count(part, *_LIMITS)) is not None), None))


def _is_opaque(model: str) -> bool:
    """Return whether a name is an account's own, so that it may stand for any model."""
    kinds = ("application-inference-profile/", "prompt-router/", "provisioned-model/", "custom-model-deployment/")
    return model.startswith("arn:") and any(kind in model for kind in kinds)


def _is_ours(client: Any) -> bool:
    """Return whether it is a client of Bedrock's runtime. All its methods take taximeter's keywords, even unmetered ones."""
    return bool(client.meta.service_model.service_name == _SERVICE)


def _called(original: Any) -> Any:
    @wraps(original)
    def make_api_call(self: Any, operation_name: str, api_params: Any) -> Any:
        if not _is_ours(self):
            return original(self, operation_name, api_params)
        with Call(api_params, family=_NAME, part=self) as call:
            held = admitted(_ask_budgets, self, (operation_name, call), call.kwargs, family=_NAME)
            try:
                result = original(self, operation_name, call.kwargs)
            except BaseException as error:
                if held is not None:
                    held.failed(error)
                run_guarded(_fail, self, operation_name, call, error, family=_NAME)
                raise
            run_guarded(_look, self, operation_name, call, result, family=_NAME)
            if held is not None:
                held.answered()
            return result

    return make_api_call


def _called_async(original: Any) -> Any:
    @wraps(original)
    async def make_api_call(self: Any, operation_name: str, api_params: Any) -> Any:
        if not _is_ours(self):
            return await original(self, operation_name, api_params)
        with Call(api_params, family=_NAME, part=self) as call:
            held = admitted(_ask_budgets, self, (operation_name, call), call.kwargs, family=_NAME)
            try:
                result = await original(self, operation_name, call.kwargs)
            except BaseException as error:
                if held is not None:
                    held.failed(error)
                run_guarded(_fail, self, operation_name, call, error, family=_NAME)
                raise
            run_guarded(_look, self, operation_name, call, result, family=_NAME)
            if held is not None:
                held.answered()
            return result

    return make_api_call


def _keep_body(_client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
    """Keep the body of a whole answer until `_look` reads its usage."""
    operation = kwargs.get("operation_model") or args[0]
    call = current_call()
    if call is not None and operation.name == "Converse" and operation.service_model.service_name == _SERVICE:
        call.body = getattr(result[0], "_content", None)


def _hook(module: ModuleType) -> None:
    after(module.BaseClient, "_make_request", _keep_body)
    put(module.BaseClient, "_make_api_call", _called, needs=_NEEDS)


def _hook_async(module: ModuleType) -> None:
    after(module.AioBaseClient, "_make_request", _keep_body)
    put(module.AioBaseClient, "_make_api_call", _called_async, needs=_NEEDS)


def _owns(client: object) -> bool:
    module = sys.modules.get("botocore.client")
    if module is None or not isinstance(client, module.BaseClient):
        return False
    return _is_ours(client)


def _bind_client(client: Any, meter: Engine) -> None:
    bindings.mark(client, meter)


FAMILY: Final = Family(
    _NAME,
    {"botocore.client": _hook, "aiobotocore.client": _hook_async},
    ("botocore.client", "aiobotocore.client"),
    _owns,
    _bind_client,
)
