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
from conftest import ROOT, wait_for
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
        client(server).send_usage("a", "c", "i", UsageData(model="gpt-4o", prompt_tokens=1))
    assert caught.value.response.status_code == answer[0]
    assert "KEY" not in str(caught.value)


def test_invalid_arguments_are_rejected_locally(server):
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


def test_the_path_of_the_url_is_kept_and_the_default_is_encrypted(server):
    Client.new_client_with_url("k", f"{server.url}/proxy/").send_usage("a", "c", "i", UsageData(model="m"))
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


def recorded(server) -> list[tuple[str, dict[str, str], str]]:
    """Return all requests in a fixed order, because threads may send them in any order."""
    return sorted((request.path, request.wire[2], json.dumps(request.json)) for request in server.requests)


CALLS_OF_4 = {
    "usage": lambda module, client: client.send_usage_v2("agent", "customer", "ind", module.RawUsageData("OpenAI", "gpt-4o", 100, 50)),
    "usage with all fields": lambda module, client: client.send_usage_v2(
        "a", "c", "i",
        module.RawUsageData("p", "m", 1, 2, 3, 1.5, 42, "pl", 2.5, "4k", False, {"schemaVersion": 1}, {"t": "v", "u": "w"}), {"t": "x"},
    ),
    "usage without an indicator": lambda module, client: client.send_usage_v2("a", "c", module.RawUsageData("p", "m", 0, None)),
    "usage with invalid tags": lambda module, client: client.send_usage_v2(
        "a", "c", "i", module.RawUsageData("p", "m", 1, 2), {"no good": "key"}
    ),
    "video": lambda module, client: client.send_usage_video("a", "c", "i", module.VideoUsageData("OpenAI", "sora-2", 2.5, None, "4k", False)),
    "video without length": lambda module, client: client.send_usage_video("a", "c", "i", module.VideoUsageData("OpenAI", "sora-2", 0)),
    "indicator": lambda module, client: client.send_indicator(" agent ", "customer", "email-sent", {"env": "prod", "n": 1}),
    "no indicator": lambda module, client: client.send_indicator("agent", "customer", " "),
    "customer": lambda module, client: client.create_or_get_customer(
        module.CustomerCreateOrGetRequest("Acme", "customer-456", "a@b.c", "w", "1", "l1", "l2", "ci", "st", "z", "co")
    ),
    "customer by id": lambda module, client: client.create_or_get_customer(module.CustomerCreateOrGetRequest(name="", external_id="c")),
    "no customer": lambda module, client: client.create_or_get_customer(None),
    "cost": lambda module, client: client.send_external_cost(
        "my-agent", "c", "telephony", module.ExternalCostData("inbound_call", "telephony_cost", {"duration_minutes": 2.5}, {"a": "b"})
    ),
    "cost without an indicator": lambda module, client: client.send_external_cost("a", "c", module.ExternalBillingData("n", "e")),
    "usage without an agent": lambda module, client: client.send_usage_v2("", "c", "i", module.RawUsageData("p", "m", 1, 2)),
    "no usage": lambda module, client: client.send_usage_v2("a", "c", "i"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS_OF_4)
def test_requests_of_paygent_4_equal_the_originals(outboxes, name):
    original = pytest.importorskip("paygent_sdk")
    answers, requests_of = [], []
    for module in (original, paygent_sdk):
        with VendorServer() as server:
            client = module.Client("KEY")
            client.base_url = server.url
            answers.append(CALLS_OF_4[name](module, client))
            if module is original:
                client._executor.shutdown(wait=True)
                client.session.close()
            else:
                assert client.flush(10)
            requests_of.append(recorded(server))
    assert requests_of[0] == requests_of[1]
    theirs, ours = answers
    assert (vars(theirs) if hasattr(theirs, "id") else repr(theirs)) == (vars(ours) if hasattr(ours, "id") else repr(ours))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "c", "i", "cost"), "agent_id"), (("a", " ", "i", "cost"), "customer_id"), (("a", "c", "i", None), "cost_data"),
        (("a", "c", "i", paygent_sdk.ExternalCostData("", "e")), "cost_data.name"),
        (("a", "c", "i", paygent_sdk.ExternalCostData("n", " ")), "cost_data.external_cost_id"),
    ],
)  # fmt: skip
def test_an_incomplete_cost_is_rejected_like_by_the_original(server, arguments, message):
    with pytest.raises(ValueError, match=f"send_external_cost: {message} is required"):
        client(server).send_external_cost(*arguments)


def test_a_customer_is_created_once_before_the_first_billing(outboxes, server):
    ours = client(server)
    for _ in range(3):
        ours.send_indicator("agent", "customer", "email-sent")
    assert ours.flush(10)
    assert [request.path for request in server.requests].count("/api/v1/customers/create-or-get") == 1
    assert server.requests[0].path == "/api/v1/customers/create-or-get"


