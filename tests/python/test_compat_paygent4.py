"""The interface of `paygent-sdk` 4.9.7, compared with the original."""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Iterator
from types import SimpleNamespace

import anthropic
import openai
import pytest
import requests
from google import genai
from mistralai.client import Mistral

import taximeter
from conftest import wait_for
from fake_families import FakeFamilies
from taximeter.compat import paygent_sdk
from taximeter.compat.paygent_sdk import v4
from vendor import VendorServer

original = pytest.importorskip("paygent_sdk")


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer() as server:
        yield server


def client(server, **more):
    return v4.Client("KEY", server.url, **more)


def test_every_name_of_the_original_is_here():
    wrappers = importlib.import_module("paygent_sdk.wrappers")
    assert {*wrappers.__all__} <= {*v4.wrappers.__all__}
    for module in (v4, paygent_sdk):
        assert {*original.__all__} <= {*module.__all__}
        assert all(hasattr(module, name) for name in original.__all__)


def test_constants_have_the_originals_values():
    theirs = importlib.import_module("paygent_sdk.constants")
    classes = {name: kind for name, kind in vars(theirs).items() if isinstance(kind, type)}
    assert len(classes) > 60
    for name, kind in classes.items():
        values = {key: value for key, value in vars(kind).items() if key.isupper()}
        ours = getattr(v4.constants, name)
        assert {key: getattr(ours, key, None) for key in values} == values, name
    assert v4.is_model_supported("anything") and not paygent_sdk.is_model_supported("anything")


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
SPEECH = {"serviceProvider": " deepgram ", "model": "nova-2", "plan": "pro", "audioDuration": 1.5, "characterCount": 42}
STS = {
    "schemaVersion": 1,
    "input": {"audio": {"tokens": 5, "minutes": 0.5}, "image": {"tokens": 3}},
    "output": {"text": {"tokens": 2}},
}
BATCH = {
    "response": {
        "modelVersion": "models/gemini-2.5-pro",
        "usageMetadata": {
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}, {"modality": "NEW", "tokenCount": 1}, {"modality": "AUDIO", "tokenCount": 2}],
            "toolUsePromptTokenCount": 4, "candidatesTokenCount": 10, "thoughtsTokenCount": 20,
        },
    }
}  # fmt: skip
LIVE = SimpleNamespace(
    prompt_tokens_details=[SimpleNamespace(modality=SimpleNamespace(name="TEXT"), token_count=5), {"modality": "DOCUMENT", "tokenCount": 2}],
    response_tokens_details=None, response_token_count=9, cached_content_token_count=3, tool_use_prompt_token_count=1,
)  # fmt: skip
REALTIME = {
    "type": "response.done",
    "response": {
        "usage": {
            "input_tokens": 30, "output_tokens": 12,
            "input_token_details": {"text_tokens": 20, "audio_tokens": 10, "cached_tokens": 8, "cached_tokens_details": {"text_tokens": 6, "audio_tokens": 2}},
            "output_token_details": {"text_tokens": 2, "audio_tokens": 10},
        }
    },
}  # fmt: skip
METRICS = SimpleNamespace(
    label="livekit.plugins.openai.realtime",
    input_token_details=SimpleNamespace(text_tokens=1, audio_tokens=2, image_tokens=0, cached_tokens=3, cached_tokens_details=None),
    output_token_details=SimpleNamespace(text_tokens=4, audio_tokens=5),
)
BY_SPEECH = {
    "session": lambda module, client: client.initialize_voice_session(" s ", "agent", "customer", {"env": "prod"}),
    "speech to text": lambda module, client: client.track_voice_stt("s", {**SPEECH, "language": " en "}),
    "no speech": lambda module, client: client.track_voice_stt("s", {**SPEECH, "audioDuration": 0}),
    "no mapping": lambda module, client: client.track_voice_tts("s", 5),
    "a model": lambda module, client: client.track_voice_llm("s", {**SPEECH, "promptTokens": 10, "completionTokens": 2, "cachedTokens": 4}),
    "text to speech": lambda module, client: client.track_voice_tts("s", SPEECH),
    "speech to speech": lambda module, client: client.track_voice_sts("s", STS, service_provider="openai", model="m"),
    "a connection": lambda module, client: client.track_voice_sts_connection("s", 2.5, service_provider="hume", model="evi"),
    "google": lambda module, client: client.track_google_sts(LIVE, "s", "gemini-live"),
    "openai": lambda module, client: client.track_openai_sts({"payload": REALTIME}, "s", "gpt-realtime"),
    "openai's other event": lambda module, client: client.track_openai_sts({"type": "response.created"}, "s", "gpt-realtime"),
    "livekit": lambda module, client: client.track_livekit_sts(METRICS, "s"),
    "indicator": lambda module, client: client.set_voice_indicator("s", " call ", 60),
    "indicators": lambda module, client: client.set_additional_voice_indicator("s", ["a", "b"], 1.5),
    "speech without a session": lambda module, client: client.track_stt("a", "c", "i", SPEECH),
    "speech without an indicator": lambda module, client: client.track_tts("a", "c", SPEECH),
    "speech for speech": lambda module, client: client.track_sts("a", "c", "i", STS, service_provider="openai", model="m"),
    "as a class": lambda module, client: client.track_sts(
        "a", "c", module.SpeechToSpeechUsageMetadata(cached=module.StsCachedBreakdown(legacy_tokens=3), connection_minutes=1.5),
        service_provider="openai", model="m",
    ),
    "stt data": lambda module, client: module.send_stt_usage(client, "a", "c", module.SttUsageData("p", "m", 1.5, "pro")),
    "tts data": lambda module, client: client.send_tts_usage("a", "c", module.TtsUsageData("p", "m", 42)),
    "batch": lambda module, client: module.send_batch_usage(client, "a", "c", "i", BATCH),
    "batches": lambda module, client: client.send_batch_usage_bulk("a", "c", "i", [BATCH, {}, BATCH["response"]], customer_name="Acme", plan="pro"),
}  # fmt: skip
BY_USAGE = {
    "usage": lambda module, client: client.send_usage("a", "c", "i", module.UsageData("OpenAI", "gpt-4o", 100, 50, 150, 20, "pro"), {"t": "v"}),
    "without an indicator": lambda module, client: client.send_usage("a", "c", usage_data=module.UsageData("OpenAI", "gpt-4o", 100, 50, 150)),
    "in place of the indicator": lambda module, client: client.send_usage("a", "c", module.UsageData("OpenAI", "gpt-4o", 100, 50, 150)),
    "an empty indicator": lambda module, client: client.send_usage("a", "c", "", module.UsageData("OpenAI", "gpt-4o", 0, 0, 0)),
    "no agent": lambda module, client: client.send_usage("", "c", "i", module.UsageData("OpenAI", "gpt-4o", 1, 1, 2)),
    "no customer": lambda module, client: client.send_usage("a", None, "i", module.UsageData("OpenAI", "gpt-4o", 1, 1, 2)),
    "no usage": lambda module, client: client.send_usage("a", "c", "i"),
    "texts": lambda module, client: client.send_usage_with_token_string(
        "a", "c", usage_data=module.UsageDataWithStrings("OpenAI", "gpt-4o", "", "", "pro")
    ),
}  # fmt: skip
ALL_CALLS = {
    **CALLS_OF_4,
    **{f"send_usage: {name}": call for name, call in BY_USAGE.items()},
    **{f"speech: {name}": call for name, call in BY_SPEECH.items()},
}


