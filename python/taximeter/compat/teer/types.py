"""The types of payloads for Teer. They are not checked at run time: payloads are sent unchanged."""

from __future__ import annotations

from typing import Literal, TypedDict

from .._vendor.typing import NotRequired

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


class UsageObject(TypedDict):
    """Tokens of a call."""

    input: int
    output: int
    cache: NotRequired[CacheObject]


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


class IngestPayload(TypedDict):
    """One call."""

    provider: Provider
    model: str
    usage: UsageObject
    function_id: NotRequired[str]
    trace_id: NotRequired[str]
    span_id: NotRequired[str]
    parent_span_id: NotRequired[str]
    batch: NotRequired[bool]
    platform: NotRequired[PlatformObject]
    billing: NotRequired[object]
    metadata: NotRequired[MetadataObject]
