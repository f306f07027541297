"""The user's own prices, from every source of settings to the event."""

from __future__ import annotations

import json
from decimal import Context, Decimal, localcontext

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import taximeter
from conftest import events_of
from taximeter.settings import resolve

RATES = {"openai/gpt-4o": {"input_tokens": {"per_1m": 1.1}, "output_tokens": {"per_1k": "0.002"}}}


def test_an_own_rate_prices_the_event_and_is_named(state):
    meter = taximeter.Meter(state_dir=state, prices={"rates": RATES})
    receipt = meter.track(provider="openai", model="gpt-4o-2024-08-06", input_tokens=1_000_000, output_tokens=1_000_000)
    assert receipt.cost_usd == Decimal("3.1")
    (event,) = events_of(meter)
    assert (event["cost_usd"], event["cost_status"], event["priced_as"]) == ("3.1", "manual", "openai/gpt-4o")
    assert event["catalog"].startswith("override-")
    cost = meter.price("gpt-4o", {"input_tokens": 1, "cache_read_tokens": 1}, "openai")
    assert (cost.match, cost.status, cost.provider, cost.notes) == ("override", "manual", "openai", ("cache_at_input_rate",))
    meter.close()


def test_a_multiplier_is_in_the_explanation(state):
    meter = taximeter.Meter(state_dir=state, prices={"multipliers": {"openai/*": 0.9, "*": "1.2"}})
    cost = meter.price("gpt-4o", {"input_tokens": 1_000_000}, "openai")
    assert cost.usd == Decimal("2.25")
    assert cost.explain().splitlines()[0] == "input_tokens: 1000000 × $2.5 per 1000000 × 0.9 (openai/*) = $2.25"
    assert "+override-" in cost.catalog
    assert meter.price("claude-opus-5-5", {"input_tokens": 1_000_000}, "anthropic").usd == Decimal("4.8")
    meter.close()


def test_an_alias_names_the_model_of_a_deployment(state):
    meter = taximeter.Meter(state_dir=state, prices={"aliases": {"azure/prod-eu": "openai/gpt-4o"}})
    cost = meter.price("prod-eu", {"input_tokens": 1_000_000}, "azure")
    assert (cost.usd, cost.match, cost.model, cost.status) == (Decimal("2.5"), "override", "gpt-4o", "priced")
    assert meter.price("prod-us", {"input_tokens": 1}, "azure").usd is None
    meter.close()


def test_prices_of_all_sources_of_settings_are_merged(tmp_path):
    (tmp_path / "taximeter.toml").write_text(
        '[prices]\nlong_tail = true\n[prices.multipliers]\n"openai/*" = 0.1\n"x/*" = 3\n'
        '[prices.rates."m"]\ninput_tokens = { per_1m = 0.1, above = { 200000 = 0.2 } }\n'
    )
    environ = {"TAXIMETER_PRICES": '{"multipliers": {"openai/*": 0.2}, "refresh": "6h"}'}
    prices = resolve({"prices": {"multipliers": {"openai/*": "0.3"}}}, environ, tmp_path).prices
    rules = json.loads(prices.overrides)
    assert rules["multipliers"] == {"openai/*": "0.3", "x/*": "3"}
    assert rules["rates"] == {"m": {"input_tokens": {"per_1m": "0.1", "above": {"200000": "0.2"}}}}
    assert (prices.long_tail, prices.refresh) == (True, 21_600)


def test_prices_can_be_a_file(tmp_path):
    (tmp_path / "mine.toml").write_text('[aliases]\n"a" = "openai/gpt-4o"\n')
    (tmp_path / "mine.json").write_text('{"rates": {"m": {"requests": {"per_1k": 0.10000000000000001}}}}')
    assert json.loads(resolve({"prices": tmp_path / "mine.toml"}, {}, tmp_path).prices.overrides) == {
        "aliases": {"a": "openai/gpt-4o"}
    }
    # The exact number from the file, not the nearest binary number.
    exact = resolve({"prices": str(tmp_path / "mine.json")}, {}, tmp_path).prices.overrides
    assert json.loads(exact)["rates"]["m"]["requests"] == {"per_1k": "0.10000000000000001"}


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ({"rates": {"openai/m": {"input_tokens": {"per_1m": -1}}}}, r'rates."openai/m".input_tokens: the rate -1 is negative'),
        ({"rates": {"m": {"input_tokens": {"per_1m": float("nan")}}}}, "not a decimal number"),
        ({"rates": {"m": {"input_tokens": {"per_token": 3}}}}, r"more than \$10,000 per_1m"),
        ({"rates": {"m": {"inputs": {"per_1m": 1}}}}, '"inputs" is not a unit'),
        ({"rates": {"m": {"input_tokens": 3}}}, "prices"),
        ({"rates": {"m": {"input_tokens": {}}}}, "give one rate"),
        ({"rates": []}, "rates"),
        ({"multipliers": {"*": 10**6}}, "markup of 20 %"),
        ({"multipliers": {"*": "lots"}}, "lots"),
        ({"aliases": {"a": ""}}, "does not name another model"),
        ({"rates": {"m": {}}}, "a row has no rates"),
        ({"source": "http://prices.example/"}, "source: prices.example: .*over https, or"),
        ("https://u:secret@h/x", "a URL belongs in prices.source"),
        ({"colour": 1}, "colour"),
        ({"refresh": "1s"}, "refresh"),
        ({"refresh": "soon"}, "refresh"),
        ({"long_tail": "perhaps"}, "long_tail"),
        ({"source": 7}, "source"),
        ("{", "prices"),
        ("nowhere.toml", "prices|nowhere"),
        (7, "prices"),
    ],
)
def test_invalid_prices_are_rejected(state, prices, message):
    with pytest.raises(taximeter.ConfigError, match=message):
        taximeter.Meter(state_dir=state, prices=prices)