@pytest.mark.parametrize("name", ALL_CALLS)
def test_requests_equal_the_originals(outboxes, name):
    answers, requests_of = [], []
    for module in (original, v4):
        with VendorServer() as server:
            client = module.Client("KEY")
            client.base_url = server.url
            answers.append(ALL_CALLS[name](module, client))
            if module is original:
                client._executor.shutdown(wait=True)
                client.session.close()
            else:
                assert client.flush(60)
            requests_of.append(recorded(server))
    assert requests_of[0] == requests_of[1]
    theirs, ours = answers
    assert (vars(theirs) if hasattr(theirs, "id") else repr(theirs)) == (vars(ours) if hasattr(ours, "id") else repr(ours))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "c", "i", "cost"), "agent_id"), (("a", " ", "i", "cost"), "customer_id"), (("a", "c", "i", None), "cost_data"),
        (("a", "c", "i", v4.ExternalCostData("", "e")), "cost_data.name"),
        (("a", "c", "i", v4.ExternalCostData("n", " ")), "cost_data.external_cost_id"),
    ],
)  # fmt: skip
def test_an_incomplete_cost_is_rejected_like_by_the_original(server, arguments, message):
    with pytest.raises(ValueError, match=f"send_external_cost: {message} is required"):
        client(server).send_external_cost(*arguments)


