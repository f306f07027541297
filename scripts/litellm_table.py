"""litellm's price table: what only it lists, and where it differs from the catalog."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import taximeter
from taximeter.catalogs import Document

MILLION, THOUSAND = Decimal(1_000_000), Decimal(1_000)
TOKEN_RATES = {
    "input_cost_per_token": "input_tokens",
    "output_cost_per_token": "output_tokens",
    "cache_read_input_token_cost": "cache_read_tokens",
    "cache_creation_input_token_cost": "cache_write_tokens",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h_tokens",
}
PIECE_RATES = {"output_cost_per_image": "output_images", "input_cost_per_query": "rerank_searches"}
THRESHOLDS = (128, 200, 256, 272, 512)

# Its provider names that mean a provider of the catalog; the catalog's own ids go without saying.
SAME = {
    "azure": "azure",
    "azure_ai": "azure",
    "azure_text": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "bedrock_mantle": "aws",
    "amazon_nova": "aws",
    "sagemaker": "aws",
    "cohere_chat": "cohere",
    "codestral": "mistral",
    "text-completion-codestral": "mistral",
    "fireworks_ai": "fireworks",
    "fireworks_ai-embedding-models": "fireworks",
    "gemini": "google",
    "github_copilot": "github-copilot",
    "meta_llama": "meta",
    "moonshot": "moonshotai",
    "text-completion-openai": "openai",
    "chatgpt": "openai",
    "together_ai": "together",
    "voyage": "voyageai",
    "xai": "x-ai",
    "bigmodel": "zhipuai",
}


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The table, its numbers as the decimals that are written there."""
    table = json.loads(path.read_text("utf-8"), parse_float=Decimal)
    return {name: entry for name, entry in table.items() if name != "sample_spec"}


def provider_of(entry: Mapping[str, Any]) -> str:
    name = entry.get("litellm_provider", "")
    return "google" if name.startswith("vertex_ai") else SAME.get(name, name)


def rates_of(entry: Mapping[str, Any]) -> Document:
    """Rates by unit, in dollars per the unit's denominator."""
    found: Document = {}
    for names, per in ((TOKEN_RATES, MILLION), (PIECE_RATES, THOUSAND)):
        for name, unit in names.items():
            if entry.get(name) is None:
                continue
            base = text(entry[name], per)
            tiers = [
                [threshold * 1000, text(entry[key], per)]
                for threshold in THRESHOLDS
                if entry.get(key := f"{name}_above_{threshold}k_tokens") is not None
            ]
            found[unit] = [base, *tiers] if tiers else base
    order = list(taximeter.UNITS)
    return dict(sorted(found.items(), key=lambda item: order.index(item[0])))


def text(rate: Any, per: Decimal) -> str:
    plain = format((Decimal(str(rate)) * per).normalize(), "f")
    if Decimal(plain).as_tuple().exponent < -18 or Decimal(plain) < 0:  # noqa: PLR2004 - decimals of a rate
        raise ValueError(rate)
    return plain


def bare_name(name: str, entry: Mapping[str, Any]) -> str:
    prefix = f"{entry['litellm_provider']}/"
    return name.removeprefix(prefix).lower()


def long_tail(table: Mapping[str, Mapping[str, Any]], known: set[str]) -> list[Document]:
    """Providers that the catalog lacks. Entries without a rate, or with nothing but zeros, tell nothing and are left out."""
    by_provider: dict[str, dict[str, Document]] = defaultdict(dict)
    for name, entry in sorted(table.items()):
        provider = provider_of(entry)
        if not provider or provider in known:
            continue
        try:
            rates = rates_of(entry)
        except (ValueError, ArithmeticError):
            continue
        if not {"input_tokens", "output_images", "rerank_searches"} & rates.keys():
            continue
        if all(Decimal(rate if isinstance(rate, str) else rate[0]) == 0 for rate in rates.values()):
            continue
        by_provider[provider].setdefault(bare_name(name, entry), rates)
    return [
        {
            "id": provider,
            "api": "",
            "provider_match": {"equals": provider},
            "model_match": None,
            "fallback": [],
            "models": [{"id": name, "match": {"equals": name}, "prices": [{"rates": rates}]} for name, rates in models.items()],
        }
        for provider, models in sorted(by_provider.items())
    ]


def pairs(table: Mapping[str, Mapping[str, Any]], known: set[str]) -> Iterator[tuple[str, str, Document, taximeter.Cost]]:
    """Entries of the table that the catalog knows by an exact name, with the catalog's price of a million input tokens."""
    for name, entry in sorted(table.items()):
        provider = provider_of(entry)
        if provider not in known or entry.get("input_cost_per_token") is None:
            continue
        model = bare_name(name, entry)
        cost = taximeter.price(model, {"input_tokens": 1}, provider=provider)
        if cost.usd is not None and (cost.match == "exact" or provider == "aws"):
            try:
                yield provider, model, rates_of(entry), cost
            except (ValueError, ArithmeticError):
                continue


def cross_check(catalog: Document, table: Mapping[str, Mapping[str, Any]]) -> str:
    """Where the two differ in what a million input and a million output tokens cost, the largest difference first."""
    known = {provider["id"] for provider in catalog["providers"]}
    compared, different = 0, []
    for provider, model, rates, _ in pairs(table, known):
        units = ("input_tokens", "output_tokens")
        stated = [rates.get(unit, "0") for unit in units]
        theirs = [Decimal(one if isinstance(one, str) else one[0]) for one in stated]
        ours = [(taximeter.price(model, {unit: 1}, provider=provider).usd or Decimal(0)) * MILLION for unit in units]
        compared += 1
        if ours != theirs:
            far = max(abs(a - b) / max(a, b) for a, b in zip(ours, theirs, strict=True) if a != b)
            different.append((far, provider, model, ours, theirs))
    lines = [f"{compared} entries compared, {compared - len(different)} the same, {len(different)} different"]
    lines.append("difference  entry: $ per million tokens in/out, genai-prices | litellm")
    for far, provider, model, ours, theirs in sorted(different, key=lambda row: (-row[0], row[1:3])):
        shown = " | ".join("/".join(f"{rate.normalize():f}" for rate in side) for side in (ours, theirs))
        lines.append(f"{far * 100:9.1f} %  {provider}/{model}: {shown}")
    return "\n".join(lines)
