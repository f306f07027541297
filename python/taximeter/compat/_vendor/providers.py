"""The names that the services use for providers."""

from __future__ import annotations

from typing import Final

__all__ = ["FROM_PAYGENT", "FROM_TOKEN_TRACKR", "TO_PAYGENT", "TO_TOKENR"]

TO_TOKENR: Final = {
    "azure.ai.openai": "azure_openai", "azure.ai.inference": "azure_openai", "gcp.gemini": "google", "gcp.vertex_ai": "google",
    "mistral_ai": "mistral", "x_ai": "xai", "aws.bedrock": "bedrock",
}  # fmt: skip
"""Tokenr's names of providers that taximeter names differently."""
TO_PAYGENT: Final = {
    "openai": "OpenAI", "azure.ai.openai": "OpenAI", "anthropic": "Anthropic", "gcp.gemini": "Google DeepMind",
    "gcp.vertex_ai": "Google DeepMind", "mistral_ai": "Mistral AI", "cohere": "Cohere", "deepseek": "DeepSeek", "aws.bedrock": "AWS",
}  # fmt: skip
"""Paygent's names of providers."""
FROM_PAYGENT: Final = {
    "Google DeepMind": "gcp.gemini", "Gemini": "gcp.gemini", "Google": "gcp.gemini", "AWS": "aws.bedrock", "Mistral AI": "mistral_ai",
    "Meta": "meta", "Open AI": "openai",
}  # fmt: skip
"""taximeter's names of providers that Paygent names differently."""
FROM_TOKEN_TRACKR: Final = {"bedrock": "aws.bedrock", "azure_openai": "azure.ai.openai", "gemini": "gcp.gemini"}
"""taximeter's names of Token Trackr's providers."""