def test_a_customer_is_created_once_before_the_first_billing(outboxes, server):
    ours = client(server)
    for _ in range(3):
        ours.send_indicator("agent", "customer", "email-sent")
    assert ours.flush(60)
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
        compat.install("paygent_sdk", version="4")
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


QUESTION = [{"role": "user", "content": "a secret question"}]
WHOSE = {"indicator": "chat", "external_agent_id": "agent", "external_customer_id": "customer"}


def wrapped(url):
    """Return a wrapper of each family, and a call of it."""
    gpt = openai.OpenAI(api_key="k", base_url=f"{url}/v1")
    return {
        "openai chat": ("PaygentOpenAI", gpt, lambda one: one.chat.completions.create(model="gpt-4o", messages=QUESTION, **WHOSE)),
        "openai embeddings": (
            "PaygentOpenAI", gpt, lambda one: one.embeddings.create(model="text-embedding-3-small", input=["a secret"], **WHOSE)
        ),
        "anthropic": (
            "PaygentAnthropic",
            anthropic.Anthropic(api_key="k", base_url=url),
            lambda one: one.messages.create(
                model="claude-new", max_tokens=9, messages=QUESTION, external_customer_name="Acme", **WHOSE
            ),
        ),
        "mistral": ("PaygentMistral", Mistral(api_key="k", server_url=url), lambda one: one.chat.complete(model="mistral-large", messages=QUESTION, **WHOSE)),
        "gemini": (
            "PaygentGemini",
            genai.Client(api_key="k", http_options={"base_url": url}),
            lambda one: one.models.generate_content(model="gemini-2.5-pro", contents="a secret question", **WHOSE),
        ),
    }  # fmt: skip


@pytest.fixture
def families() -> Iterator[FakeFamilies]:
    with FakeFamilies() as server:
        yield server


@pytest.mark.parametrize("family", wrapped("http://127.0.0.1:1"))
def test_wrapped_calls_are_reported_like_by_the_original(outboxes, families, monkeypatch, family):
    # The original imports `Mistral` from the package, where newer releases do not have it.
    monkeypatch.setattr("mistralai.Mistral", Mistral, raising=False)
    name, inner, call = wrapped(families.url)[family]
    answers, reports = [], []
    for module in (original, v4):
        with VendorServer() as server:
            reporter = module.Client("KEY")
            reporter.base_url = server.url
            answers.append(call(getattr(module, name)(inner, reporter)))
            if module is original:
                reporter._executor.shutdown(wait=True)
                reporter.session.close()
            else:
                assert reporter.flush(60)
            reports.append(recorded(server))
    assert type(answers[0]) is type(answers[1])
    usage = [json.loads(body) for path, _, body in reports[1] if path == "/api/v2/usage"]
    if family == "gemini":
        # The original leaves thinking and cached tokens out.
        theirs = json.loads(reports[0][1][2])["rawUsage"]
        counts = usage[0]["rawUsage"]
        meta = answers[1].usage_metadata
        assert counts["outputTokens"] == theirs["outputTokens"] + (meta.thoughts_token_count or 0)
        assert counts["inputTokens"] == theirs["inputTokens"]
    else:
        assert reports[0] == reports[1]
    assert len(usage) == 1 and "secret" not in str(reports[1])


