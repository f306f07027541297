"""`paygent-sdk` 1.0.0 as it is on the wire and to its callers. Its bodies are those that the original sent to a loopback server."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import requests

import taximeter
from taximeter.compat import paygent_sdk
from taximeter.compat.paygent_sdk import MODEL_PRICING, Client, UsageData, UsageDataWithStrings
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
def test_the_wire_is_the_originals(server, usage, body):
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
        # As the original counted them.
        ("gpt-4", TEXTS, [13, 28]),
        ("claude-3-sonnet", ("Hello, how are you?", "I'm doing well, thank you for asking!"), [6, 10]),
        ("a model of nobody's", ("Hello, how are you?", ""), [6, 0]),
    ],
)
def test_texts_are_counted_here_and_go_nowhere(server, model, texts, counts):
    client(server).send_usage_with_token_string("a", "c", "i", UsageDataWithStrings("OpenAI", model, *texts))
    (request,) = server.requests
    assert [request.json["inputToken"], request.json["outputToken"]] == counts
    assert not [text for text in texts if text and text.encode() in request.body]


def test_texts_that_look_like_special_tokens_are_texts(server):
    client(server).send_usage_with_token_string("a", "c", "i", UsageDataWithStrings("OpenAI", "gpt-4", "<|endoftext|>", ""))
    assert (server.requests[0].json["inputToken"], server.requests[0].json["outputToken"]) == (7, 0)


@pytest.mark.parametrize(
    ("model", "amount"),
    [
        ("gpt-4o", 0.0025 + 0.01),
        ("gpt-4", 0.03 + 0.06),
        ("claude-3-opus", 0.015 + 0.075),
        # The original bills these by the thousand at the price of a million.
        ("Mistral Large", 0.002 + 0.006),
        ("Amazon Nova Pro", 0.0008 + 0.0032),
        ("Gemini 2.5 Flash Preview", 0.0003 + 0.0025),
        # By the catalog, which knows what the original does not.
        ("claude-sonnet-4-5", 0.003 + 0.015),
        ("a model of nobody's", 0.0001 + 0.0001),
    ],
)
def test_a_thousand_tokens_of_each_cost(server, model, amount, caplog):
    with caplog.at_level(logging.WARNING, "paygent_sdk"):
        client(server).send_usage("a", "c", "i", UsageData(model=model, prompt_tokens=1000, completion_tokens=1000))
    assert server.requests[0].json["amount"] == pytest.approx(amount, rel=1e-9)
    assert bool(caplog.records) == ("nobody" in model)


def test_constants_are_those_of_the_original():
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
def test_an_answer_that_says_no_is_an_exception(server, answer, kind):
    server.answers = [answer]
    with pytest.raises(kind) as caught:
        client(server).send_usage("a", "c", "i", UsageData(model="gpt-4o", prompt_tokens=1))
    assert caught.value.response.status_code == answer[0]
    assert "KEY" not in str(caught.value)


def test_what_cannot_be_is_refused_here(server):
    with pytest.raises(requests.ConnectionError):
        Client("k", "http://127.0.0.1:1").send_usage("a", "c", "i", UsageData(model="m"))
    for arguments, message in (
        (("", "c", "i", UsageData(model="m")), "agent_id"),
        (("a", None, "i", UsageData(model="m")), "customer_id"),
        (("a", "c", None, UsageData(model="m")), "indicator"),
        (("a", "c", "i", UsageData(model="m", prompt_tokens=-1)), "prompt_tokens"),
        (("a", "c", "i", UsageData(model="m", completion_tokens="2")), "Failed to calculate cost: completion_tokens"),
        (("a", "c", "i", None), "prompt_tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            client(server).send_usage(*arguments)
    assert server.requests == []


def test_a_path_of_the_address_is_kept_and_the_default_is_encrypted(server):
    Client.new_client_with_url("k", f"{server.url}/proxy/").send_usage("a", "c", "i", UsageData(model="m"))
    assert server.requests[0].path == "/proxy/api/v1/usage"
    assert Client.new_client("k").base_url.startswith("https://")
    assert "k-canary" not in repr(vars(Client("k-canary")))


def test_the_ledger_has_what_was_sent_there(state, server):
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
