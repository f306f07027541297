"""The interface of `token-trackr-sdk` 1.0.0: usage of Bedrock, Azure OpenAI and Gemini goes to Token Trackr, the ledger, or both.

client = TokenTrackrClient(destination=("token_trackr", "ledger"))
client.record(provider="bedrock", model="anthropic.claude-3-sonnet", prompt_tokens=100, completion_tokens=50)
"""

from __future__ import annotations

from .client import TokenTrackrClient
from .config import TokenTrackrConfig
from .metadata import get_host_metadata
from .wrappers import AzureOpenAIWrapper, BedrockWrapper, GeminiWrapper

__all__ = ["AzureOpenAIWrapper", "BedrockWrapper", "GeminiWrapper", "TokenTrackrClient", "TokenTrackrConfig", "get_host_metadata"]

__version__ = "1.0.0"