def test_a_stand_in_is_reported_and_texts_are_counted(outboxes, server):
    """As in a program's tests, or around a proxy: the wrapped object is not a client that can be metered."""
    answer = SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content="an answer"))], usage=None)
    stand_in = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=lambda **_: answer)))
    reporter = client(server, destination=("paygent", "ledger"))
    wrapper = v4.PaygentOpenAI(stand_in, reporter)
    assert wrapper.chat.completions.create(model="gpt-4o", messages="a secret question", **WHOSE) is answer
    assert wrapper.chat.completions.create(model="gpt-4o", messages=object(), **{**WHOSE, "external_agent_id": ""}) is answer
    assert reporter.flush(60)
    (usage,) = [request.json for request in server.requests if request.path == "/api/v2/usage"]
    assert usage["rawUsage"] | {"plan": ""} == {
        "provider": "OpenAI",
        "model": "gpt-4o",
        "plan": "",
        "inputTokens": 3,
        "outputTokens": 2,
    }
    taximeter.flush()
    (event,) = taximeter.Ledger(outboxes / "ledger.db").events()
    assert (event["agent"], event["customer"], event["feature"], event["provider"]) == ("agent", "customer", "chat", "openai")


async def test_a_metered_call_is_one_row_with_the_wrappers_attribution(outboxes, server, provider):
    taximeter.init(state_dir=outboxes)
    reporter = client(server, destination=("paygent", "ledger"))
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1") as gpt:
        answer = await v4.PaygentOpenAI(gpt, reporter).chat.completions.create(model="gpt-4o", messages=QUESTION, **WHOSE)
    assert answer.usage.prompt_tokens
    assert reporter.flush(60)
    taximeter.flush()
    (event,) = taximeter.Ledger(outboxes / "ledger.db").events()
    assert (event["agent"], event["customer"], event["feature"]) == ("agent", "customer", "chat")
    assert [request.path.rpartition("/")[2] for request in server.requests] == ["create-or-get", "usage"]
    taximeter.uninstrument()


def test_speech_is_in_the_ledger_and_a_failed_session_raises(outboxes, server):
    ours = client(server, destination=("paygent", "ledger"))
    ours.initialize_voice_session("s", "agent", "customer")
    ours.track_voice_sts("s", STS, service_provider="openai", model="gpt-realtime")
    ours.track_voice_llm("s", {"serviceProvider": "OpenAI", "model": "gpt-4o", "promptTokens": 1000, "completionTokens": 10})
    server.answers = [(404, "")]
    with pytest.raises(requests.HTTPError):
        ours.set_voice_indicator("s", "call", 60)
    server.answers = [(200, {})]
    assert client(server, background=True).set_voice_indicator("s", "call", 60) is None
    assert ours.flush(60)
    taximeter.flush()
    speech, text = sorted(taximeter.Ledger(outboxes / "ledger.db").events(), key=lambda event: event["model"], reverse=True)
    assert {(event["agent"], event["customer"], event["session"]) for event in (speech, text)} == {("agent", "customer", "s")}
    assert (speech["usage"]["input_tokens"], speech["usage"]["input_audio_tokens"], speech["usage"]["output_tokens"]) == (8, 5, 2)
    assert text["usage"]["input_tokens"] == 1000


class Session:
    """The events of a session of LiveKit."""

    def __init__(self):
        self._handlers = {}

    def on(self, event, handler=None):
        if handler is None:
            return lambda handler: self.on(event, handler)
        self._handlers.setdefault(event, []).append(handler)
        return handler

    def emit(self, event, *args):
        for handler in self._handlers.get(event, ()):
            handler(*args)


