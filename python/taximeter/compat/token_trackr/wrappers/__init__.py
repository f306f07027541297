"""Wrappers around a provider's client that record its calls. Calls and return values stay the same.

Usage is read by `taximeter.instrument` while the response passes. Streams are recorded when they end.
"""

from __future__ import annotations

from .azure import AzureOpenAIWrapper
from .bedrock import BedrockWrapper
from .gemini import GeminiWrapper

__all__ = ["AzureOpenAIWrapper", "BedrockWrapper", "GeminiWrapper"]
