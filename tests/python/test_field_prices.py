"""Prices of one's own, names, files and diagnoses that went wrong. Each test is named by what did."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import taximeter

USAGE = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}


def priced(state: Path, prices: Any, model: str = "gpt-4o", provider: str = "openai", **usage: int) -> taximeter.Cost:
    meter = taximeter.Meter(state_dir=state, prices=prices)
    try:
        return meter.price(model, {**USAGE, **usage}, provider)
    finally:
        meter.close(5)


@pytest.mark.parametrize(
    ("rates", "usage", "usd"),
    [
        ({"output_tokens": {"per_1m": 9}}, {}, None),
        ({"base": "catalog", "output_tokens": {"per_1m": 9}}, {}, "11.5"),
        ({"base": "catalog", "cache_read_tokens": {"per_1m": "0.5"}}, {"cache_read_tokens": 500_000}, "11.5"),
        ({"base": "catalog", "web_searches": {"per_search": "0.01"}}, {"web_searches": 2}, "12.52"),
        ({"input_tokens": {"per_1m": 1}, "output_tokens": {"per_1m": 0}}, {}, "1"),
        ({"input_tokens": {"per_1m": 1}, "output_tokens": {"per_1m": 1}}, {"web_searches": 2}, None),
        ([{"rates": {"base": "catalog", "input_tokens": {"per_1m": 1}}}], {}, "11"),
    ],
)
def test_units_that_ones_own_rates_lack_were_free(state, rates, usage, usd):
    cost = priced(state, {"rates": {"openai/gpt-4o": rates}}, **usage)
    assert cost.usd == (None if usd is None else Decimal(usd))
    assert cost.status == ("unpriced" if usd is None else "manual")


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ({"rates": {"m": {"input_cost_per_token": 2.5e-6}}}, "rates.m: .*write input_tokens = { per_token = … }"),
        ({"rates": {"m": {"output_mtok": 10}}}, "rates.m: .*write output_tokens = { per_1m = … }"),
        (
            {"rates": {"m": [{"rates": {"requests": {"per_1k": 1}}}, {"window": ["25:00", "1:00"], "rates": {}}]}},
            r"rates.m\[1\]: window",
        ),
        ({"rates": {"m": [{"input_tokens": {"per_1m": 1}}]}}, r"rates.m: not a list of rows: .*write \[{ rates = "),
        ({"multipliers": {"openai/*": "10%"}}, 'multipliers."openai/\\*": "10%" is not .*write 1.2 for a markup of 20 %'),
        ({"multipliers": {"openai/*": {"x": 1}}}, 'multipliers."openai/\\*": {"x":"1"} is not a decimal number'),
        ({"aliases": {"prod": {"model": "gpt-4o"}}}, 'aliases.prod: .* is not a model; write "provider/model"'),
    ],
)
def test_an_error_in_prices_named_neither_the_place_nor_the_remedy(state, prices, message):
    with pytest.raises(taximeter.ConfigError, match=message):
        taximeter.Meter(state_dir=state, prices=prices)


def test_a_base_that_the_catalog_lacks_was_silent(state, caplog):
    rates = {
        "mine/m": {"base": "catalog", "input_tokens": {"per_1m": 1}},
        "openai/gpt-4*": {"base": "catalog", "input_tokens": {"per_1m": 1}},
    }
    taximeter.Meter(state_dir=state, prices={"rates": rates})
    (told,) = [record.getMessage() for record in caplog.records]
    assert 'rates."mine/m".base matches no priced model' in told


@pytest.mark.parametrize(
    ("model", "provider", "found"),
    [
        ("gpt-4o", "opnai", "openai/gpt-4o"),
        ("claude-sonnet-4-5", "openai", "anthropic/claude-sonnet-4-5"),
        ("sonnet-4.5", "anthropic", "claude-sonnet-4-5"),
        ("gemini-pro-2.5", None, "gemini-2.5-pro"),
        ("gpt4o", "openai", "gpt-4o"),
        ("gpt-4o-mni", "openai", "gpt-4o-mini"),
        ("claude sonnet 4.5", None, "claude-sonnet-4-5"),
    ],
)
def test_the_nearest_name_was_not_the_first_suggestion(model, provider, found):
    cost = taximeter.price(model, {"input_tokens": 1}, provider)
    assert (cost.usd, cost.suggestions[0]) == (None, found)
    assert len(set(cost.suggestions)) == len(cost.suggestions) <= 5


@pytest.mark.parametrize(
    ("model", "provider"), [("x" * 5000, "openai"), ("模型", "openai"), ("my-deployment", "azure"), ("m", "mine")]
)
def test_a_name_like_no_other_had_suggestions(model, provider):
    assert taximeter.price(model, {"input_tokens": 1}, provider).suggestions == ()


@pytest.mark.parametrize(
    ("model", "provider", "found"),
    [
        ("openai/responses/gpt-5", "litellm", ("openai", "gpt-5")),
        ("bedrock/converse/eu.amazon.nova-pro-v1:0", "litellm", ("aws", "amazon.nova-pro-v1:0")),
        ("openrouter/openai/gpt-4o:nitro", "litellm_proxy", ("openrouter", "openai/gpt-4o")),
        ("openai.gpt-oss-120b", "aws.bedrock", ("aws", "openai.gpt-oss-120b-1:0")),
    ],
)
def test_a_name_of_a_gateway_had_no_price(model, provider, found):
    cost = taximeter.price(model, USAGE, provider)
    assert (cost.provider, cost.model, cost.status) == (*found, "priced")


@pytest.mark.parametrize(("model", "provider"), [("new/model:free", "openrouter"), ("openrouter/new/model:free", "litellm")])
def test_a_new_model_whose_name_says_that_it_is_free_had_no_price(model, provider):
    assert (taximeter.price(model, USAGE, provider).usd, taximeter.price(model, USAGE, "openai").usd) == (0, None)


# Files


def told(cwd: Path, *command: str, code: int = 0) -> str:
    outcome = subprocess.run(
        [sys.executable, "-m", "taximeter", *command], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert outcome.returncode == code, outcome.stderr
    return outcome.stdout + outcome.stderr


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_file_that_an_editor_marked_was_not_read(state, tmp_path, encoding):
    rates = '{"rates": {"mine/m": {"input_tokens": {"per_1m": 2}, "output_tokens": {"per_1m": 2}}}, "aliases": {"é": "mine/m"}}'
    prices, catalog, prompt = (tmp_path / name for name in ("prices.json", "catalog.json", "prompt.txt"))
    prices.write_bytes(rates.encode(encoding))
    catalog.write_bytes((Path(__file__).parents[2] / "data" / "catalog.json").read_text(encoding="utf-8").encode(encoding))
    prompt.write_bytes("hello é".encode(encoding))
    (tmp_path / "taximeter.toml").write_bytes(f'prices = "prices.json"\nstate_dir = "{state}"\n# é\n'.encode(encoding))
    assert "$0.002" in told(tmp_path, "price", "é", "--provider", "mine", "--input", "1000")
    assert "2 tokens" in told(tmp_path, "tokens", "prompt.txt", "--model", "gpt-4o")
    assert "0 changes" in told(tmp_path, "prices", "update", "--from", str(catalog))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("prices.json", b'{"rates": {"gpt-4o": {"input_tokens": 2.5}}}', "write { per_1m = 2.5 } (from {path})"),
        ("prices.toml", b"[rates.gpt-4o]\ninput_tokens = 2.5\n", "write { per_1m = 2.5 } (from {path})"),
        ("prices.json", "{é".encode("latin-1"), "{path}: byte 1 is not UTF-8; save the file as UTF-8"),
        ("prices.toml", "# é\n".encode("latin-1"), "{path}: byte 2 is not UTF-8; save the file as UTF-8"),
        ("none.json", None, "{path}: No such file or directory"),
    ],
)
def test_an_error_did_not_name_the_file(state, tmp_path, name, text, message):
    path = tmp_path / name
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(taximeter.ConfigError) as refusal:
        taximeter.Meter(state_dir=state, prices=path)
    assert message.replace("{path}", str(path)) in str(refusal.value)


def test_an_error_in_the_file_of_settings_or_of_a_catalog_did_not_name_it(state, tmp_path):
    own = tmp_path / "taximeter.toml"
    own.write_text(f'state_dir = "{state}"\n[prices.rates.gpt-4o]\ninput_tokens = 2.5\n')
    assert f"(from {own})" in told(tmp_path, "price", "gpt-4o", "--input", "1", code=2)
    own.write_text(f'state_dir = "{state}"\n')
    broken = tmp_path / "broken.json"
    broken.write_bytes(b"\xef\xbb\xbf{")
    assert f"{broken}: not JSON" in told(tmp_path, "prices", "update", "--from", str(broken), code=2)


# Diagnoses


@pytest.mark.parametrize(
    ("event", "code", "line"),
    [
        (
            {"model": "gpt-4o", "usage_status": "missing"},
            0,
            "note  usage: usage missing for openai/gpt-4o (1): ask with stream_options",
        ),
        (
            {"model": "gpt-4o", "usage_status": "missing", "finish_reason": "stop"},
            1,
            "BAD   usage reports: usage missing for openai/gpt-4o",
        ),
        (
            {"provider": "aws.bedrock", "model": "m", "usage_status": "missing", "finish_reason": "stop"},
            1,
            "usage missing for aws.bedrock/m (1): record these calls with track() or measure()",
        ),
        (
            {"model": "gpt-4o-mni"},
            1,
            'if it is the model gpt-4o-mini, prices.aliases = { "openai/gpt-4o-mni" = "openai/gpt-4o-mini" }',
        ),
        (
            {"provider": "azure", "model": "prod"},
            1,
            'the name is your own; say which model it is: prices.aliases = { "azure.ai.openai/prod"',
        ),
        ({"model": "x-9000"}, 1, 'prices.rates."openai/x-9000" = { input_tokens = { per_1m = … }, output_tokens = { per_1m = … } }'),
        (
            {"provider": "ollama", "model": "llama3.2:1b"},
            0,
            "note  local models: 1 call to ollama without a price; if they cost nothing",
        ),
        (
            {"model": "x", "status": "error", "usage_status": "missing", "error": "RateLimitError"},
            0,
            "ok    prices: known for every call",
        ),
    ],
)
def test_a_diagnosis_had_the_wrong_cause_or_no_remedy(state, tmp_path, event, code, line):
    meter = taximeter.Meter(state_dir=state)
    usage = {} if "usage_status" in event else {"input_tokens": 1, "output_tokens": 1}
    meter.track(**{"provider": "openai", "usage": usage, **event})
    meter.close(10)
    (tmp_path / "taximeter.toml").write_text(f'state_dir = "{state}"\n')
    assert line in told(tmp_path, "doctor", code=code)


def test_a_price_that_was_set_did_not_end_the_diagnosis(state, tmp_path):
    meter = taximeter.Meter(state_dir=state)
    meter.track(provider="openai", model="x-9000", input_tokens=1, output_tokens=1)
    meter.close(10)
    rates = '[prices.rates."openai/x-9000"]\ninput_tokens = { per_1m = 1 }\noutput_tokens = { per_1m = 1 }\n'
    (tmp_path / "taximeter.toml").write_text(f'state_dir = "{state}"\n{rates}')
    assert "now known for openai/x-9000 (1), but not when these calls were recorded: run taximeter reprice" in told(
        tmp_path, "doctor"
    )
    told(tmp_path, "reprice", "--since", "1d")
    assert "now known" not in told(tmp_path, "doctor")