OF_LIVEKIT = {
    "a model": SimpleNamespace(type="llm_metrics", label="openai/gpt-4o", prompt_tokens=10, completion_tokens=2, prompt_cached_tokens=4),
    "a model's object": SimpleNamespace(type="llm_metrics", label=SimpleNamespace(model="gpt-4o"), input_tokens=10, output_tokens=2),
    "cached tokens in details": SimpleNamespace(
        prompt_tokens=10, completion_tokens=2, model="anthropic/claude-x", prompt_tokens_details=SimpleNamespace(cached_tokens=3)
    ),
    "nameless": SimpleNamespace(type="llm_metrics", prompt_tokens=1, completion_tokens=0),
    "speech to text": SimpleNamespace(type="stt_metrics", label="deepgram/nova-2", audio_duration=90.0),
    "speech to text, older": SimpleNamespace(audio_duration=30.0, label="nova"),
    "no speech": SimpleNamespace(type="stt_metrics", label="deepgram/nova-2", audio_duration=0.0),
    "text to speech": SimpleNamespace(type="tts_metrics", label="elevenlabs/turbo", characters_count=42),
    "text to speech, older": SimpleNamespace(audio_duration=3.0, playback_duration=3.0, label="x/y", text_length=7),
    "no characters": SimpleNamespace(type="tts_metrics", label="elevenlabs/turbo", characters_count=0),
    "speech to speech": SimpleNamespace(type="realtime_model_metrics", **vars(METRICS)),
    "another type": SimpleNamespace(type="vad_metrics", idle_time=1.0),
    "in an event": SimpleNamespace(metrics=SimpleNamespace(type="llm_metrics", label="openai/gpt-4o", prompt_tokens=3, completion_tokens=4)),
}  # fmt: skip


@pytest.mark.parametrize("has_configs", [False, True])
def test_a_session_of_livekit_is_reported_like_by_the_original(outboxes, has_configs):
    requests_of = []
    for module in (original, v4):
        names = ("LLM", "STT", "TTS", "STS")
        configs = {f"{one.lower()}_config": getattr(module.models, f"{one}Config")("m", "p", "pro") for one in names}
        with VendorServer() as server:
            reporter = module.Client("KEY")
            reporter.base_url = server.url
            hook = module.wrappers.LiveKitPaygentHook(
                reporter, "agent", "customer", "s", customer_name="Acme", additional_indicators=["a", "b"], meta_tags={"t": "v"},
                **(configs if has_configs else {}),
            )  # fmt: skip
            session = Session()
            hook.attach(session)
            for metrics in OF_LIVEKIT.values():
                session.emit("metrics_collected", metrics)
            session.emit("close")
            session.emit("shutdown")
            hook.end_session()
            if module is original:
                reporter._executor.shutdown(wait=True)
                reporter.session.close()
            else:
                assert reporter.flush(60)
            billed = [request.json["totalDuration"] for request in server.requests if "totalDuration" in request.json]
            # In minutes, for both requests that bill it.
            assert len(billed) == 2 and 0 < billed[0] == billed[1] < 5
            requests_of.append([(path, headers, body.replace(str(billed[0]), "?")) for path, headers, body in recorded(server)])
    assert requests_of[0] == requests_of[1]
    assert {path for path, _, _ in requests_of[1]} >= {
        f"/api/v1/voice/{one}" for one in ("session", "llm", "stt", "tts", "indicator")
    }


def test_a_session_of_livekit_ends_although_paygent_fails(outboxes, server, caplog):
    server.answers = [(404, "")]
    reporter, session = client(server), Session()
    v4.wrappers.LiveKitPaygentHook(reporter, "agent", "customer", "s").attach(session)
    for metrics in OF_LIVEKIT.values():
        session.emit("metrics_collected", metrics)
    session.emit("close")
    assert "the start of a session skipped: 404" in caplog.text and "KEY" not in caplog.text
    assert "/api/v1/voice/indicator" not in {request.path for request in server.requests}
    with pytest.raises(AttributeError):
        v4.wrappers.LiveKitPaygentHook(reporter, "agent", "customer", "s").attach(object())


OF_VAPI = {
    "plain": {"assistant_id": "x"},
    "with options": {
        "request_options": {"additional_headers": {"a": "b"}, "additional_body_parameters": {"metadata": {"own": 1}, "other": 2}, "timeout_in_seconds": 3},
        "assistant_overrides": {"metadata": {"mine": 1}, "first_message": "hi"},
    },
    "with keywords": {"paygent_agent_id": "other", "paygent_customer_id": "c2", "paygent_indicator": "i2", "paygent_meta_tags": {"u": "w", "t": "x"}},
    "with invalid tags": {"paygent_meta_tags": {"no good": "key"}},
}  # fmt: skip


