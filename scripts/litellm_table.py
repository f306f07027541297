"""Reads litellm's price table: the providers that only it lists, and its differences from the catalog."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import taximeter
from taximeter.catalog.document import Document
from taximeter.meter import Engine, meter_with
from taximeter.settings import Settings

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

# litellm's names of providers that the catalog names differently.
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
    """Read the table with exact decimal numbers."""
    table = json.loads(path.read_text("utf-8"), parse_float=Decimal)
    return {name: entry for name, entry in table.items() if name != "sample_spec"}


def provider_of(entry: Mapping[str, Any]) -> str:
    name = entry.get("litellm_provider", "")
    return "google" if name.startswith("vertex_ai") else SAME.get(name, name)


def rates_of(entry: Mapping[str, Any]) -> Document:
    """Return rates by unit, in US dollars per the unit's denominator."""
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
    if Decimal(plain).as_tuple().exponent < -18 or Decimal(plain) < 0:  # noqa: PLR2004 - the most decimal places of a rate
        raise ValueError(rate)
    return plain


def bare_name(name: str, entry: Mapping[str, Any]) -> str:
    prefix = f"{entry.get('litellm_provider', '')}/"
    return name.removeprefix(prefix).lower()


def long_tail(table: Mapping[str, Mapping[str, Any]], known: set[str]) -> list[Document]:
    """Return the providers that the catalog lacks. Entries without rates, or with zeros only, are left out."""
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


# A meter without any settings, so that no setting of this host affects the comparison.
ENGINE = Engine()
ENGINE.settings = Settings(root="/nonexistent")
CATALOG_ALONE = meter_with(ENGINE, taximeter.Meter)
UNITS_COMPARED = {
    "input_tokens": ("input_tokens",),
    "output_tokens": ("output_tokens",),
    "cache_read_tokens": ("input_tokens", "cache_read_tokens"),
}


def million(model: str, provider: str, unit: str) -> Decimal | None:
    """Return what a million further units cost by the catalog; `None` if it has no price for exactly this model."""
    one, two = (CATALOG_ALONE.price(model, dict.fromkeys(UNITS_COMPARED[unit], count), provider) for count in (1, 2))
    if one.usd is None or two.usd is None or not (one.match == "exact" or provider == "aws"):
        return None
    # A fee per request is included in both prices and cancels out.
    return (two.usd - one.usd) * MILLION


def cross_check(catalog: Document, table: Mapping[str, Mapping[str, Any]]) -> str:
    """List where the two sources differ in the price of a million tokens, the largest difference first."""
    known = {provider["id"] for provider in catalog["providers"]}
    compared: dict[tuple[str, str, str], tuple[Decimal, Decimal]] = {}
    for name, entry in sorted(table.items()):
        provider, model = provider_of(entry), bare_name(name, entry)
        if provider not in known:
            continue
        try:
            rates = rates_of(entry)
        except (ValueError, ArithmeticError):
            continue
        for unit in UNITS_COMPARED:
            if (stated := rates.get(unit)) is None or (ours := million(model, provider, unit)) is None:
                continue
            compared[provider, model, unit] = ours, Decimal(stated if isinstance(stated, str) else stated[0])
    different = [
        (abs(ours - theirs) / max(ours, theirs), *key, ours, theirs) for key, (ours, theirs) in compared.items() if ours != theirs
    ]
    entries = {key[:2] for key in compared}
    odd = {row[1:3] for row in different}
    lines = [f"{len(entries)} entries compared, {len(entries) - len(odd)} the same, {len(odd)} different"]
    lines.append("difference  entry: $ per million, genai-prices | litellm")
    for far, provider, model, unit, ours, theirs in sorted(different, key=lambda row: (-row[0], row[1:4])):
        lines.append(f"{far * 100:9.1f} %  {provider}/{model} {unit}: {ours.normalize():f} | {theirs.normalize():f}")
    return "\n".join(lines)
