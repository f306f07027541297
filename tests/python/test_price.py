"""The price engine compared with genai-prices' own calculator, in exact decimals."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data import providers
from genai_prices.data_units import unit_data

import taximeter

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=timezone.utc)
CASES = {
    "plain": {"input_tokens": 1009, "output_tokens": 307},
    "cached": {"input_tokens": 10_007, "output_tokens": 307, "cache_read_tokens": 5_003},
    "written": {"input_tokens": 10_007, "output_tokens": 307, "cache_read_tokens": 503, "cache_write_tokens": 1_009},
    "written for an hour": {
        "input_tokens": 10_007, "output_tokens": 11, "cache_write_tokens": 1_009, "cache_write_1h_tokens": 503,
    },
    "written in both lives": {
        "input_tokens": 10_007, "output_tokens": 307, "cache_read_tokens": 503, "cache_write_tokens": 2_003,
        "cache_write_5m_tokens": 1_009, "cache_write_1h_tokens": 101,
    },
    "audio": {
        "input_tokens": 10_007, "output_tokens": 3_001, "input_audio_tokens": 2_003, "output_audio_tokens": 1_009,
        "cache_read_tokens": 503, "cache_audio_read_tokens": 101,
    },
    "images": {
        "input_tokens": 10_007, "output_tokens": 3_001, "input_image_tokens": 2_003, "output_image_tokens": 1_009,
        "cache_read_tokens": 503, "cache_image_read_tokens": 101,
    },
    "video": {"input_tokens": 10_007, "output_tokens": 307, "input_video_tokens": 2_003},
    "seconds": {"input_tokens": 7, "audio_seconds": 7.25, "input_audio_seconds": 7.25},
    "pieces": {
        "input_tokens": 7, "input_characters": 5_003, "input_document_pages": 11, "rerank_searches": 3, "code_executions": 2,
        "social_searches": 5, "storage_searches": 3, "input_pixels": 1_000_003,
    },
    "long": {"input_tokens": 1_000_003, "output_tokens": 307, "cache_read_tokens": 500_009},
    "searches": {"input_tokens": 101, "output_tokens": 11, "web_searches": 7},
    "reasoning": {"input_tokens": 101, "output_tokens": 1_009, "output_reasoning_tokens": 503},
}  # fmt: skip


def reference(model_ref: str, provider: str, usage: dict, at: datetime) -> Decimal:
    with localcontext() as context:
        context.prec = 60
        return calc_price(Usage(**usage), model_ref, provider_id=provider, genai_request_timestamp=at).total_price


def entries():
    """Yield every model of the data set that can be found by its own id."""
    for provider in providers:
        for model in provider.models:
            if provider.find_model(model.id) is model:
                yield provider, model


def rounded(cost: Decimal) -> Decimal:
    """Round to the most decimals of an amount. Only seconds, whose rates are per 3,600, have more."""
    return cost.quantize(Decimal(1).scaleb(-24), rounding=ROUND_HALF_EVEN, context=Context(prec=60))


@pytest.mark.parametrize("case", CASES)
def test_every_model_of_the_catalog_costs_the_same_as_in_genai_prices(case):
    usage, compared = CASES[case], 0
    for provider, model in entries():
        try:
            expected = reference(model.id, provider.id, usage, NOW)
        except ValueError:
            # Some rates overlap with units that the case leaves out. Both calculators reject this.
            with pytest.raises(taximeter.UsageError):
                taximeter.price(model.id, usage, provider=provider.id, at=NOW)
            continue
        cost = taximeter.price(model.id, usage, provider=provider.id, at=NOW)
        if cost.status == "unpriced":
            # If it has no rate for the units, genai-prices returns 0. taximeter returns an unknown cost.
            assert expected == 0, (provider.id, model.id)
            continue
        assert (cost.provider, cost.model) == (provider.id, model.id)
        # Each of the two units counted in seconds may differ by half of the last decimal.
        tolerance = Decimal(1).scaleb(-24) if "seconds" in case else 0
        assert abs(cost.usd - rounded(expected)) <= tolerance, (provider.id, model.id, cost.explain())
        compared += 1
    assert compared > 1_900


def test_dated_prices_follow_the_start_of_the_call():
    compared = 0
    for provider in providers:
        for model in provider.models:
            rows = model.prices if isinstance(model.prices, list) else []
            dates = [row.constraint.start_date for row in rows if hasattr(row.constraint, "start_date")]
            for date in dates:
                start = datetime(date.year, date.month, date.day, tzinfo=timezone.utc)
                for at in (start - timedelta(microseconds=1), start):
                    if at > datetime.now(timezone.utc) or provider.find_model(model.id) is not model:
                        continue
                    expected = reference(model.id, provider.id, CASES["cached"], at)
                    cost = taximeter.price(model.id, CASES["cached"], provider=provider.id, at=at)
                    assert cost.usd == expected or (cost.usd is None and expected == 0), (model.id, at)
                    compared += 1
    assert compared > 300


def test_daily_windows_follow_the_hour_of_the_call():
    compared = 0
    for provider in providers:
        for model in provider.models:
            rows = model.prices if isinstance(model.prices, list) else []
            if not any(hasattr(row.constraint, "start_time") for row in rows):
                continue
            for hour in range(24):
                at = NOW.replace(hour=hour, minute=30)
                cost = taximeter.price(model.id, CASES["plain"], provider=provider.id, at=at - timedelta(days=1))
                assert cost.usd == reference(model.id, provider.id, CASES["plain"], at - timedelta(days=1))
                compared += 1
    assert compared >= 24


@pytest.mark.parametrize("case", ["cached", "written in both lives", "long", "searches"])
def test_every_context_has_its_own_rates(case):
    compared = 0
    for provider, model in entries():
        for variant in model.price_variants or ():
            for at in (NOW, NOW - timedelta(days=400)):
                with localcontext() as context:
                    context.prec = 60
                    expected = calc_price(
                        Usage(**CASES[case]),
                        model.id,
                        provider_id=provider.id,
                        genai_request_timestamp=at,
                        price_context=variant.when,
                    ).total_price
                cost = taximeter.price(model.id, CASES[case], provider=provider.id, at=at, context=variant.when)
                assert cost.usd == expected or (cost.status == "unpriced" and expected == 0), (model.id, variant.when)
                keywords = {"processing": {"batch": True}, "service_tier": {"service_tier": variant.when.get("service_tier")}}
                if len(variant.when) == 1 and (given := keywords.get(next(iter(variant.when)))):
                    assert taximeter.price(model.id, CASES[case], provider=provider.id, at=at, **given).usd == cost.usd
                compared += 1
    assert compared > 400


def test_model_names_match_the_same_models_as_in_genai_prices():
    references = [
        ("anthropic", "claude-sonnet-4-5-20250929"), ("anthropic", "CLAUDE-3-5-SONNET-20241022"), ("openai", "gpt-4o-20241120"),
        ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"), ("azure", "gpt-4o"), ("google", "gemini-2.5-pro-preview-05-06"),
        ("google", "gemini-2.5-pro-preview-tts"),
    ]  # fmt: skip
    for provider_id, reference_ in references:
        provider = next(provider for provider in providers if provider.id == provider_id)
        expected = provider.find_model(reference_, all_providers=providers)
        cost = taximeter.price(reference_, CASES["plain"], provider=provider_id)
        assert cost.model == (expected.id if expected else None), reference_


def test_the_units_equal_those_of_genai_prices():
    expected = {
        name: (
            unit["per"],
            (unit["dimensions"]["family"], *(f"{k}={v}" for k, v in unit["dimensions"].items() if k != "family")),
        )
        for name, unit in unit_data.items()
    }
    # genai-prices has no units for images billed by the piece and for map searches.
    own = {f"{direction}_images": (1_000, ("images", f"direction={direction}")) for direction in ("input", "output")}
    own["map_searches"] = (1_000, ("tool_calls", "tool_type=map_search"))
    assert expected | own == taximeter.UNITS


def test_a_price_is_explained_line_by_line():
    cost = taximeter.price("gpt-4o", {"input_tokens": 1200, "cache_read_tokens": 800, "output_tokens": 350})
    assert cost.explain().splitlines() == [
        "input_tokens: 400 × $2.5 per 1000000 = $0.001",
        "output_tokens: 350 × $10 per 1000000 = $0.0035",
        "cache_read_tokens: 800 × $1.25 per 1000000 = $0.001",
        "total: $0.0055",
    ]
    assert (cost.input_usd, cost.output_usd) == (Decimal("0.002"), Decimal("0.0035"))
    assert (cost.provider, cost.model, cost.match, cost.status) == ("openai", "gpt-4o", "exact", "priced")
    assert cost.catalog.startswith("genai-prices-")
    assert cost.notes == ()
    assert "unpriced" in taximeter.price("no-such-model", {"input_tokens": 1}).explain()


def test_an_unknown_cost_is_none_and_a_free_call_costs_zero():
    assert taximeter.price("no-such-model", {"input_tokens": 5}).usd is None
    free = next(m.id for p in providers if p.id == "openrouter" for m in p.models if m.id.endswith(":free"))
    cost = taximeter.price(free, {"input_tokens": 5}, provider="openrouter")
    assert (cost.usd, cost.status) == (0, "free")


@pytest.mark.parametrize(
    ("usage", "field"),
    [
        ({"input_tokens": -1}, "input_tokens"),
        ({"output_tokens": 1.5}, "output_tokens"),
        ({"output_tokens": float("nan")}, "output_tokens"),
        ({"input_tokens": "7"}, "input_tokens"),
        ({"input_tokens": 10**13}, "input_tokens"),
        ({"bananas": 1}, "bananas"),
        ({"input_tokens": 5, "cache_read_tokens": 6}, "cache_read_tokens"),
        ({"input_tokens": 5, "cache_read_tokens": 4, "cache_write_tokens": 4}, "input_tokens"),
        ({"prompt_tokens": -5, "completion_tokens": 3}, "prompt_tokens"),
        ({"prompt_tokens": 5, "completion_tokens": 1.5}, "completion_tokens"),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": "7"}}, "cached_tokens"),
        ({"prompt_tokens": float("nan")}, "prompt_tokens"),
        ({("a",): 1}, "usage"),
        (7, "usage"),
        (None, "usage"),
    ],
)
def test_bad_usage_is_an_error_that_names_the_field(usage, field):
    with pytest.raises(taximeter.UsageError, match=field):
        taximeter.price("claude-sonnet-4-5", usage)


def test_a_bad_model_or_time_is_a_value_error():
    with pytest.raises(ValueError, match="model"):
        taximeter.price(" ", {"input_tokens": 1})
    for model in (None, 7):
        with pytest.raises(ValueError, match="model"):
            taximeter.price(model, {"input_tokens": 1})
    with pytest.raises(ValueError, match="provider"):
        taximeter.price("gpt-4o", {"input_tokens": 1}, provider=["openai"])
    with pytest.raises(ValueError, match="context: speed"):
        taximeter.price("gpt-4o", {"input_tokens": 1}, context={"speed": 7})
    with pytest.raises(ValueError, match=r"at: datetime.datetime\(2026, 1, 1, 0, 0\) must have a time zone"):
        taximeter.price("gpt-4o", {"input_tokens": 1}, at=datetime(2026, 1, 1))
    with pytest.raises(ValueError, match=r"^at: '1999-01-01' must lie between 2015 and 2100$"):
        taximeter.price("gpt-4o", {"input_tokens": 1}, at="1999-01-01")


def test_price_accepts_positional_arguments():
    given = taximeter.price("gpt-4o", {"input_tokens": 1_000_000}, "openai", NOW, "priority", False, None, {"x": "y"})
    assert given.usd == Decimal("4.25")


def test_longer_lived_cache_writes_cost_more():
    def cost(**written):
        return taximeter.price("claude-sonnet-4-5", {"input_tokens": 10_000, **written}, "anthropic").usd

    assert cost(cache_write_tokens=10_000, cache_write_5m_tokens=10_000) == Decimal("0.0375")
    assert cost(cache_write_tokens=10_000, cache_write_1h_tokens=10_000) == Decimal("0.06")
    assert cost(cache_write_tokens=10_000) == Decimal("0.0375")


def test_a_cost_reported_by_the_provider_takes_precedence():
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "cost": 0.123456, "is_byok": False}
    cost = taximeter.price("openai/gpt-4o", usage, provider="openrouter")
    assert (cost.usd, cost.status, cost.computed_usd) == (Decimal("0.123456"), "reported", Decimal("2.5"))
    assert "as reported" in cost.explain()
    assert taximeter.price("gpt-4o", usage, provider="openai").status == "priced"


def test_only_executed_tool_calls_are_charged():
    declared = {"input_tokens": 10, "output_tokens": 5, "server_tool_use": {"web_search_requests": 0}}
    executed = {"input_tokens": 10, "output_tokens": 5, "server_tool_use": {"web_search_requests": 2}}
    difference = taximeter.price("claude-sonnet-4-5", executed).usd - taximeter.price("claude-sonnet-4-5", declared).usd
    assert difference == Decimal("0.02")


def test_usage_objects_of_providers_are_read():
    anthropic = {
        "input_tokens": 101,
        "output_tokens": 53,
        "cache_read_input_tokens": 709,
        "cache_creation_input_tokens": 211,
    }
    canonical = {"input_tokens": 1021, "output_tokens": 53, "cache_read_tokens": 709, "cache_write_tokens": 211}
    assert taximeter.price("claude-sonnet-4-5", anthropic).usd == taximeter.price("claude-sonnet-4-5", canonical).usd
    openai = {"prompt_tokens": 1009, "completion_tokens": 307, "prompt_tokens_details": {"cached_tokens": 503}}
    canonical = {"input_tokens": 1009, "output_tokens": 307, "cache_read_tokens": 503}
    assert taximeter.price("gpt-4o", openai).usd == taximeter.price("gpt-4o", canonical).usd