@pytest.mark.parametrize("how", ["attach", "create_call"])
@pytest.mark.parametrize("case", OF_VAPI)
def test_a_call_of_vapi_has_the_originals_arguments(case, how):
    seen = []
    for module in (original, v4):
        vapi = SimpleNamespace(calls=SimpleNamespace(create=lambda **arguments: arguments))
        hook = module.wrappers.VapiPaygentHook(
            "agent", "customer", customer_name="Acme", llm_config=module.models.LLMConfig("m", "p"), meta_tags={"t": "v"}
        )
        given = copy.deepcopy(OF_VAPI[case])
        if how == "attach":
            hook.attach(vapi)
            seen.append(vapi.calls.create(**given))
        else:
            seen.append(hook.create_call(vapi, **given))
    assert seen[0] == seen[1]
    # The caller's own options are not changed.
    assert given == OF_VAPI[case]


def test_vapis_typed_options_and_other_objects():
    hook = v4.wrappers.VapiPaygentHook("agent", "customer")
    vapi = SimpleNamespace(calls=SimpleNamespace(create=lambda *_, **arguments: arguments))
    options = SimpleNamespace(additional_headers=None)
    assert hook.create_call(vapi, request_options=options)["request_options"] is options
    assert options.additional_body_parameters["metadata"]["paygent_agent_id"] == "agent"
    assert options.additional_headers == {"X-Paygent-From-SDK": "true"}
    assert hook.create_call(vapi, request_options=3)["request_options"] == 3
    with pytest.raises(RuntimeError, match=r"calls\.create"):
        hook.attach(object())


def test_langchains_callback_without_langchain_says_what_to_install(monkeypatch):
    module = importlib.import_module("taximeter.compat.paygent_sdk.v4.wrappers.langchain_wrapper")
    monkeypatch.setattr(module, "BaseCallbackHandler", None)
    with pytest.raises(ImportError, match="pip install langchain-core"):
        v4.PaygentLangChainCallback(None)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("PaygentOpenAI", lambda one, **more: one.chat.completions.create(messages=[], **more)),
        ("PaygentAnthropic", lambda one, **more: one.messages.create(messages=[], max_tokens=1, **more)),
        ("PaygentMistral", lambda one, **more: one.chat.complete(messages=[], **more)),
        ("PaygentGemini", lambda one, **more: one.models.generate_content(contents="", **more)),
    ],
)
def test_a_wrapper_names_the_keywords_that_are_missing(server, name, call):
    wrapper = getattr(v4, name)(SimpleNamespace(), client(server))
    with pytest.raises(TypeError, match="missing required keyword arguments: external_agent_id, external_customer_id$"):
        call(wrapper, model="m", indicator="i")
    with pytest.raises(TypeError, match="missing required keyword arguments: model$"):
        call(wrapper, **WHOSE)


def test_version_4_is_imported_under_the_original_names(run, server):
    run(
        """
        import sys
        from taximeter import compat
        compat.install("paygent_sdk", version="4.9.7")
        import paygent_sdk
        from paygent_sdk import Client, OpenAIModels, PaygentOpenAI, SttUsageData, UsageData
        from paygent_sdk.models import STTConfig
        from paygent_sdk.speech_to_speech_usage import build_hume_usage_metadata
        from paygent_sdk.wrappers.openai_wrapper import PaygentOpenAI as Same
        assert Same is PaygentOpenAI and build_hume_usage_metadata(1)["connection"] == {"minutes": 1.0}
        assert repr(STTConfig("m", "p")) == "STTConfig(model='m', provider='p', plan='default')"
        client = Client("KEY")
        client.base_url = sys.argv[1]
        client.send_usage("a", "c", "i", UsageData("OpenAI", OpenAIModels.GPT_4O, 1, 2, 3))
        assert client.flush(60)
        """,
        server.url,
    )
    assert [request.path for request in server.requests] == ["/api/v2/usage"]
