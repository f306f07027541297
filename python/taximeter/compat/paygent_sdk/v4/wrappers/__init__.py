"""Wrappers around providers' clients, callbacks and hooks that report calls to Paygent. Calls and return values stay the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..models import LLMConfig, STTConfig, TTSConfig
from .anthropic_wrapper import PaygentAnthropic
from .gemini_wrapper import PaygentGemini
from .livekit_hook import LiveKitPaygentHook
from .mistral_wrapper import PaygentMistral
from .openai_wrapper import PaygentOpenAI
from .vapi_hook import VapiPaygentHook

if TYPE_CHECKING:
    from .langchain_wrapper import PaygentLangChainCallback
    from .langgraph_wrapper import PaygentLangGraphCallback

__all__ = [
    "LLMConfig", "LiveKitPaygentHook", "PaygentAnthropic", "PaygentGemini", "PaygentLangChainCallback",
    "PaygentLangGraphCallback", "PaygentMistral", "PaygentOpenAI", "STTConfig", "TTSConfig", "VapiPaygentHook",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import the callbacks when they are used, because that imports LangChain, if it is installed."""
    if name == "PaygentLangChainCallback":
        from .langchain_wrapper import PaygentLangChainCallback  # noqa: PLC0415 - see above

        return PaygentLangChainCallback
    if name == "PaygentLangGraphCallback":
        from .langgraph_wrapper import PaygentLangGraphCallback  # noqa: PLC0415 - see above

        return PaygentLangGraphCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
