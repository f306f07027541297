"""The types of payloads for Teer. They are not checked at run time: payloads are sent unchanged.

Required keys are in a base class, because Python 3.10 has no `NotRequired`, and later versions ignore it in annotations that are not
evaluated.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

__all__ = [
    "AnthropicCache", "CacheObject", "GoogleCache", "IngestPayload", "MetadataObject", "OpenAICache", "PlatformObject", "Provider",
    "UsageObject",
]  # fmt: skip

Provider = Literal["anthropic", "openai", "google"]


class AnthropicCache(TypedDict, total=False):
    """Anthropic's cached tokens. `input` does not include them."""

    cache_creation_input_tokens: int
    cache_read_input_tokens: int


class OpenAICache(TypedDict, total=False):
    """OpenAI's cached tokens. `input` includes them."""

    input_cached_tokens: int


class GoogleCache(TypedDict, total=False):
    """Gemini's cached tokens, which `input` includes, and its thinking tokens, which `output` does not include."""

    cached_content_token_count: int
    thoughts_token_count: int


class CacheObject(TypedDict, total=False):
    """Cached tokens by provider."""

    anthropic: AnthropicCache
    openai: OpenAICache
    google: GoogleCache


class _Tokens(TypedDict):
    input: int
    output: int


class UsageObject(_Tokens, total=False):
    """Tokens of a call."""

    cache: CacheObject


class MetadataObject(TypedDict, total=False):
    """The ids of the user, the organization and the request that a call belongs to."""

    user_id: str
    organization_id: str
    member_id: str
    team_id: str
    session_id: str
    request_id: str
    project_id: str


class PlatformObject(TypedDict):
    """Teer's rates for the call."""

    rate_card_id: str


class _Call(TypedDict):
    provider: Provider
    model: str
    usage: UsageObject


class IngestPayload(_Call, total=False):
    """One call."""

    function_id: str
    trace_id: str
    span_id: str
    parent_span_id: str
    batch: bool
    platform: PlatformObject
    billing: dict[str, Any]
    metadata: MetadataObject