def test_an_error_names_the_source_of_the_setting(tmp_path):
    with pytest.raises(taximeter.ConfigError, match=r"x is negative|not a decimal number.*\(from environment\)"):
        resolve({}, {"TAXIMETER_PRICES": '{"multipliers": {"*": "x"}}'}, tmp_path)
    (tmp_path / "taximeter.toml").write_text("[prices.multipliers]\n'*' = -1\n")
    with pytest.raises(taximeter.ConfigError, match=r"\(from .*taximeter\.toml\)"):
        resolve({"prices": {"multipliers": {"*": 1}}}, {}, tmp_path)


def test_malformed_prices_are_an_error_and_not_another_price(run):
    outcome = run(
        """
        import taximeter
        try:
            taximeter.price("gpt-4o", {"input_tokens": 1})
        except taximeter.ConfigError as error:
            print(error)
        """,
        TAXIMETER_PRICES='{"multipliers": {"*": "-1"}}',
    )
    assert 'multipliers."*": -1 is negative (from environment)' in outcome.stdout


def test_a_price_file_is_found_relative_to_the_file_that_names_it(tmp_path):
    (tmp_path / "taximeter.toml").write_text('prices = "mine.toml"\n')
    (tmp_path / "mine.toml").write_text('[prices.multipliers]\n"*" = 2\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert json.loads(resolve({}, {}, below).prices.overrides) == {"multipliers": {"*": "2"}}


def test_rejected_prices_keep_the_old_ones_in_force(state):
    meter = taximeter.Meter(state_dir=state, prices={"multipliers": {"*": 2}})
    with pytest.raises(taximeter.ConfigError):
        meter._engine.configure({"prices": {"multipliers": {"*": -2}}})
    assert meter.price("gpt-4o", {"input_tokens": 1_000_000}).usd == 5
    meter._engine.configure({"prices": {"multipliers": {"*": 3}}})
    assert meter.price("gpt-4o", {"input_tokens": 1_000_000}).usd == Decimal("7.5")
    meter.close()


def test_the_long_tail_is_used_on_request_and_marked(state):
    asked = {"model": "deepseek-ai/deepseek-v3", "usage": {"input_tokens": 1_000_000}, "provider": "deepinfra"}
    assert taximeter.price(**asked).usd is None
    meter = taximeter.Meter(state_dir=state, prices={"long_tail": True})
    cost = meter.price(**asked)
    assert cost.usd is not None
    assert cost.catalog.startswith("litellm-")
    assert {entry[3].partition("-")[0] for entry in meter.models()} == {"genai", "litellm"}
    meter.close()


@given(
    rate=st.decimals(min_value=0, max_value=9999, places=12, allow_nan=False),
    tokens=st.integers(min_value=0, max_value=10**9),
    factor=st.decimals(min_value=0, max_value=10, places=6, allow_nan=False),
)
@example(rate=Decimal("667.744010446683"), tokens=122_028_935, factor=Decimal("5.100454"))
def test_costs_are_exact_decimals(rate, tokens, factor):
    meter = taximeter.Meter(
        prices={"rates": {"m": {"input_tokens": {"per_1m": rate}}}, "multipliers": {"m": factor}}, backend="memory", enabled=False
    )
    with localcontext(Context(prec=60)):  # the default of 28 digits would round the expected value
        exact = rate * tokens / 1_000_000 * factor
    assert abs(meter.price("m", {"input_tokens": tokens}, "x").usd - exact) <= Decimal(1).scaleb(-24)
