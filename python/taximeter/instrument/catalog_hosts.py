"""The addresses of the catalog's providers. `scripts/refresh_catalog.py` writes this file."""

from __future__ import annotations

from typing import Final

__all__ = ["PATTERNS"]

# fmt: off
PATTERNS: Final = (
    ("anthropic", "https://api\\.anthropic\\.com"),
    ("arcee", "https://api\\.arcee\\.ai(?:/|$)"),
    ("avian", "https://api\\.avian\\.io"),
    ("aws", "https://bedrock-runtime\\.[a-z0-9-]+\\.amazonaws\\.com(/|$)"),
    ("azure", "(https?://)?([^.]*\\.)?(?:openai\\.azure\\.com|azure-api\\.net|cognitiveservices\\.azure\\.com|services\\.ai\\.azure\\.com)"),
    ("baseten", "https://inference\\.baseten\\.co(?:/|$)"),
    ("cerebras", "https://api\\.cerebras\\.ai"),
    ("cloudflare", "https://api\\.cloudflare\\.com/client/v4/accounts/[^/]+/ai(?:/|$)"),
    ("cohere", "https://api\\.cohere\\.(?:ai|com)"),
    ("cursor", "https://api\\.cursor\\.com"),
    ("databricks", "https://[^/]+\\.(?:cloud\\.databricks\\.com|azuredatabricks\\.net|gcp\\.databricks\\.com)/(?:serving-endpoints|ai-gateway)(?:/|$)"),
    ("deepseek", "https://api\\.deepseek\\.com"),
    ("doubleword", "https://api\\.doubleword\\.ai"),
    ("elevenlabs", "https://api\\.(?:(?:us|eu\\.residency|in\\.residency|sg\\.residency)\\.)?elevenlabs\\.io(?:/|$)"),
    ("fireworks", "https://api\\.fireworks\\.ai"),
    ("github-copilot", "https://api\\.githubcopilot\\.com"),
    ("google", "https://(.*\\.)?googleapis\\.com"),
    ("groq", "https://api\\.groq\\.com"),
    ("huggingface_cerebras", "https://router\\.huggingface\\.co/cerebras"),
    ("huggingface_fireworks-ai", "https://router\\.huggingface\\.co/fireworks-ai"),
    ("huggingface_groq", "https://router\\.huggingface\\.co/groq"),
    ("huggingface_hyperbolic", "https://router\\.huggingface\\.co/hyperbolic"),
    ("huggingface_nebius", "https://router\\.huggingface\\.co/nebius"),
    ("huggingface_novita", "https://router\\.huggingface\\.co/novita"),
    ("huggingface_nscale", "https://router\\.huggingface\\.co/nscale"),
    ("huggingface_ovhcloud", "https://router\\.huggingface\\.co/ovhcloud"),
    ("huggingface_publicai", "https://router\\.huggingface\\.co/publicai"),
    ("huggingface_sambanova", "https://router\\.huggingface\\.co/sambanova"),
    ("huggingface_together", "https://router\\.huggingface\\.co/together"),
    ("meta", "https://api\\.meta\\.ai(?:/|$)"),
    ("minimax", "https://api\\.minimax(i)?\\.(?:com|io)"),
    ("mistral", "https://api\\.mistral\\.ai"),
    ("modal", "https://[^/]+\\.modal\\.(?:run|direct)(?:/|$)"),
    ("moonshotai", "https://api\\.moonshot\\."),
    ("novita", "https://api\\.novita\\.ai"),
    ("openai", "https://api\\.openai\\.com"),
    ("openrouter", "https://(api\\.)?openrouter\\.ai"),
    ("ovhcloud", "https://oai\\.endpoints\\.kepler\\.ai\\.cloud\\.ovh\\.net"),
    ("perplexity", "https://api\\.perplexity\\.ai"),
    ("quicksilverpro", "https://api\\.quicksilverpro\\.io"),
    ("together", "https://api\\.together\\.xyz"),
    ("typesafe", "https://api\\.typesafe\\.ai"),
    ("voyageai", "https://api\\.voyageai\\.com"),
    ("x-ai", "https://api\\.x\\.ai"),
    ("zai", "https://api\\.z\\.ai"),
    ("zhipuai", "https://open\\.bigmodel\\.cn"),
)
# fmt: on
"""Providers by their ids in the catalog, and regular expressions of their URLs."""
