"""The interface of `paygent-sdk` 1.0.0. The expected bodies are those that the original sent to a server on loopback."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import taximeter
from conftest import ROOT
from taximeter.compat import paygent_sdk
from taximeter.compat.paygent_sdk import MODEL_PRICING, Client, UsageData, UsageDataWithStrings, v1
from vendor import VendorServer

TEXTS = (
    "What is the capital of France? Please provide a detailed explanation.",
    "The capital of France is Paris. Paris is located in the north-central part of France and is the country's largest city and economic center.",
)


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer() as server:
        yield server


def client(server, **more):
    return Client("KEY", server.url, **more)


@pytest.mark.parametrize(
    ("usage", "body"),
    [
        (
            UsageData("Meta", "llama", 756, 244, 1000),
            (
                '{"agentId": "agent-123", "customerId": "customer-456", "indicator": "email-sent", "amount": 0.0001, "inputToken": 756, '
                '"outputToken": 244, "model": "llama", "serviceProvider": "Meta"}'
            ),
        ),
        (
            UsageData("OpenAI", "gpt-4o", 1000, 500, 1500),
            (
                '{"agentId": "agent-123", "customerId": "customer-456", "indicator": "email-sent", "amount": 0.0075, "inputToken": 1000, '
                '"outputToken": 500, "model": "gpt-4o", "serviceProvider": "OpenAI"}'
            ),
        ),
    ],
)
def test_requests_equal_the_originals(server, usage, body):
    client(server).send_usage("agent-123", "customer-456", "email-sent", usage)
    (request,) = server.requests
    assert request.wire[:3] == ("POST", "/api/v1/usage", {"content-type": "application/json", "paygent-api-key": "KEY"})
    sent, golden = request.json, json.loads(body)
    assert list(sent) == list(golden)
    assert sent.pop("amount") == pytest.approx(golden.pop("amount"), rel=1e-12)
    assert sent == golden


@pytest.mark.parametrize(
    ("model", "texts", "counts"),
    [
        # The original's counts.
        ("gpt-4", TEXTS, [13, 28]),
        ("claude-3-sonnet", ("Hello, how are you?", "I'm doing well, thank you for asking!"), [6, 10]),
        ("an unknown model", ("Hello, how are you?", ""), [6, 0]),
    ],
)
def test_texts_are_counted_locally_and_not_sent(server, model, texts, counts):
    client(server).send_usage_with_token_string("a", "c", "i", UsageDataWithStrings("OpenAI", model, *texts))
    (request,) = server.requests
    assert [request.json["inputToken"], request.json["outputToken"]] == counts
    assert not [text for text in texts if text and text.encode() in request.body]


def test_special_tokens_in_texts_are_counted_as_text(server):
    client(server).send_usage_with_token_string("a", "c", "i", UsageDataWithStrings("OpenAI", "gpt-4", "<|endoftext|>", ""))
    assert (server.requests[0].json["inputToken"], server.requests[0].json["outputToken"]) == (7, 0)


@pytest.mark.parametrize(
    ("model", "amount"),
    [
        ("gpt-4o", 0.0025 + 0.01),
        ("gpt-4", 0.03 + 0.06),
        ("claude-3-opus", 0.015 + 0.075),
        # The original bills these per 1,000 tokens at the price of 1,000,000.
        ("Mistral Large", 0.002 + 0.006),
        ("Amazon Nova Pro", 0.0008 + 0.0032),
        ("Gemini 2.5 Flash Preview", 0.0003 + 0.0025),
        # From the catalog; the original does not know the model.
        ("claude-sonnet-4-5", 0.003 + 0.015),
        ("an unknown model", 0.0001 + 0.0001),
    ],
)
def test_a_thousand_tokens_of_each_cost(server, model, amount, caplog):
    with caplog.at_level(logging.WARNING, "paygent_sdk"):
        client(server).send_usage("a", "c", "i", UsageData(model=model, prompt_tokens=1000, completion_tokens=1000))
    assert server.requests[0].json["amount"] == pytest.approx(amount, rel=1e-9)
    assert bool(caplog.records) == ("unknown" in model)


def test_all_constants_and_all_but_eight_prices_equal_the_originals():
    theirs = json.loads((Path(__file__).parent / "seeds" / "paygent_constants.json").read_text())
    for kind, names in theirs["constants"].items():
        assert {name: getattr(getattr(paygent_sdk, kind), name) for name in names} == names
    prices = theirs["MODEL_PRICING_per_1000_tokens"]
    ours = {model: (MODEL_PRICING[model].prompt_tokens_cost, MODEL_PRICING[model].completion_tokens_cost) for model in prices}
    corrected = {model: tuple(price) for model, price in prices.items() if ours[model] != tuple(price)}
    assert (len(prices), len(corrected)) == (103, 8)
    for model, (prompt, completion) in corrected.items():
        assert ours[model] == pytest.approx((prompt / 1000, completion / 1000))


def test_constants_equal_the_originals():
    assert paygent_sdk.models.MODEL_PRICING is MODEL_PRICING
    assert len(MODEL_PRICING) == 103 + 23
    assert (paygent_sdk.OpenAIModels.GPT_5, paygent_sdk.AnthropicModels.SONNET_4_5) == ("gpt-5", "Sonnet 4.5")
    assert paygent_sdk.ServiceProvider.GOOGLE_DEEPMIND == "Google DeepMind"
    assert paygent_sdk.is_model_supported(paygent_sdk.OpenAIModels.GPT_5)
    assert not paygent_sdk.is_model_supported("nothing")
    for kind in ("OpenAI", "Anthropic", "GoogleDeepMind", "Meta", "AWS", "MistralAI", "Cohere", "DeepSeek"):
        names = {name: value for name, value in vars(getattr(paygent_sdk, f"{kind}Models")).items() if name.isupper()}
        assert names and {*names.values()} <= MODEL_PRICING.keys()
    assert max(price.completion_tokens_cost for price in MODEL_PRICING.values()) < 1


@pytest.mark.parametrize(
    ("answer", "kind"), [((401, {}), requests.HTTPError), ((500, ""), requests.HTTPError), ((304, ""), requests.HTTPError)]
)
def test_an_error_response_raises(server, answer, kind):
    server.answers = [answer]
    with pytest.raises(kind) as caught:
        client(server).send_usage("a", "c", "i", UsageData("", "gpt-4o", 1, 0))
    assert caught.value.response.status_code == answer[0]
    assert "KEY" not in str(caught.value)


def test_invalid_arguments_are_rejected_locally(server):
    with pytest.raises(requests.ConnectionError):
        Client("k", "http://127.0.0.1:1").send_usage("a", "c", "i", UsageData("", "m", 0, 0))
    for arguments, message in (
        (("", "c", "i", UsageData("", "m", 0, 0)), "agent_id"),
        (("a", None, "i", UsageData("", "m", 0, 0)), "customer_id"),
        (("a", "c", "", UsageData("", "m", 0, 0)), "indicator"),
        (("a", "c", "i", UsageData("", "m", -1, 0)), "prompt_tokens"),
        (("a", "c", "i", UsageData("", "m", 0, "2")), "Failed to calculate cost: completion_tokens"),
        (("a", "c", "i", None), "prompt_tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            client(server).send_usage(*arguments)
    assert server.requests == []


def test_a_forgotten_count_is_an_error_like_in_the_original():
    with pytest.raises(TypeError, match="missing completion_tokens"):
        UsageData(model="gpt-4o", prompt_tokens=100)
    with pytest.raises(TypeError, match="missing model, prompt_tokens, completion_tokens"):
        v1.UsageData("OpenAI")
    assert UsageData(model="gpt-4o", prompt_tokens=100, completion_tokens=20).total_tokens == 120


def test_a_version_can_be_chosen(run):
    run(
        """
        from taximeter import compat
        compat.install("paygent_sdk", version="1")
        import paygent_sdk
        from paygent_sdk.models import MODEL_PRICING, OpenAIModels
        assert not hasattr(paygent_sdk, "init") and not hasattr(paygent_sdk.Client, "send_usage_v2")
        assert MODEL_PRICING[OpenAIModels.GPT_5].prompt_tokens_cost == 0.00125
        compat.install("paygent_sdk", version="1.0.0")
        for wrong in ({"version": "4"}, {}):
            try:
                compat.install("paygent_sdk", **wrong)
            except RuntimeError as error:
                assert "already imported" in str(error)
            else:
                raise AssertionError(wrong)
        for name, version in (("paygent_sdk", "2"), ("teer", "1")):
            try:
                compat.install(name, version=version)
            except ValueError as error:
                assert "has no version" in str(error)
            else:
                raise AssertionError(name)
        """
    )


def test_the_path_of_the_url_is_kept_and_the_default_is_encrypted(server):
    Client.new_client_with_url("k", f"{server.url}/proxy/").send_usage("a", "c", "i", UsageData("", "m", 0, 0))
    assert server.requests[0].path == "/proxy/api/v1/usage"
    assert Client.new_client("k").base_url.startswith("https://")
    assert "k-canary" not in repr(vars(Client("k-canary")))


def test_events_for_the_ledger_are_in_it(state, server):
    taximeter.init(instrument=False, state_dir=state)
    usage = UsageData("OpenAI", "gpt-4o", 1000, 500, 1500)
    client(server, destination="ledger").send_usage("agent", "customer", "chat", usage)
    assert server.requests == []
    client(server, destination=("paygent", "ledger")).send_usage("agent", "customer", "chat", usage)
    assert len(server.requests) == 1
    taximeter.flush()
    first, second = taximeter.Ledger(state / "ledger.db").events()
    assert (first["agent"], first["customer"], first["feature"], first["provider"]) == ("agent", "customer", "chat", "openai")
    assert (first["cost_usd"], first["cost_status"], second["usage"]["output_tokens"]) == ("0.0075", "reported", 500)
    taximeter.close()


def test_requests_of_paygent_1_equal_the_originals(server, state):
    """Run in the environment that has paygent-sdk 1.0.0."""
    python = ROOT / ".venv-paygent" / "bin" / "python"
    assert python.exists(), "this test needs `make environments`"
    script = """
import sys
from paygent_sdk import Client, UsageData, UsageDataWithStrings, OpenAIModels, AnthropicModels
client = Client("KEY", sys.argv[1])
client.set_log_level(50)
for provider, model in (("OpenAI", OpenAIModels.GPT_4O), ("Anthropic", AnthropicModels.SONNET_4_5), ("", "unknown")):
    client.send_usage("agent", "customer", "ind", UsageData(provider, model, 1234, 567, 1801))
client.session.close() if hasattr(client, "session") else None
"""
    theirs = VendorServer()
    with theirs:
        subprocess.run([python, "-c", script, theirs.url], check=True, timeout=300, cwd=state.parent)
    ours = "from taximeter import compat; compat.install('paygent_sdk')\n" + script
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state)}
    subprocess.run([sys.executable, "-c", ours, server.url], check=True, timeout=300, cwd=state.parent, env=environment)
    assert len(server.requests) == 3
    for one, other in zip(theirs.requests, server.requests, strict=True):
        assert one.wire[:3] == other.wire[:3]
        sent = [one.json, other.json]
        amounts = [body.pop("amount") for body in sent]
        assert amounts[0] == pytest.approx(amounts[1], rel=1e-12)
        assert json.dumps(sent[0]) == json.dumps(sent[1])
