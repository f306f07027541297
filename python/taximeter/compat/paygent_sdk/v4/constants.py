"""The names of providers and models in `paygent-sdk` 4.9.7. They are in `constants.json`, by class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

__all__ = [
    "AI21Models", "AWSModels", "AmazonPollyModels", "AmazonPollyTTSModels", "AnthropicModels", "AnyscaleModels",
    "AssemblyAIModels", "AssemblyAISTTModels", "AzureAIModels", "AzureOpenAIModels", "AzureSpeechModels",
    "AzureSpeechSTTModels", "AzureSpeechTTSModels", "BedrockModels", "CerebrasModels", "CohereModels",
    "DashScopeModels", "DeepBricksModels", "DeepInfraModels", "DeepSeekModels", "DeepgramModels", "DeepgramSTTModels",
    "DeepgramTTSModels", "ElevenLabsModels", "ElevenLabsSTTModels", "ElevenLabsTTSModels", "FireworksAIModels",
    "GoogleCloudSpeechModels", "GoogleCloudSpeechSTTModels", "GoogleCloudTTSModels", "GoogleCloudTTSTTSModels",
    "GoogleCloudTextToSpeechTTSModels", "GoogleDeepMindModels", "GoogleModels", "GroqModels", "JinaModels",
    "MetaModels", "MicrosoftAzureSpeechModels", "MicrosoftAzureSpeechSTTModels", "MicrosoftAzureSpeechTTSModels",
    "MistralAIModels", "MonsterAPIModels", "MoonshotAIModels", "NebiusModels", "NomicModels", "NovitaAIModels",
    "OpenAIModels", "OpenRouterModels", "OracleModels", "PaLMModels", "PerplexityAIModels", "PredibaseModels",
    "RekaAIModels", "ServiceProvider", "SonioxModels", "SonioxSTTModels", "StabilityAIModels", "TogetherAIModels",
    "VertexAIModels", "XAIModels", "ZhipuModels", "is_model_supported",
]  # fmt: skip

_NAMES: Final[dict[str, dict[str, str]]] = json.loads(Path(__file__).with_name("constants.json").read_bytes())


def _names_of(name: str) -> type[Any]:
    return type(name, (), {"__module__": __name__, "__doc__": "Names, as texts.", **_NAMES[name]})


AI21Models = _names_of("AI21Models")
AmazonPollyModels = _names_of("AmazonPollyModels")
AnthropicModels = _names_of("AnthropicModels")
AnyscaleModels = _names_of("AnyscaleModels")
AssemblyAIModels = _names_of("AssemblyAIModels")
AzureAIModels = _names_of("AzureAIModels")
AzureOpenAIModels = _names_of("AzureOpenAIModels")
AzureSpeechModels = _names_of("AzureSpeechModels")
BedrockModels = _names_of("BedrockModels")
CerebrasModels = _names_of("CerebrasModels")
CohereModels = _names_of("CohereModels")
DashScopeModels = _names_of("DashScopeModels")
DeepBricksModels = _names_of("DeepBricksModels")
DeepInfraModels = _names_of("DeepInfraModels")
DeepSeekModels = _names_of("DeepSeekModels")
DeepgramModels = _names_of("DeepgramModels")
ElevenLabsModels = _names_of("ElevenLabsModels")
FireworksAIModels = _names_of("FireworksAIModels")
GoogleCloudSpeechSTTModels = _names_of("GoogleCloudSpeechSTTModels")
GoogleCloudTTSTTSModels = _names_of("GoogleCloudTTSTTSModels")
GoogleModels = _names_of("GoogleModels")
GroqModels = _names_of("GroqModels")
JinaModels = _names_of("JinaModels")
MistralAIModels = _names_of("MistralAIModels")
MonsterAPIModels = _names_of("MonsterAPIModels")
NebiusModels = _names_of("NebiusModels")
NomicModels = _names_of("NomicModels")
NovitaAIModels = _names_of("NovitaAIModels")
OpenAIModels = _names_of("OpenAIModels")
OpenRouterModels = _names_of("OpenRouterModels")
OracleModels = _names_of("OracleModels")
PaLMModels = _names_of("PaLMModels")
PerplexityAIModels = _names_of("PerplexityAIModels")
PredibaseModels = _names_of("PredibaseModels")
RekaAIModels = _names_of("RekaAIModels")
ServiceProvider = _names_of("ServiceProvider")
SonioxModels = _names_of("SonioxModels")
StabilityAIModels = _names_of("StabilityAIModels")
TogetherAIModels = _names_of("TogetherAIModels")
VertexAIModels = _names_of("VertexAIModels")
XAIModels = _names_of("XAIModels")
ZhipuModels = _names_of("ZhipuModels")

# Other names of the same classes, as in the original.
AWSModels = BedrockModels
AmazonPollyTTSModels = AmazonPollyModels
AssemblyAISTTModels = AssemblyAIModels
AzureSpeechSTTModels = AzureSpeechModels
AzureSpeechTTSModels = AzureSpeechModels
DeepgramSTTModels = DeepgramModels
DeepgramTTSModels = DeepgramModels
ElevenLabsSTTModels = ElevenLabsModels
ElevenLabsTTSModels = ElevenLabsModels
GoogleCloudSpeechModels = GoogleCloudSpeechSTTModels
GoogleCloudTTSModels = GoogleCloudTTSTTSModels
GoogleCloudTextToSpeechTTSModels = GoogleCloudTTSTTSModels
GoogleDeepMindModels = GoogleModels
MetaModels = TogetherAIModels
MicrosoftAzureSpeechModels = AzureSpeechModels
MicrosoftAzureSpeechSTTModels = AzureSpeechModels
MicrosoftAzureSpeechTTSModels = AzureSpeechModels
MoonshotAIModels = OpenRouterModels
SonioxSTTModels = SonioxModels


def is_model_supported(model: str) -> bool:  # noqa: ARG001 - the interface's
    """Return true, because Paygent computes the costs, and decides which models it knows."""
    return True
