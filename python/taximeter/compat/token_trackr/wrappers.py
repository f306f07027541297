"""Wrappers around a provider's client that record its calls. Calls and return values stay the same.

Usage is read by `taximeter.instrument` while the response passes. Streams are recorded when they end.
"""

from __future__ import annotations

import inspect
import io
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from ... import _default, instrument
from ...instrument.guard import run_guarded
from ...instrument.shims import Forwarding
from .._vendor.events import usage_of
from .client import TokenTrackrClient, get_client

if TYPE_CHECKING:
    from ...meter import Meter

__all__ = ["AzureOpenAIWrapper", "BedrockWrapper", "GeminiWrapper"]

Describe = Callable[[Any], "Mapping[str, Any] | None"]
"""Makes an event's metadata from a call's return value."""


class _Observed:
    """An observed call. It is sent when its metadata is known."""

    is_active = True

    def __init__(self, client: TokenTrackrClient, provider: str, model: Any, *, reports_cached: bool) -> None:
        self._client = client
        self._provider = provider
        self._model = model
        # Whether the provider's count of input tokens includes those that it reports as cached.
        self._reports_cached = reports_cached
        self._events: list[Mapping[str, Any]] = []
        self._metadata: Mapping[str, Any] | None = None
        self._has_returned = False

    def ledger_meter(self, own: Mapping[str, Any]) -> Meter | None:  # noqa: ARG002
        return _default.ledger_meter() if self._client.destinations.to_ledger else None

    def defaults(self) -> Mapping[str, Any]:
        return {}

    def attribution(self, own: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002
        return {"customer": self._client.config.tenant_id} if self._client.destinations.to_ledger else {}

    def record(self, event: Mapping[str, Any], own: Mapping[str, Any], family: str) -> None:  # noqa: ARG002
        if self._has_returned:
            # A stream: the event has the finish reason, which was unknown when the call returned.
            reason = event.get("finish_reason")
            self._send(event, {**(self._metadata or {}), "finish_reason": reason} if reason else self._metadata)
        else:
            self._events.append(event)

    def returned(self, metadata: Mapping[str, Any] | None) -> None:
        """Send the events of a call that has returned, with its metadata."""
        self._metadata, self._has_returned = metadata, True
        for event in self._events:
            run_guarded(self._send, event, metadata)

    def _send(self, event: Mapping[str, Any], metadata: Mapping[str, Any] | None) -> None:
        usage = usage_of(event, self._client, f"{self._provider}/{self._model}")
        if usage is None:
            return
        cached = 0 if self._reports_cached else usage.get("cache_read_tokens", 0) + usage.get("cache_write_tokens", 0)
        latency = event.get("latency_ms")
        # The ledger is not written here, because it already has the event.
        self._client.send(
            self._provider,
            str(self._model),
            max(usage.get("input_tokens", 0) - cached, 0),
            usage.get("output_tokens", 0),
            latency_ms=None if latency is None else int(latency),
            metadata=metadata,
        )


def _watch(observed: _Observed, call: Callable[[], Any], describe: Describe) -> Any:
    """Make an observed call. Return what the call returns, or an awaitable in its place."""
    with instrument.observe(observed):
        result = call()
    if inspect.isawaitable(result):
        return _awaited(observed, result, describe)
    observed.returned(run_guarded(describe, result))
    return result


async def _awaited(observed: _Observed, pending: Awaitable[Any], describe: Describe) -> Any:
    with instrument.observe(observed):
        result = await pending
    observed.returned(run_guarded(describe, result))
    return result


class BedrockWrapper(Forwarding):
    """A wrapper around a client of Bedrock's runtime that records its calls.

    Args:
        bedrock_client: `boto3.client("bedrock-runtime")`, or aioboto3's.
        client: The client that records; the default client if not given.
    """

    def __init__(self, bedrock_client: Any, client: TokenTrackrClient | None = None) -> None:
        super().__init__(bedrock_client)
        self._client = client or get_client()
        instrument.hook(("botocore",))

    def invoke_model(self, modelId: str, body: Any, **kwargs: Any) -> Any:  # noqa: N803 - the provider's
        """Call the client's own method. The body is read for its usage, and can be read again."""
        return self._watch(self._inner.invoke_model, modelId, {"body": body, **kwargs})

    def invoke_model_with_response_stream(self, modelId: str, body: Any, **kwargs: Any) -> Any:  # noqa: N803
        """Call the client's own method. The call is recorded when the stream ends."""
        return self._watch(self._inner.invoke_model_with_response_stream, modelId, {"body": body, **kwargs})

    def converse(self, modelId: str, **kwargs: Any) -> Any:  # noqa: N803
        """Call the client's own method."""
        return self._watch(self._inner.converse, modelId, kwargs)

    def converse_stream(self, modelId: str, **kwargs: Any) -> Any:  # noqa: N803
        """Call the client's own method. The call is recorded when the stream ends."""
        return self._watch(self._inner.converse_stream, modelId, kwargs)

    def _watch(self, method: Callable[..., Any], model: str, kwargs: Mapping[str, Any]) -> Any:
        def call() -> Any:
            response = method(modelId=model, **kwargs)
            if isinstance(response, dict):
                _read_now(response)
            return response

        return _watch(_Observed(self._client, "bedrock", model, reports_cached=False), call, _request_id)


def _request_id(response: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"request_id": response.get("ResponseMetadata", {}).get("RequestId")}


def _read_now(response: dict[str, Any]) -> None:
    """Read a body for its usage, and replace it with one that can be read again.

    If the connection breaks, the error is raised here instead of in the caller's read.
    """
    module: Any = sys.modules.get("botocore.response")
    body: Any = response.get("body")
    if module is not None and type(body) is module.StreamingBody:
        content = body.read()
        response["body"] = module.StreamingBody(io.BytesIO(content), len(content))


class _Resource(Forwarding):
    """A part of a client. Some of its methods are recorded, and some of its parts have such methods."""

    def __init__(self, inner: Any, methods: Mapping[str, Callable[[Callable[..., Any]], Any]], parts: Mapping[str, Any]) -> None:
        super().__init__(inner)
        self._methods = methods
        self._parts = parts

    def __getattr__(self, name: str) -> Any:
        own = super().__getattr__(name)
        if name in self._methods:
            return self._methods[name](own)
        return _Resource(own, *self._parts[name]) if name in self._parts else own


class AzureOpenAIWrapper(_Resource):
    """A wrapper around a client of Azure OpenAI that records chats, completions and embeddings.

    Args:
        azure_client: `openai.AzureOpenAI`, or `openai.AsyncAzureOpenAI`.
        client: The client that records; the default client if not given.
    """

    def __init__(self, azure_client: Any, client: TokenTrackrClient | None = None) -> None:
        self._client = client or get_client()

        def resource(describe: Describe, *names: str) -> tuple[dict[str, Any], dict[str, Any]]:
            methods = {name: self._recorded(describe) for name in names}
            return methods, dict.fromkeys(("with_raw_response", "with_streaming_response"), (methods, {}))

        parts: dict[str, Any] = {
            "chat": ({}, {"completions": resource(_answer, "create", "parse")}),
            "completions": resource(_answer, "create"),
            "embeddings": resource(_nothing, "create"),
        }
        copies = dict.fromkeys(("with_options", "copy"), self._copied)
        super().__init__(azure_client, copies, parts)
        instrument.hook(("openai",))

    def _copied(self, method: Callable[..., Any]) -> Callable[..., AzureOpenAIWrapper]:
        return lambda *args, **kwargs: AzureOpenAIWrapper(method(*args, **kwargs), self._client)

    def _recorded(self, describe: Describe) -> Callable[[Callable[..., Any]], Any]:
        def make(method: Callable[..., Any]) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                observed = _Observed(self._client, "azure_openai", kwargs.get("model"), reports_cached=True)
                return _watch(observed, lambda: method(*args, **kwargs), describe)

            return call

        return make


def _answer(response: Any) -> Mapping[str, Any] | None:
    """Return the metadata of a response; `None` for a stream, whose end is not known yet."""
    choices = getattr(response, "choices", None)
    return {"id": response.id, "finish_reason": choices[0].finish_reason} if choices else None


def _nothing(_: Any) -> None:
    """Return no metadata, because embeddings have none."""


class GeminiWrapper(Forwarding):
    """A wrapper around a model of `google-generativeai` that records its responses.

    Args:
        model: `google.generativeai.GenerativeModel`.
        client: The client that records; the default client if not given.
    """

    def __init__(self, model: Any, client: TokenTrackrClient | None = None) -> None:
        super().__init__(model)
        self._client = client or get_client()
        instrument.hook(("google.generativeai",))

    def generate_content(self, contents: Any, stream: bool = False, **kwargs: Any) -> Any:  # noqa: FBT002 - the provider's
        """Call the model's own method. A stream is recorded when it ends."""
        return self._watch(lambda: self._inner.generate_content(contents, stream=stream, **kwargs))

    def generate_content_async(self, contents: Any, stream: bool = False, **kwargs: Any) -> Any:  # noqa: FBT002
        """Call the model's own asynchronous method."""
        return self._watch(lambda: self._inner.generate_content_async(contents, stream=stream, **kwargs))

    def start_chat(self, **kwargs: Any) -> _Resource:
        """Start a chat with the model's own method. Its messages are recorded."""

        def recorded(method: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args, **kwargs: self._watch(lambda: method(*args, **kwargs))

        methods = {"send_message": recorded, "send_message_async": recorded}
        return _Resource(self._inner.start_chat(**kwargs), methods, {})

    def _watch(self, call: Callable[[], Any]) -> Any:
        observed = _Observed(self._client, "gemini", getattr(self._inner, "model_name", None), reports_cached=True)
        return _watch(observed, call, _reason)


def _reason(response: Any) -> Mapping[str, Any] | None:
    if getattr(response, "_iterator", None) is not None:
        return None  # a stream that has not ended
    reason = response.candidates[0].finish_reason
    return {"finish_reason": str(getattr(reason, "value", reason))}
