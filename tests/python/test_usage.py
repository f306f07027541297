"""Usage in every provider's format, compared with the extraction rules of genai-prices, and the ways to pass it in."""

from __future__ import annotations

import random
from decimal import Decimal
from types import SimpleNamespace

import pytest
from genai_prices.data import providers
from genai_prices.types import ArrayMatch

import taximeter
from conftest import events_of
from taximeter.meter.usage import normalize

# Formats that are not usage objects: whole events, and objects from which a caller must pick a part.
NO_USAGE_OBJECT = {"usage-event", "live", "ocr", "ocr_annotated", "transcription", "tts", "voice-agent", "speech"}
# Fields that taximeter does not read: text as a modality (the remainder), annotations, and Cohere's unbilled counts.
UNREAD = {"input_text_tokens", "output_text_tokens", "input_text_tool_tokens"}
OUR_NAMES = {"aws": "aws.bedrock", "x-ai": "x_ai", "google": "gcp.gemini", "mistral": "mistral_ai", "azure": "azure.ai.openai"}

FLAVORS = [
    pytest.param(provider, extractor, id=f"{provider.id}-{extractor.api_flavor}")
    for provider in providers
    for extractor in provider.extractors or ()
]


def build(extractor, draw) -> dict:
    """Build a usage object with a number in every place that the rules read."""
    report: dict = {}
    for mapping in extractor.mappings:
        steps = [mapping.path] if isinstance(mapping.path, str) else list(mapping.path)
        place = report
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            if isinstance(step, ArrayMatch):
                found = next((item for item in place if item[step.field] == step.match.equals), None)
                if found is None:
                    place.append(found := {step.field: step.match.equals})
                place = found
            elif following is None:
                place.setdefault(step, draw())
            else:
                place = place.setdefault(step, [] if isinstance(following, ArrayMatch) else {})
    return report


def extracted(extractor, report: dict) -> dict:
    roots = [extractor.root] if isinstance(extractor.root, str) else list(extractor.root)
    data: dict = {"model": "m"}
    place = data
    for root in roots[:-1]:
        place = place.setdefault(root, {})
    place[roots[-1]] = report
    return extractor.extract(data)[1]._reported_values()


@pytest.mark.parametrize(("provider", "extractor"), FLAVORS)
def test_every_usage_format_is_read_like_by_genai_prices(provider, extractor):
    if extractor.api_flavor in NO_USAGE_OBJECT or "usage_info" in extractor.root or provider.id == "cursor":
        pytest.skip("no usage object of a call")
    if extractor.root and extractor.root[-1] == "billed_units":
        wrap = lambda report: {"billed_units": report}
    else:
        wrap = lambda report: report
    rng = random.Random(f"{provider.id} {extractor.api_flavor}")
    for _ in range(20):
        report = build(extractor, lambda: rng.randrange(1, 10**6))
        if (provider.id, extractor.api_flavor) == ("cohere", "tokens"):
            pytest.skip("what Cohere bills is in billed_units")
        expected = {unit: count for unit, count in extracted(extractor, report).items() if unit not in UNREAD}
        counts, _ = normalize(wrap(report), provider=OUR_NAMES.get(provider.id, provider.id))
        assert counts == expected, report


def test_a_call_without_usage_is_marked_missing_and_has_no_cost(meter):
    with meter.measure(provider="openai", model="gpt-4o"):
        pass
    with meter.measure(provider="openai", model="gpt-4o") as call:
        call.set_usage({"prompt_tokens": -1})
    for event in events_of(meter):
        assert (event["usage_status"], event["cost_usd"], event["usage"]) == ("missing", None, {})


def test_the_caller_can_state_that_input_tokens_include_cached_ones(meter):
    reported = {"input_tokens": 1020, "output_tokens": 5, "cache_read_input_tokens": 708}
    for inclusive, total in ((None, 1728), (True, 1020)):
        with meter.measure(provider="anthropic", model="claude-sonnet-4-5") as call:
            call.set_usage(reported, inclusive=inclusive)
        event = events_of(meter)[-1]
        assert (event["input_tokens"], event["cache_read_tokens"]) == (total, 708)


def test_both_the_reported_and_the_computed_cost_are_kept(meter):
    usage = SimpleNamespace(prompt_tokens=1_000_000, completion_tokens=0, cost=0.25, is_byok=False)
    with meter.measure(provider="openrouter", model="openai/gpt-4o") as call:
        call.set_usage(usage)
    (event,) = events_of(meter)
    assert (event["cost_usd"], event["cost_status"], event["computed_cost_usd"]) == ("0.25", "reported", "2.5")
    with meter.measure(provider="openrouter", model="openai/gpt-4o", cost_usd=Decimal("0.5")) as call:
        call.set_usage(usage)
    assert events_of(meter)[-1]["cost_usd"] == "0.5"


def test_anthropic_usage_with_null_fields_is_recognised():
    usage = {"input_tokens": 3, "output_tokens": 9, "cache_creation": None, "output_tokens_details": {"thinking_tokens": 4}}
    counts, _ = normalize(usage, provider="anthropic")
    assert counts["output_reasoning_tokens"] == 4


def test_invalid_usage_is_an_error_that_names_a_field():
    for usage, field in (
        ({"bananas": 3}, "bananas"),
        ({"input_tokens": 1000, "cached_read_tokens": 500}, "cached_read_tokens"),
        ({"promptTokenCount": -5, "candidatesTokenCount": 3}, "promptTokenCount"),
        ({"inputTokens": 5.5, "outputTokens": 3}, "inputTokens"),
        ({"prompt_tokens": Decimal(-5)}, "prompt_tokens"),
        ({"prompt_tokens": 5, "prompt_tokens_details": [1]}, "prompt_tokens_details"),
        ({"input_tokens": 5, "server_tool_use": {"web_search_requests": -3}}, "web_search_requests"),
    ):
        with pytest.raises(taximeter.UsageError, match=field):
            normalize(usage)
    with pytest.raises(taximeter.UsageError, match="nested too deep"):
        deep: dict = {}
        for _ in range(50):
            deep = {"a": deep}
        normalize(deep)
