"""The model names and prices of Paygent's clients.

Prices are in US dollars per 1,000 tokens. Eight of the original's rows held dollars per 1,000,000 and billed a thousand times too
much; here they are per 1,000 like the others. Names that only the original's README lists have the prices of that README, which
are per 1,000,000.
"""

from __future__ import annotations

from typing import Final

from .models import ModelPricing

__all__ = [
    "MODEL_PRICING", "AWSModels", "AnthropicModels", "CohereModels", "DeepSeekModels", "GoogleDeepMindModels", "MetaModels",
    "MistralAIModels", "OpenAIModels", "ServiceProvider", "is_model_supported",
]  # fmt: skip


class ServiceProvider:
    """The providers of models."""

    OPENAI = "OpenAI"
    ANTHROPIC = "Anthropic"
    GOOGLE_DEEPMIND = "Google DeepMind"
    META = "Meta"
    AWS = "AWS"
    MISTRAL_AI = "Mistral AI"
    COHERE = "Cohere"
    DEEPSEEK = "DeepSeek"
    CUSTOM = "Custom"


class OpenAIModels:
    """OpenAI's models."""

    GPT_5 = "gpt-5"
    GPT_5_MINI = "gpt-5-mini"
    GPT_5_NANO = "gpt-5-nano"
    GPT_5_CHAT_LATEST = "gpt-5-chat-latest"
    GPT_5_CODEX = "gpt-5-codex"
    GPT_5_PRO = "gpt-5-pro"
    GPT_5_SEARCH_API = "gpt-5-search-api"
    GPT_4_1 = "gpt-4.1"
    GPT_4_1_MINI = "gpt-4.1-mini"
    GPT_4_1_NANO = "gpt-4.1-nano"
    GPT_4O = "gpt-4o"
    GPT_4O_2024_05_13 = "gpt-4o-2024-05-13"
    GPT_4O_MINI = "gpt-4o-mini"
    GPT_REALTIME = "gpt-realtime"
    GPT_REALTIME_MINI = "gpt-realtime-mini"
    GPT_4O_REALTIME_PREVIEW = "gpt-4o-realtime-preview"
    GPT_4O_MINI_REALTIME_PREVIEW = "gpt-4o-mini-realtime-preview"
    GPT_AUDIO = "gpt-audio"
    GPT_AUDIO_MINI = "gpt-audio-mini"
    GPT_4O_AUDIO_PREVIEW = "gpt-4o-audio-preview"
    GPT_4O_MINI_AUDIO_PREVIEW = "gpt-4o-mini-audio-preview"
    O1 = "o1"
    O1_PRO = "o1-pro"
    O3_PRO = "o3-pro"
    O3 = "o3"
    O3_DEEP_RESEARCH = "o3-deep-research"
    O4_MINI = "o4-mini"
    O4_MINI_DEEP_RESEARCH = "o4-mini-deep-research"
    O3_MINI = "o3-mini"
    O1_MINI = "o1-mini"
    CODEX_MINI_LATEST = "codex-mini-latest"
    GPT_4O_MINI_SEARCH_PREVIEW = "gpt-4o-mini-search-preview"
    GPT_4O_SEARCH_PREVIEW = "gpt-4o-search-preview"
    COMPUTER_USE_PREVIEW = "computer-use-preview"
    CHATGPT_4O_LATEST = "chatgpt-4o-latest"
    GPT_4_TURBO_2024_04_09 = "gpt-4-turbo-2024-04-09"
    GPT_4_0125_PREVIEW = "gpt-4-0125-preview"
    GPT_4_1106_PREVIEW = "gpt-4-1106-preview"
    GPT_4_1106_VISION_PREVIEW = "gpt-4-1106-vision-preview"
    GPT_4_0613 = "gpt-4-0613"
    GPT_4_0314 = "gpt-4-0314"
    GPT_4_32K = "gpt-4-32k"
    GPT_3_5_TURBO = "gpt-3.5-turbo"
    GPT_3_5_TURBO_0125 = "gpt-3.5-turbo-0125"
    GPT_3_5_TURBO_1106 = "gpt-3.5-turbo-1106"
    GPT_3_5_TURBO_0613 = "gpt-3.5-turbo-0613"
    GPT_3_5_0301 = "gpt-3.5-0301"
    GPT_3_5_TURBO_INSTRUCT = "gpt-3.5-turbo-instruct"
    GPT_3_5_TURBO_16K_0613 = "gpt-3.5-turbo-16k-0613"
    DAVINCI_002 = "davinci-002"
    BABBAGE_002 = "babbage-002"