def test_billing_survives_a_customer_that_cannot_be_created(outboxes, server):
    server.answers = [(503, ""), (400, "no such customer"), (200, {})]
    ours = client(server)
    ours.send_indicator("agent", "customer", "email-sent")
    # A flush ends with a rejection; the next one tries again.
    wait_for(lambda: ours.flush(10))
    assert [request.path.rpartition("/")[2] for request in server.requests] == ["create-or-get", "create-or-get", "revenue"]


PATCHED = """
    import sys
    if {ours}:
        from taximeter import compat
        compat.install("paygent_sdk")
    import paygent_sdk, openai
    client = paygent_sdk.init("KEY")
    assert paygent_sdk.init("KEY") is client
    client.base_url = sys.argv[1]
    gpt = openai.OpenAI(api_key="k", base_url=sys.argv[2] + "/v1")
    whose = dict(paygent_agent_id="my-agent-123", paygent_customer_id="customer-456", paygent_indicator="chat-interaction")
    question = [dict(role="user", content="a secret question")]
    gpt.chat.completions.create(model="gpt-4o", messages=question, **whose)
    gpt.chat.completions.create(model="gpt-4o", messages=question)
    paygent_sdk.send_indicator("a", "customer-456", "i")
    client.flush(10) if {ours} else client._executor.shutdown(wait=True)
"""


def test_clients_calls_are_reported_like_by_the_original(run, server, provider):
    run(PATCHED.format(ours=False), server.url, provider.url)
    theirs, server.requests[:] = recorded(server), []
    run(PATCHED.format(ours=True), server.url, provider.url)
    # The original creates the customer before every request.
    once = [request for number, request in enumerate(theirs) if request not in theirs[:number]]
    assert recorded(server) == once
    assert len(once) == 3


def test_all_calls_are_reported_and_no_keyword_reaches_a_client(run, server, provider, state):
    run(
        """
        import sys, openai, anthropic, taximeter
        from taximeter.compat import paygent_sdk
        paygent_sdk.init("KEY", sys.argv[1], destination=("paygent", "ledger"))
        gpt = openai.OpenAI(api_key="k", base_url=sys.argv[2] + "/v1")
        claude = anthropic.Anthropic(api_key="k", base_url=sys.argv[2])
        whose = dict(paygent_agent_id="a", paygent_customer_id="c", paygent_plan="pro", paygent_meta_tags={"t": "v"})
        question = [dict(role="user", content="a secret question")]
        list(gpt.chat.completions.create(model="gpt-4o", messages=question, stream=True, stream_options={"include_usage": True}, **whose))
        gpt.responses.create(model="gpt-4o", input="a secret question", **whose)
        gpt.embeddings.create(model="text-embedding-3-small", input="x", **whose)
        with claude.messages.stream(model="claude-sonnet-4-5", max_tokens=9, messages=question, **whose) as stream:
            stream.get_final_message()
        """,
        server.url, provider.url,
    )  # fmt: skip
    bodies = [request.json for request in server.requests if request.path == "/api/v2/usage"]
    assert len(bodies) == 4 and "secret" not in str(bodies) and "paygent" not in str(provider.requests)
    assert {(body["customerId"], body["rawUsage"]["plan"], body["metaTags"]["t"]) for body in bodies} == {("c", "pro", "v")}
    by_provider = {body["rawUsage"]["provider"]: body["rawUsage"] for body in bodies}
    # Cached tokens are reported, and included in the input tokens.
    assert by_provider["Anthropic"]["inputTokens"] > by_provider["Anthropic"]["cachedTokens"] > 0
    events = list(taximeter.Ledger(state / "ledger.db").events())
    assert {(event["agent"], event["customer"], event["tags"]["t"]) for event in events} == {("a", "c", "v")}
    assert len(events) == 4


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
        subprocess.run([python, "-c", script, theirs.url], check=True, timeout=60, cwd=state.parent)
    ours = "from taximeter import compat; compat.install('paygent_sdk')\n" + script
    environment = {**os.environ, "TAXIMETER_STATE_DIR": str(state)}
    subprocess.run([sys.executable, "-c", ours, server.url], check=True, timeout=60, cwd=state.parent, env=environment)
    assert len(server.requests) == 3
    for one, other in zip(theirs.requests, server.requests, strict=True):
        assert one.wire[:3] == other.wire[:3]
        sent = [one.json, other.json]
        amounts = [body.pop("amount") for body in sent]
        assert amounts[0] == pytest.approx(amounts[1], rel=1e-12)
        assert json.dumps(sent[0]) == json.dumps(sent[1])
