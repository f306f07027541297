"""The prices of models in US dollars per 1,000 tokens.

Eight of the original's rows held dollars per 1,000,000 and billed a thousand times too much; here they are per 1,000 like the others.
Names that only the original's README lists have the prices of that README, which are per 1,000,000.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["MODEL_PRICING", "ModelPricing"]


@dataclass
class ModelPricing:
    """The price of a model in US dollars per 1,000 tokens of each kind."""

    prompt_tokens_cost: float
    completion_tokens_cost: float


_PER_THOUSAND: Final = {
    "gpt-5": (0.00125, 0.01),
    "gpt-5-mini": (0.00025, 0.002),
    "gpt-5-nano": (0.00005, 0.0004),
    "gpt-5-chat-latest": (0.00125, 0.01),
    "gpt-5-codex": (0.00125, 0.01),
    "gpt-5-pro": (0.015, 0.12),
    "gpt-5-search-api": (0.00125, 0.01),
    "gpt-4.1": (0.002, 0.008),
    "gpt-4.1-mini": (0.0004, 0.0016),
    "gpt-4.1-nano": (0.0001, 0.0004),
    "gpt-4o": (0.0025, 0.01),
    "gpt-4o-2024-05-13": (0.005, 0.015),
    "gpt-4o-mini": (0.00015, 0.0006),
    "gpt-realtime": (0.004, 0.016),
    "gpt-realtime-mini": (0.0006, 0.0024),
    "gpt-4o-realtime-preview": (0.005, 0.02),
    "gpt-4o-mini-realtime-preview": (0.0006, 0.0024),
    "gpt-audio": (0.0025, 0.01),
    "gpt-audio-mini": (0.0006, 0.0024),
    "gpt-4o-audio-preview": (0.0025, 0.01),
    "gpt-4o-mini-audio-preview": (0.00015, 0.0006),
    "o1": (0.015, 0.06),
    "o1-pro": (0.15, 0.6),
    "o3-pro": (0.02, 0.08),
    "o3": (0.002, 0.008),
    "o3-deep-research": (0.01, 0.04),
    "o4-mini": (0.0011, 0.0044),
    "o4-mini-deep-research": (0.002, 0.008),
    "o3-mini": (0.0011, 0.0044),
    "o1-mini": (0.0011, 0.0044),
    "codex-mini-latest": (0.0015, 0.006),
    "gpt-4o-mini-search-preview": (0.00015, 0.0006),
    "gpt-4o-search-preview": (0.0025, 0.01),
    "computer-use-preview": (0.003, 0.012),
    "chatgpt-4o-latest": (0.005, 0.015),
    "gpt-4-turbo-2024-04-09": (0.01, 0.03),
    "gpt-4-0125-preview": (0.01, 0.03),
    "gpt-4-1106-preview": (0.01, 0.03),
    "gpt-4-1106-vision-preview": (0.01, 0.03),
    "gpt-4-0613": (0.03, 0.06),
    "gpt-4-0314": (0.03, 0.06),
    "gpt-4-32k": (0.06, 0.12),
    "gpt-3.5-turbo": (0.0005, 0.0015),
    "gpt-3.5-turbo-0125": (0.0005, 0.0015),
    "gpt-3.5-turbo-1106": (0.001, 0.002),
    "gpt-3.5-turbo-0613": (0.0015, 0.002),
    "gpt-3.5-0301": (0.0015, 0.002),
    "gpt-3.5-turbo-instruct": (0.0015, 0.002),
    "gpt-3.5-turbo-16k-0613": (0.003, 0.004),
    "davinci-002": (0.002, 0.002),
    "babbage-002": (0.0004, 0.0004),
    "Sonnet 4.5": (0.003, 0.015),
    "Haiku 4.5": (0.001, 0.005),
    "Opus 4.1": (0.015, 0.075),
    "Sonnet 4": (0.003, 0.015),
    "Opus 4": (0.015, 0.075),
    "Sonnet 3.7": (0.003, 0.015),
    "Haiku 3.5": (0.0008, 0.004),
    "Opus 3": (0.015, 0.075),
    "Haiku 3": (0.00025, 0.00125),
    "Gemini 2.5 Pro": (0.00125, 0.01),
    "Gemini 2.5 Flash": (0.00015, 0.0006),
    "Gemini 2.5 Flash Preview": (0.0003, 0.0025),
    "Gemini 2.5 Flash-Lite": (0.0001, 0.0004),
    "Gemini 2.5 Flash-Lite Preview": (0.0001, 0.0004),
    "Gemini 2.5 Flash Native Audio": (0.0005, 0.002),
    "Gemini 2.5 Flash Image": (0.0003, 0.03),
    "Gemini 2.5 Flash Preview TTS": (0.0005, 0.01),
    "Gemini 2.5 Pro Preview TTS": (0.001, 0.02),
    "Gemini 2.5 Computer Use Preview": (0.00125, 0.01),
    "Llama 4 Maverick": (0.00027, 0.00085),
    "Llama 4 Scout": (0.00018, 0.00059),
    "Llama 3.3 70B Instruct-Turbo": (0.00088, 0.00088),
    "Llama 3.2 3B Instruct Turbo": (0.00006, 0.00006),
    "Llama 3.1 405B Instruct Turbo": (0.0035, 0.0035),
    "Llama 3.1 70B Instruct Turbo": (0.00088, 0.00088),
    "Llama 3.1 8B Instruct Turbo": (0.00018, 0.00018),
    "Llama 3 70B Instruct Turbo": (0.00088, 0.00088),
    "Llama 3 70B Instruct Reference": (0.00088, 0.00088),
    "Llama 3 8B Instruct Lite": (0.0001, 0.0001),
    "LLaMA-2": (0.0009, 0.0009),
    "Llama Guard 4 12B": (0.0002, 0.0002),
    "Llama Guard 3 11B Vision Turbo": (0.00018, 0.00018),
    "Llama Guard 3 8B": (0.0002, 0.0002),
    "Llama Guard 2 8B": (0.0002, 0.0002),
    "Salesforce Llama Rank V1 (8B)": (0.0001, 0.0001),
    "Amazon Nova Micro": (0.000035, 0.00014),
    "Amazon Nova Lite": (0.00006, 0.00024),
    "Amazon Nova Pro": (0.0008, 0.0032),
    "Mistral 7B Instruct": (0.000028, 0.000054),
    "Mistral Large": (0.002, 0.006),
    "Mistral Small": (0.0002, 0.0006),
    "Mistral Medium": (0.0004, 0.002),
    "Command R7B": (0.0000375, 0.00015),
    "Command R": (0.00015, 0.0006),
    "Command R+": (0.0025, 0.01),
    "Command A": (0.001, 0.002),
    "Aya Expanse (8B/32B)": (0.0005, 0.0015),
    "DeepSeek Chat": (0.00007, 0.00027),
    "DeepSeek Reasoner": (0.00014, 0.00219),
    "DeepSeek R1 Global": (0.00135, 0.0054),
    "DeepSeek R1 DataZone": (0.001485, 0.00594),
    "DeepSeek V3.2-Exp": (0.000028, 0.00042),
}

_PER_MILLION: Final = {
    "gpt-3.5-turbo-16k": (3.0, 4.0),
    "gpt-4": (30.0, 60.0),
    "gpt-4-turbo": (10.0, 30.0),
    "claude-3-haiku": (0.25, 1.25),
    "claude-3-sonnet": (3.0, 15.0),
    "claude-3-opus": (15.0, 75.0),
    "claude-3.5-sonnet": (3.0, 15.0),
    "gemini-pro": (0.5, 1.5),
    "gemini-1.5-pro": (1.25, 5.0),
    "gemini-1.5-flash": (0.075, 0.3),
    "llama-2-7b": (0.1, 0.1),
    "llama-2-13b": (0.2, 0.2),
    "llama-2-70b": (0.7, 0.7),
    "llama-3-8b": (0.1, 0.1),
    "llama-3-70b": (0.7, 0.7),
    "claude-3-haiku-aws": (0.25, 1.25),
    "claude-3-sonnet-aws": (3.0, 15.0),
    "titan-text-express": (0.8, 1.6),
    "mistral-7b": (0.1, 0.1),
    "mistral-large": (2.0, 6.0),
    "command": (1.5, 2.0),
    "command-r-plus": (3.0, 15.0),
    "deepseek-chat": (0.1, 0.2),
}

MODEL_PRICING: dict[str, ModelPricing] = {
    **{model: ModelPricing(prompt / 1000, completion / 1000) for model, (prompt, completion) in _PER_MILLION.items()},
    **{model: ModelPricing(prompt, completion) for model, (prompt, completion) in _PER_THOUSAND.items()},
}
"""Prices by model, in US dollars per 1,000 tokens."""