class AnthropicModels:
    """Anthropic's models."""

    SONNET_4_5 = "Sonnet 4.5"
    HAIKU_4_5 = "Haiku 4.5"
    OPUS_4_1 = "Opus 4.1"
    SONNET_4 = "Sonnet 4"
    OPUS_4 = "Opus 4"
    SONNET_3_7 = "Sonnet 3.7"
    HAIKU_3_5 = "Haiku 3.5"
    OPUS_3 = "Opus 3"
    HAIKU_3 = "Haiku 3"


class GoogleDeepMindModels:
    """Google's models."""

    GEMINI_2_5_PRO = "Gemini 2.5 Pro"
    GEMINI_2_5_FLASH = "Gemini 2.5 Flash"
    GEMINI_2_5_FLASH_PREVIEW = "Gemini 2.5 Flash Preview"
    GEMINI_2_5_FLASH_LITE = "Gemini 2.5 Flash-Lite"
    GEMINI_2_5_FLASH_LITE_PREVIEW = "Gemini 2.5 Flash-Lite Preview"
    GEMINI_2_5_FLASH_NATIVE_AUDIO = "Gemini 2.5 Flash Native Audio"
    GEMINI_2_5_FLASH_IMAGE = "Gemini 2.5 Flash Image"
    GEMINI_2_5_FLASH_PREVIEW_TTS = "Gemini 2.5 Flash Preview TTS"
    GEMINI_2_5_PRO_PREVIEW_TTS = "Gemini 2.5 Pro Preview TTS"
    GEMINI_2_5_COMPUTER_USE_PREVIEW = "Gemini 2.5 Computer Use Preview"


class MetaModels:
    """Meta's models."""

    LLAMA_4_MAVERICK = "Llama 4 Maverick"
    LLAMA_4_SCOUT = "Llama 4 Scout"
    LLAMA_3_3_70B_INSTRUCT_TURBO = "Llama 3.3 70B Instruct-Turbo"
    LLAMA_3_2_3B_INSTRUCT_TURBO = "Llama 3.2 3B Instruct Turbo"
    LLAMA_3_1_405B_INSTRUCT_TURBO = "Llama 3.1 405B Instruct Turbo"
    LLAMA_3_1_70B_INSTRUCT_TURBO = "Llama 3.1 70B Instruct Turbo"
    LLAMA_3_1_8B_INSTRUCT_TURBO = "Llama 3.1 8B Instruct Turbo"
    LLAMA_3_70B_INSTRUCT_TURBO = "Llama 3 70B Instruct Turbo"
    LLAMA_3_70B_INSTRUCT_REFERENCE = "Llama 3 70B Instruct Reference"
    LLAMA_3_8B_INSTRUCT_LITE = "Llama 3 8B Instruct Lite"
    LLAMA_2 = "LLaMA-2"
    LLAMA_GUARD_4_12B = "Llama Guard 4 12B"
    LLAMA_GUARD_3_11B_VISION_TURBO = "Llama Guard 3 11B Vision Turbo"
    LLAMA_GUARD_3_8B = "Llama Guard 3 8B"
    LLAMA_GUARD_2_8B = "Llama Guard 2 8B"
    SALESFORCE_LLAMA_RANK_V1_8B = "Salesforce Llama Rank V1 (8B)"


class AWSModels:
    """Amazon's models."""

    AMAZON_NOVA_MICRO = "Amazon Nova Micro"
    AMAZON_NOVA_LITE = "Amazon Nova Lite"
    AMAZON_NOVA_PRO = "Amazon Nova Pro"


class MistralAIModels:
    """Mistral's models."""

    MISTRAL_7B_INSTRUCT = "Mistral 7B Instruct"
    MISTRAL_LARGE = "Mistral Large"
    MISTRAL_SMALL = "Mistral Small"
    MISTRAL_MEDIUM = "Mistral Medium"


class CohereModels:
    """Cohere's models."""

    COMMAND_R7B = "Command R7B"
    COMMAND_R = "Command R"
    COMMAND_R_PLUS = "Command R+"
    COMMAND_A = "Command A"
    AYA_EXPANSE_8B_32B = "Aya Expanse (8B/32B)"


class DeepSeekModels:
    """DeepSeek's models."""

    DEEPSEEK_CHAT = "DeepSeek Chat"
    DEEPSEEK_REASONER = "DeepSeek Reasoner"
    DEEPSEEK_R1_GLOBAL = "DeepSeek R1 Global"
    DEEPSEEK_R1_DATAZONE = "DeepSeek R1 DataZone"
    DEEPSEEK_V3_2_EXP = "DeepSeek V3.2-Exp"


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


def is_model_supported(model: str) -> bool:
    """Return whether a model has a price in `MODEL_PRICING`."""
    return model in MODEL_PRICING
