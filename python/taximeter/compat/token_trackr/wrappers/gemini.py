"""The wrapper around a model of `google-generativeai`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .... import instrument
from ....instrument.shims import Forwarding
from ..client import TokenTrackrClient, get_client
from ._calls import Describe, Observed, Resource, stand_in, watch

__all__ = ["GeminiWrapper"]


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
        return self._watch(lambda: self._inner.generate_content_async(contents, stream=stream, **kwargs), _nothing)

    def start_chat(self, **kwargs: Any) -> Resource:
        """Start a chat with the model's own method. Its messages are recorded."""

        def recorded(method: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args, **kwargs: self._watch(lambda: method(*args, **kwargs), _nothing)

        methods = {"send_message": recorded, "send_message_async": recorded}
        return Resource(self._inner.start_chat(**kwargs), methods, {})

    def _watch(self, call: Callable[[], Any], describe: Describe | None = None) -> Any:
        model, package = getattr(self._inner, "model_name", "gemini-unknown"), stand_in(self._inner, "google")
        observed = Observed(self._client, "gemini", model, reports_cached=True, stand_in_for=package, read=_counts)
        return watch(observed, call, describe or _reason)


def _nothing(_: Any) -> None:
    """Return no metadata, as the original has none for chats and asynchronous calls."""


def _counts(response: Any) -> tuple[int, int]:
    usage = response.usage_metadata
    thoughts = getattr(usage, "thoughts_token_count", None)
    generated = (usage.candidates_token_count or 0) + (thoughts if isinstance(thoughts, int) else 0)
    return usage.prompt_token_count, generated


def _reason(response: Any) -> Mapping[str, Any] | None:
    if getattr(response, "_iterator", None) is not None:
        return None  # a stream that has not ended
    reason = response.candidates[0].finish_reason
    return {"finish_reason": str(getattr(reason, "value", reason))}
