"""Google's client for Gemini, of its own interface and of Vertex AI."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial, wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from .. import _core
from . import _binding
from ._binding import Family
from ._call import current_call
from ._recorder import Recorder, recorded, recorded_async
from ._shims import after, attempt, put, shim_all

if TYPE_CHECKING:
    from ..meter import Meter

__all__ = ["FAMILY"]

_NAME: Final = "google.genai"
_CLIENT: Final = "google.genai._api_client"
_LINES: Final = "application/x-ndjson"
_OPERATIONS: Final = {
    "generateContent": "generate_content",
    "streamGenerateContent": "generate_content",
    "embedContent": "embeddings",
    "batchEmbedContents": "embeddings",
    "predict": "generate_content",
    "interactions": "generate_content",
}
_MODELS: Final = ("generate_content", "generate_content_stream", "embed_content", "generate_images", "edit_image", "upscale_image")
_CHAT: Final = ("send_message", "send_message_stream")


def _recorder(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], content_type: str) -> Recorder | None:
    """The recorder of one request: each of those that a call makes (of functions that it calls, of continuations) is billed."""
    meter = _binding.meter_of(_NAME, client)
    path = (kwargs.get("path") or args[1]).partition("?")[0]
    resource, _, method = path.rpartition("/")[2].partition(":")
    operation = _OPERATIONS.get(method or resource)
    if meter is None or operation is None or (kwargs.get("http_method") or args[0]).upper() != "POST":
        return None
    provider = "gcp.vertex_ai" if getattr(client, "vertexai", None) else "gcp.gemini"
    fields = {"provider": provider, "model": resource if method else None, "operation": operation}
    scanner = _core.Scanner("gemini", provider=provider, content_type=content_type)
    return Recorder(meter, scanner, fields, current_call())


def _look(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], response: Any) -> None:
    recorder = _recorder(client, args, kwargs, "application/json")
    if recorder is not None:
        recorder.feed((response.body or "").encode())
        recorder.finish()


def _show(response: Any) -> bytes:
    # A chunk comes parsed and serialized anew, on one line.
    return (response.body or "").encode() + b"\n"


def _streamed(original: Any) -> Any:
    @wraps(original)
    def request_streamed(self: Any, *args: Any, **kwargs: Any) -> Any:
        # The request is made when the first part is asked for.
        result = original(self, *args, **kwargs)
        return recorded(result, partial(_recorder, self, args, kwargs, _LINES), _show)

    return request_streamed


def _streamed_async(original: Any) -> Any:
    @wraps(original)
    async def async_request_streamed(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = await original(self, *args, **kwargs)
        recorder = attempt(_recorder, self, args, kwargs, _LINES)
        return recorded_async(result, lambda: recorder, _show)

    return async_request_streamed


def _hook_client(module: ModuleType) -> None:
    owner = module.BaseApiClient
    after(owner, "request", _look)
    after(owner, "async_request", _look)
    put(owner, "request_streamed", _streamed)
    put(owner, "async_request_streamed", _streamed_async)


def _api_client(client: object) -> Any:
    """What makes the requests of a client or of its asynchronous half."""
    return getattr(client, "_api_client", None)


def _owns(client: object) -> bool:
    module = sys.modules.get(_CLIENT)
    return module is not None and isinstance(_api_client(client), module.BaseApiClient)


def _bind_client(client: Any, meter: Meter) -> None:
    _binding.mark(_api_client(client), meter)


FAMILY: Final = Family(
    _NAME,
    {
        _CLIENT: _hook_client,
        "google.genai.models": partial(shim_all, classes={"Models": _MODELS, "AsyncModels": _MODELS}),
        "google.genai.chats": partial(shim_all, classes={"Chat": _CHAT, "AsyncChat": _CHAT}),
    },
    (_CLIENT,),
    _owns,
    _bind_client,
    distribution="google-genai",
)
