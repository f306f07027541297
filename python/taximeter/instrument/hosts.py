"""Finds the provider that answers at a host, because clients can be pointed at the hosts of other providers.

The settings come first, then the table of this module, then the catalog's patterns of addresses. For any other host, the client's
vendor counts as the provider, and the event has the cost note `host_unknown`.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from .. import files
from ..settings.model import UNKNOWN_HOSTS
from .guard import run_guarded

if TYPE_CHECKING:
    from ..meter import Engine

__all__ = ["Address", "answered_by", "asks_for_usage", "known_provider", "region_of"]

_EXACT: Final = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x_ai",
    "api.minimax.chat": "minimax",
    "api.mistral.ai": "mistral_ai",
    "codestral.mistral.ai": "mistral_ai",
    "api.together.xyz": "together",
    "api.together.ai": "together",
    "us-api.together.ai": "together",
    "ca-api.together.ai": "together",
    "api.fireworks.ai": "fireworks",
    "api.perplexity.ai": "perplexity",
    "api.cerebras.ai": "cerebras",
    "api.moonshot.ai": "moonshot_ai",
    "api.moonshot.cn": "moonshot_ai",
    "openrouter.ai": "openrouter",
    "generativelanguage.googleapis.com": "gcp.gemini",
    # Providers that the catalog lacks. The names are litellm's, so that its price table applies to them.
    "ai-gateway.vercel.sh": "vercel_ai_gateway",
    "aihubmix.com": "aihubmix",
    "api.abliteration.ai": "abliteration",
    "api.ai21.com": "ai21",
    "api.aiand.com": "aiand",
    "api.aimlapi.com": "aiml",
    "api.cognition.ai": "cognition",
    "api.deepinfra.com": "deepinfra",
    "api.featherless.ai": "featherless_ai",
    "api.friendli.ai": "friendliai",
    "api.gmi-serving.com": "gmi",
    "api.hyperbolic.xyz": "hyperbolic",
    "api.inceptionlabs.ai": "inception",
    "api.inference.crusoecloud.com": "crusoe",
    "api.inference.wandb.ai": "wandb",
    "api.jina.ai": "jina_ai",
    "api.lambda.ai": "lambda_ai",
    "api.lambdalabs.com": "lambda_ai",
    "api.libertai.io": "libertai",
    "api.llamagate.dev": "llamagate",
    "api.morphllm.com": "morph",
    "api.sambanova.ai": "sambanova",
    "api.scaleway.ai": "scaleway",
    "api.studio.nebius.ai": "nebius",
    "api.studio.nebius.com": "nebius",
    "api.tokenfactory.nebius.com": "nebius",
    "api.v0.dev": "v0",
    "api.xiaomimimo.com": "xiaomi_mimo",
    "ark.cn-beijing.volces.com": "volcengine",
    "cn-hongkong.dashscope.aliyuncs.com": "dashscope",
    "dashscope-intl.aliyuncs.com": "dashscope",
    "dashscope-us.aliyuncs.com": "dashscope",
    "dashscope.aliyuncs.com": "dashscope",
    "inference.api.nscale.com": "nscale",
    "inference.do-ai.run": "gradient_ai",
    "integrate.api.nvidia.com": "nvidia_nim",
    "models.github.ai": "github",
    "models.inference.ai.azure.com": "github",
    "router.huggingface.co": "huggingface",
}
_SUFFIXES: Final = {
    ".openai.azure.com": "azure.ai.openai",
    ".openai.azure.us": "azure.ai.openai",
    ".cognitiveservices.azure.com": "azure.ai.openai",
    ".services.ai.azure.com": "azure.ai.inference",
    ".api.openai.com": "openai",
    ".api.x.ai": "x_ai",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    ".rep.googleapis.com": "gcp.vertex_ai",
    ".snowflakecomputing.com": "snowflake",
}
_PATHS: Final = frozenset({"router.huggingface.co"})
"""Hosts that several providers share. The path identifies the provider, by the catalog's patterns."""
_NEED_ASKING: Final = frozenset({
    "cn-hongkong.dashscope.aliyuncs.com", "dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com",
    "generativelanguage.googleapis.com", "integrate.api.nvidia.com",
})  # fmt: skip
"""Hosts, beside OpenAI's and Azure's, that report the usage of a stream only on request, in a chunk that can be removed again."""

