"""Wrappers around providers' clients that report their calls to Paygent. Calls and return values stay the same."""

from __future__ import annotations

from ..models import LLMConfig, STTConfig, TTSConfig
from .anthropic_wrapper import PaygentAnthropic
from .gemini_wrapper import PaygentGemini
from .mistral_wrapper import PaygentMistral
from .openai_wrapper import PaygentOpenAI

__all__ = ["LLMConfig", "PaygentAnthropic", "PaygentGemini", "PaygentMistral", "PaygentOpenAI", "STTConfig", "TTSConfig"]
