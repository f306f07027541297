"""The wrapper around a client of Azure OpenAI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .... import instrument
from ..client import TokenTrackrClient, get_client
from ._calls import Describe, Observed, Resource, stand_in, watch

__all__ = ["AzureOpenAIWrapper"]


class AzureOpenAIWrapper(Resource):
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
            "completions": resource(_nothing, "create"),
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
                package = stand_in(self._inner, "openai")
                observed = Observed(
                    self._client, "azure_openai", kwargs.get("model"), reports_cached=True, stand_in_for=package, read=_counts
                )
                return watch(observed, lambda: method(*args, **kwargs), describe)

            return call

        return make


def _answer(response: Any) -> Mapping[str, Any] | None:
    """Return the metadata of a response; `None` for a stream, whose end is not known yet."""
    choices = getattr(response, "choices", None)
    return {"id": response.id, "finish_reason": choices[0].finish_reason} if choices else None


def _nothing(_: Any) -> None:
    """Return no metadata, as the original has none for embeddings and for completions of texts."""


def _counts(response: Any) -> tuple[int, int] | None:
    usage = getattr(response, "usage", None)
    return None if usage is None else (usage.prompt_tokens, getattr(usage, "completion_tokens", None) or 0)