_written: set[tuple[str, str, str]] = set()


@functools.lru_cache(maxsize=1024)
def known_provider(host: str, path: str = "") -> str | None:
    """Return the provider that answers at a host; `None` if the host is not known."""
    host = host.lower()
    known = _EXACT.get(host)
    if known is not None and host not in _PATHS:
        return known
    if host.startswith("aws-external-anthropic."):
        return "anthropic"  # Anthropic's own platform, at Amazon's addresses and at Anthropic's prices
    if host.startswith(("bedrock-runtime.", "bedrock-mantle.")) and host.endswith((".amazonaws.com", ".api.aws")):
        return "aws.bedrock"
    if suffixed := next((provider for suffix, provider in _SUFFIXES.items() if host.endswith(suffix)), None):
        return suffixed
    return _by_pattern(f"https://{host}{path}") or known


def _by_pattern(url: str) -> str | None:
    from .catalog_hosts import PATTERNS  # noqa: PLC0415 - most programs only call hosts of the table

    return next((provider for provider, pattern in PATTERNS if re.match(pattern, url)), None)


class Address:
    """A URL given as text, with what URLs of `httpx` have."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.scheme, self.host, self.port, self.path = parts.scheme, parts.hostname or "", parts.port, parts.path


def answered_by(meter: Engine, url: Any, vendor: str, *, is_known: bool = False) -> dict[str, str]:
    """Return the fields of an event that name the provider.

    Args:
        meter: The meter, whose settings may name the provider of the host.
        url: A URL of `httpx` or `httpx2`.
        vendor: The vendor of the client.
        is_known: Whether the client's class determines the provider, whatever the host is, like a client for Azure.
    """
    places = _places(url)
    hosts = {} if meter.settings is None else meter.settings.hosts
    if known := next(filter(None, map(hosts.get, places)), None) or known_provider(url.host, url.path):
        return {"provider": known}
    if is_known:
        return {"provider": vendor}
    run_guarded(_write_unknown, meter, places[0], vendor, meter=meter)
    return {"provider": vendor, "cost_notes": "host_unknown"}


def _places(url: Any) -> tuple[str, str, str]:
    """Return the ways to write where a URL leads, as in the settings: as it is, without its port, and with its scheme's port."""
    host = url.host.lower()
    host = f"[{host}]" if ":" in host else host
    port = {"https": 443, "wss": 443, "http": 80, "ws": 80}.get(url.scheme)
    return (host if url.port is None else f"{host}:{url.port}"), host, f"{host}:{url.port or port}"


def region_of(host: str) -> str | None:
    """Return the region in the name of a regional host of OpenAI or another provider; `None` for other hosts."""
    host = host.lower()
    if host.endswith(".api.x.ai"):
        return host.removesuffix(".api.x.ai")
    if host.endswith(".openai.azure.us"):
        return "us-gov"
    if host.endswith("-api.together.ai"):
        return host.removesuffix("-api.together.ai")
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


def _write_unknown(meter: Engine, place: str, vendor: str) -> None:
    """Note an unknown host for `taximeter doctor`, once in a process."""
    settings = meter.settings
    root = "" if settings is None else settings.root
    if settings is None or not root or (root, place, vendor) in _written:
        return
    _written.add((root, place, vendor))
    files.add_note(settings.inside(UNKNOWN_HOSTS), place, vendor)


def asks_for_usage(meter: Engine, url: Any, api_version: str | None = None) -> bool:
    """Return whether to ask the streams of a host for their usage, with `stream_options.include_usage`.

    Only hosts that are known to support it are asked, and those in the setting `usage_hosts`. Some others reject such requests
    (openai-agents-python#442, litellm#11696).

    Args:
        meter: The meter, whose settings may name the host.
        url: The base URL of the client.
        api_version: Azure's version of the API, such as `2024-10-21`. Versions from 2024-08-01 support it.
    """
    host = url.host.lower()
    own = frozenset() if meter.settings is None else meter.settings.usage_hosts
    if not own.isdisjoint(_places(url)):
        return True
    if host.endswith((".openai.azure.com", ".services.ai.azure.com")):
        # The API without dated versions is newer.
        return "/openai/v1" in url.path or (isinstance(api_version, str) and api_version[:10] >= "2024-08-01")
    return host in _NEED_ASKING or host == "api.openai.com" or host.endswith(".api.openai.com")
