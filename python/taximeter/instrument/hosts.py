"""Finds the provider by the host, because clients of one make can call many providers."""

from __future__ import annotations

from typing import Final

__all__ = ["includes_usage_safely", "provider_of", "region_of"]

_EXACT: Final = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x_ai",
    "api.mistral.ai": "mistral_ai",
    "api.together.xyz": "together",
    "api.together.ai": "together",
    "api.fireworks.ai": "fireworks",
    "api.perplexity.ai": "perplexity",
    "api.cerebras.ai": "cerebras",
    "api.moonshot.ai": "moonshot_ai",
    "api.moonshot.cn": "moonshot_ai",
    "openrouter.ai": "openrouter",
    "generativelanguage.googleapis.com": "gcp.gemini",
}
_SUFFIXES: Final = {
    ".openai.azure.com": "azure.ai.openai",
    ".cognitiveservices.azure.com": "azure.ai.openai",
    ".services.ai.azure.com": "azure.ai.inference",
    ".api.openai.com": "openai",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    ".rep.googleapis.com": "gcp.vertex_ai",
}


def provider_of(host: str, default: str) -> str:
    """Returns the provider of a host; `default` if the host is unknown."""
    host = host.lower()
    if known := _EXACT.get(host):
        return known
    if host.startswith(("bedrock-runtime.", "bedrock-mantle.")) and host.endswith((".amazonaws.com", ".api.aws")):
        return "aws.bedrock"
    return next((provider for suffix, provider in _SUFFIXES.items() if host.endswith(suffix)), default)


def region_of(host: str) -> str | None:
    """Returns the region in the name of a regional host of OpenAI, Vertex AI or Bedrock; `None` for other hosts."""
    host = host.lower()
    if host.endswith(".api.openai.com"):
        return host.removesuffix(".api.openai.com")
    if host.endswith("aiplatform.googleapis.com"):
        return host.removesuffix("aiplatform.googleapis.com").removesuffix("-") or "global"
    if host.startswith("aiplatform.") and host.endswith(".rep.googleapis.com"):
        return host.removeprefix("aiplatform.").removesuffix(".rep.googleapis.com")
    service, _, rest = host.partition(".")
    if service in {"bedrock-runtime", "bedrock-mantle"} and rest.endswith((".amazonaws.com", ".api.aws")):
        return rest.partition(".")[0]
    return None


def includes_usage_safely(host: str, api_version: str | None = None) -> bool:
    """Returns whether a host is known to accept `stream_options.include_usage`.

    Other hosts have answered it with an error (openai-agents-python#442, litellm#11696), so it is not sent to them.

    Args:
        host: The host of the request.
        api_version: Azure's API version, such as `2024-10-21`. Versions from 2024-08-01 on accept the option.
    """
    host = host.lower()
    if host.endswith(".openai.azure.com"):
        return isinstance(api_version, str) and api_version[:10] >= "2024-08-01"
    return host == "api.openai.com" or host.endswith(".api.openai.com")
