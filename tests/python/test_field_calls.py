"""Calls that trackers have been reported to miss, to count twice or to change. One test for each kind of report."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anthropic
import boto3
import cohere
import groq
import httpx2
import ollama
import openai
import pytest
import together
from botocore.config import Config
from google import genai
from mistralai.client import Mistral

import taximeter
from conftest import EXAMPLES, ROOT, events_of
from fake_families import FakeFamilies, Families, _aws
from taximeter import instrument

QUESTION = [{"role": "user", "content": "a secret question"}]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


class Refusing(Families):
    """Answers with the status that the model's name says, such as `refused-429`."""

    def answer(self, body: dict) -> None:
        told = re.search(r"refused-(\d+)", f"{self.path} {body}")
        if told is None:
            return super().answer(body)
        error = {"type": "error", "error": {"type": "e", "message": "no", "code": int(told[1])}, "message": "no"}
        return self._json(error, status=int(told[1]))


class FakeRefusing(FakeFamilies):
    handler = Refusing


@pytest.fixture
def refusing() -> Iterator[FakeFamilies]:
    with FakeRefusing() as server:
        yield server
        gc.collect()


@pytest.fixture
def closed() -> str:
    """Return a URL at which connections are refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def silent() -> Iterator[str]:
    """Yield a URL that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        SILENT.add(url)
        yield url


SILENT = set()


def patience(url):
    """Return the timeout of a client in seconds: short for the server that never answers."""
    return 0.2 if url in SILENT else 30


KEYS = {"aws_access_key_id": "k", "aws_secret_access_key": "k", "region_name": "us-east-1"}


def bedrock(url):
    config = Config(read_timeout=patience(url), retries={"total_max_attempts": 2, "mode": "standard"})
    return boto3.client("bedrock-runtime", endpoint_url=url, config=config, **KEYS)


def openai_client(url):
    return openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=1, timeout=patience(url))


def gemini(url):
    return genai.Client(api_key="k", http_options={"base_url": url, "timeout": int(patience(url) * 1000)})


def asked(model):
    return {"modelId": model, "messages": [{"role": "user", "content": [{"text": "a secret question"}]}]}


async def openai_async(url, model):
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0, timeout=patience(url)) as client:
        await client.chat.completions.create(model=model, messages=QUESTION)


async def gemini_async(url, model):
    return [part async for part in await gemini(url).aio.models.generate_content_stream(model=model, contents="q")]


def entered(manager):
    with manager as stream:
        return list(stream)


FAMILIES = {
    "openai": lambda url, model: openai_client(url).chat.completions.create(model=model, messages=QUESTION),
    "openai async": lambda url, model: asyncio.run(openai_async(url, model)),
    "openai raw": lambda url, model: openai_client(url).chat.completions.with_raw_response.create(model=model, messages=QUESTION),
    "openai stream": lambda url, model: list(openai_client(url).chat.completions.create(model=model, messages=QUESTION, stream=True)),
    "openai helper": lambda url, model: entered(openai_client(url).chat.completions.stream(model=model, messages=QUESTION)),
    "openai responses": lambda url, model: openai_client(url).responses.create(model=model, input="q"),
    "anthropic": lambda url, model: anthropic.Anthropic(
        api_key="k", base_url=url, max_retries=1, timeout=patience(url)
    ).messages.create(model=model, max_tokens=9, messages=QUESTION),
    "anthropic helper": lambda url, model: entered(
        anthropic.Anthropic(api_key="k", base_url=url, max_retries=1, timeout=patience(url)).messages.stream(
            model=model, max_tokens=9, messages=QUESTION
        )
    ),
    "groq": lambda url, model: groq.Groq(api_key="k", base_url=url, max_retries=0, timeout=patience(url)).chat.completions.create(
        model=model, messages=QUESTION
    ),
    "together": lambda url, model: together.Together(
        api_key="k", base_url=f"{url}/v1", max_retries=0, timeout=patience(url)
    ).chat.completions.create(model=model, messages=QUESTION),
    "gemini": lambda url, model: gemini(url).models.generate_content(model=model, contents="q"),
    "gemini stream": lambda url, model: list(gemini(url).models.generate_content_stream(model=model, contents="q")),
    "gemini async stream": lambda url, model: asyncio.run(gemini_async(url, model)),
    "mistralai": lambda url, model: Mistral(api_key="k", server_url=url, timeout_ms=int(patience(url) * 1000)).chat.complete(
        model=model, messages=QUESTION
    ),
    "mistralai stream": lambda url, model: entered(
        Mistral(api_key="k", server_url=url, timeout_ms=int(patience(url) * 1000)).chat.stream(model=model, messages=QUESTION)
    ),
    "cohere": lambda url, model: cohere.ClientV2(api_key="k", base_url=url, timeout=patience(url), max_retries=0).chat(
        model=model, messages=QUESTION
    ),
    "cohere stream": lambda url, model: list(
        cohere.ClientV2(api_key="k", base_url=url, timeout=patience(url), max_retries=0).chat_stream(model=model, messages=QUESTION)
    ),
    "ollama": lambda url, model: ollama.Client(host=url, timeout=patience(url)).chat(model=model, messages=QUESTION),
    "ollama stream": lambda url, model: list(
        ollama.Client(host=url, timeout=patience(url)).chat(model=model, messages=QUESTION, stream=True)
    ),
    "bedrock": lambda url, model: bedrock(url).converse(**asked(model)),
    "bedrock stream": lambda url, model: bedrock(url).converse_stream(**asked(model)),
    "bedrock invoke": lambda url, model: bedrock(url).invoke_model(modelId=model, body="{}"),
}


@pytest.mark.parametrize("case", FAMILIES)
def test_each_failed_call_is_one_event(case, metered, refusing, closed, silent):
    raised = []
    for url, model in (
        (refusing.url, "refused-400"), (refusing.url, "refused-429"), (refusing.url, "refused-500"), (closed, "no-port"),
        (silent, "no-answer"),
    ):  # fmt: skip
        with taximeter.attribute(team="callers"), pytest.raises(Exception) as caught:  # noqa: PT011 - each client has its own
            FAMILIES[case](url, model)
        raised.append((model, type(caught.value).__name__))
    events = events_of(metered)
    assert [(event["model"], event["error"]) for event in events] == raised
    for event in events:
        assert (event["status"], event["usage_status"], event["usage"], event["cost_usd"]) == ("error", "missing", {}, None)
        assert event["latency_ms"] > 0
        assert event["team"] == "callers"


def test_a_call_that_succeeds_after_retries_is_one_successful_event(metered, refusing):
    openai.OpenAI(api_key="k", base_url=f"{refusing.url}/v1").chat.completions.create(model="gpt-flaky", messages=QUESTION)
    (event,) = events_of(metered)
    assert event["status"] == "success"


def test_mistakes_of_the_caller_are_not_recorded(metered, refusing):
    with pytest.raises(TypeError):
        openai_client(refusing.url).chat.completions.create(model="gpt-4o")
    with pytest.raises(Exception, match="Parameter validation failed"):
        bedrock(refusing.url).converse(modelId="m", messages=7)
    with contextlib.suppress(openai.APIStatusError):
        openai_client(refusing.url).models.retrieve("refused-400")  # not metered
    metered.track(provider="p", model="last")
    assert [event["model"] for event in events_of(metered)] == ["last"]


def test_a_forked_child_does_not_record_its_copy_of_a_stream(metered, provider):
    client = openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1")
    stream = client.chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True, stream_options={"include_usage": True})
    next(stream)
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            stream.close()
            del stream
            gc.collect()
            metered.flush(10)
        os._exit(0)
    os.waitpid(child, 0)
    list(stream)
    (event,) = events_of(metered)
    assert event["usage_status"] == "complete"


class Throttling(Families):
    def _bedrock(self, path: str, body: dict) -> None:
        def messages() -> Iterator[bytes]:
            yield _aws("messageStart", {"role": "assistant"})
            yield _aws("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x"}})
            yield _aws("throttlingException", {"message": "slow down"}, kind=":exception-type", message="exception")

        self._stream(messages(), "claude", {}, "application/vnd.amazon.eventstream")


class FakeThrottling(FakeFamilies):
    handler = Throttling


def test_a_stream_that_bedrock_throttles_half_way_is_an_error(metered):
    with FakeThrottling() as server, pytest.raises(Exception, match="throttlingException") as caught:
        list(bedrock(server.url).converse_stream(**asked("claude"))["stream"])
    (event,) = events_of(metered)
    assert (event["status"], event["error"]) == ("error", type(caught.value).__name__)


def answers(usage, **headers):
    """Return an HTTP client whose requests go nowhere; each is answered with a chat completion."""
    message = {"role": "assistant", "content": "x"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [choice], "usage": usage}
    return httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, json=body)))


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.z.ai/api/paas/v4", "zai"),
        ("https://api.minimax.io/v1", "minimax"),
        ("https://api.minimaxi.com/v1", "minimax"),
        ("https://api.cohere.ai/compatibility/v1", "cohere"),
        ("https://router.huggingface.co/together/v1", "huggingface_together"),
        ("https://router.huggingface.co/v1", "huggingface"),
        ("https://api.novita.ai/v3/openai", "novita"),
        ("https://open.bigmodel.cn/api/paas/v4", "zhipuai"),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "dashscope"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "gcp.gemini"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://api.mistral.ai/v1", "mistral_ai"),
        ("https://mine.openai.azure.com/openai/v1", "azure.ai.openai"),
    ],
)
def test_the_provider_of_a_compatible_host_is_known_by_its_address(url, provider, metered):
    client = openai.OpenAI(
        api_key="k", base_url=url, http_client=answers({"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8})
    )
    client.chat.completions.create(model="m", messages=QUESTION)
    (event,) = events_of(metered)
    assert event["provider"] == provider
    assert "host_unknown" not in str(event.get("cost_notes"))


def test_an_unknown_host_is_noted_and_can_be_named_in_the_settings(state, monkeypatch):
    def doctor(code: int) -> str:
        command = [sys.executable, "-m", "taximeter", "doctor"]
        outcome = subprocess.run(command, cwd=state.parent, capture_output=True, text=True, timeout=300, check=False)
        assert outcome.returncode == code, outcome.stdout
        return outcome.stdout

    def called(**settings) -> dict:
        meter = taximeter.Meter(state_dir=state, **settings)
        meter.instrument()
        http = answers({"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8})
        client = openai.OpenAI(api_key="k", base_url="http://10.0.0.5:8000/v1", http_client=http)
        client.chat.completions.create(model="gpt-4o", messages=QUESTION)
        instrument.deactivate()
        event = events_of(meter)[-1]
        meter.close(5)
        return event

    unknown = called()
    assert (unknown["provider"], "host_unknown" in str(unknown["cost_notes"])) == ("openai", True)
    said = doctor(0)
    assert "10.0.0.5:8000 (priced as openai)" in said
    assert "say in taximeter.toml who answers: hosts = {" in said
    named = called(hosts={"10.0.0.5:8000": "vllm"})
    assert (named["provider"], "host_unknown" in str(named.get("cost_notes"))) == ("vllm", False)
    monkeypatch.setenv("TAXIMETER_HOSTS", "http://10.0.0.5:8000/v1=openai")
    gateway = called()
    assert (gateway["provider"], "host_unknown" in str(gateway.get("cost_notes"))) == ("openai", False)
    assert "10.0.0.5" not in doctor(0)
    with pytest.raises(taximeter.ConfigError, match="hosts: 'x' has no provider"):
        taximeter.Meter(hosts={"x": ""})


def test_streams_of_hosts_in_usage_hosts_are_asked_for_their_usage(state, provider):
    meter = taximeter.Meter(state_dir=state, usage_hosts=[provider.url])
    meter.instrument()
    client = openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1")
    call = {"model": "gpt-4o", "messages": QUESTION, "stream": True}
    asked = list(client.chat.completions.create(**call))
    # A caller that asks in `extra_body` gets the chunk.
    own = list(client.chat.completions.create(**call, extra_body={"stream_options": {"include_usage": True}}))
    told = list(client.chat.completions.create(**call, extra_body={"stream_options": {"include_obfuscation": False}}))
    instrument.deactivate()
    assert [len(chunks) for chunks in (asked, own, told)] == [6, 7, 6]
    assert own[-1].usage is not None
    assert [event["usage_status"] for event in events_of(meter)] == ["complete"] * 3
    meter.close(5)


def test_streams_of_openai_1_0_are_asked_for_their_usage(state, provider):
    text = """
import sys, taximeter
taximeter.init()
import openai
client = openai.OpenAI(api_key="k", base_url=sys.argv[1] + "/v1")
chunks = list(client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "q"}], stream=True))
assert len(chunks) == 6, chunks
taximeter.close()
"""
    path = os.pathsep.join(map(str, (ROOT / "python", EXAMPLES)))
    subprocess.run(
        [ROOT / ".venv-oldest" / "bin" / "python", "-c", text, provider.url],
        env={**os.environ, "PYTHONPATH": path, "TAXIMETER_STATE_DIR": str(state), "TAXIMETER_USAGE_HOSTS": provider.url},
        cwd=state.parent,
        timeout=120,
        check=True,
    )
    (event,) = taximeter.Ledger(state / "ledger.db").events()
    assert event["usage_status"] == "complete"


def test_a_batch_has_the_attribution_of_the_call_that_created_it(metered):
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [], "stop_reason": "end_turn",
        "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 5},
    }  # fmt: skip
    rows = [
        {"custom_id": f'row " {n}', "result": {"type": "succeeded", "message": {**message, "id": f"msg_{n}"}}} for n in (1, 2)
    ]  # fmt: skip
    batch = {
        "id": "msgbatch_own", "type": "message_batch", "processing_status": "ended", "results_url": "https://api.anthropic.com/v1/messages/"
        "batches/msgbatch_own/results", "created_at": "2026-11-22T00:00:00Z", "expires_at": "2026-11-23T00:00:00Z", "archived_at": None,
        "cancel_initiated_at": None, "ended_at": None,
        "request_counts": {"processing": 0, "succeeded": 2, "errored": 0, "canceled": 0, "expired": 0},
    }  # fmt: skip

    def answer(request):
        if request.url.path.endswith("results"):
            return httpx2.Response(200, content="".join(json.dumps(row) + "\n" for row in rows))
        return httpx2.Response(200, json=batch)

    client = anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=httpx2.MockTransport(answer)))
    client.messages.batches.create(requests=[], taximeter_team="maker")
    with taximeter.attribute(team="fetcher", feature="cron"):
        assert len(list(client.messages.batches.results("msgbatch_own"))) == 2
    told = [(event["team"], event["feature"], event["tags"], event["batch"]) for event in events_of(metered)]
    assert told == [("maker", "cron", {"custom_id": row["custom_id"]}, True) for row in rows]


def test_a_background_response_has_the_attribution_of_the_call_that_requested_it(metered):
    def answer(request):
        status, usage = ("queued", None) if request.method == "POST" else ("completed", {"input_tokens": 3, "output_tokens": 5})
        return httpx2.Response(200, json={"id": "resp_own", "model": "gpt-4o", "status": status, "background": True, "usage": usage})

    client = openai.OpenAI(api_key="k", http_client=httpx2.Client(transport=httpx2.MockTransport(answer)))
    with taximeter.attribute(team="maker"):
        client.responses.create(model="gpt-4o", input="q", background=True)
    with taximeter.attribute(team="fetcher"):
        client.responses.retrieve("resp_own")
    (event,) = events_of(metered)
    assert event["team"] == "maker"


def test_a_run_of_an_assistant_is_one_event(metered):
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    run = {"id": "run_1", "object": "thread.run", "thread_id": "t", "assistant_id": "a", "model": "gpt-4o", "status": "completed"}
    states = iter(
        [{**run, "status": "queued", "usage": None}, {**run, "status": "in_progress", "usage": None}, {**run, "usage": usage}]
    )
    http = httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, json=next(states))))
    client = openai.OpenAI(api_key="k", http_client=http)
    client.beta.threads.runs.create_and_poll(thread_id="t", assistant_id="a", poll_interval_ms=1)
    (event,) = events_of(metered)
    assert (event["model"], str(event["cost_usd"]), event["usage_status"]) == ("gpt-4o", "0.0035", "complete")


LITELLM = """
import asyncio, gc, os, sys, warnings
warnings.simplefilter("ignore")
from litellm import acompletion as named_early
import litellm, taximeter
url, closed = sys.argv[1:]
os.environ["ANTHROPIC_API_KEY"] = "k"
taximeter.init()
QUESTION = [{"role": "user", "content": "q"}]
def call(model, **others):
    return {"model": f"anthropic/{model}", "messages": QUESTION, "api_base": url, "taximeter_team": "callers", **others}
"""
CLAUDE = 211 + 709 + 101, 53


@pytest.fixture
def litellm(state, refusing):
    """Return a function that runs a program with litellm, in an environment that has it, and returns the events of the program."""

    def outcome(text, closed="") -> list[dict]:
        python = ROOT / ".venv-layers" / "bin" / "python"
        assert python.exists(), "this test needs `make environments`"
        path = os.pathsep.join(map(str, (ROOT / "python", EXAMPLES)))
        surroundings = {"PYTHONPATH": path, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*"}
        subprocess.run(
            [python, "-c", LITELLM + text, refusing.url, closed],
            env={**os.environ, **surroundings, "TAXIMETER_STATE_DIR": str(state)},
            cwd=state.parent,
            timeout=120,
            check=True,
        )
        return list(taximeter.Ledger(state / "ledger.db").events())

    return outcome


def test_litellm_calls_in_asyncio_run_are_events_although_the_loop_ends(litellm, refusing):
    events = litellm("""
async def many():
    calls = [litellm.acompletion(**call("claude-many")) for _ in range(6)]
    calls += [litellm.aresponses(input="q", **{n: v for n, v in call("claude-responses").items() if n != "messages"})]
    early = call("claude-early")
    await asyncio.gather(*calls, named_early(**{n: v for n, v in early.items() if not n.startswith("taximeter")}))
async def streams():
    async for _ in await litellm.acompletion(**call("claude-stream", stream=True)): pass
asyncio.run(many())
asyncio.run(streams())
litellm.completion(**call("claude-sync"))
for _ in litellm.completion(**call("claude-sync-stream", stream=True)): pass
""")
    assert sorted(event["model"] for event in events) == sorted(billed["model"] for billed in refusing.billed)
    assert len(events) == 11
    counts = {(event["usage"]["input_tokens"], event["usage"]["output_tokens"], event["usage_status"]) for event in events}
    assert counts == {(*CLAUDE, "complete")}
    assert {event.get("team") for event in events if event["model"] != "claude-early"} == {"callers"}


def test_litellm_streams_that_are_left_or_broken_off_are_partial_events(litellm):
    events = litellm("""
next(iter(litellm.completion(**call("claude-left", stream=True))))
try:
    for _ in litellm.completion(**call("claude-cut", stream=True)): pass
except Exception: pass
async def left():
    async for _ in await litellm.acompletion(**call("claude-async-left", stream=True)): break
async def cut():
    try:
        async for _ in await litellm.acompletion(**call("claude-async-cut", stream=True)): pass
    except Exception: pass
asyncio.run(left())
asyncio.run(cut())
gc.collect()
""")
    assert sorted(event["model"] for event in events) == ["claude-async-cut", "claude-async-left", "claude-cut", "claude-left"]
    assert {event["usage_status"] for event in events} == {"partial"}
    assert {event["usage"]["input_tokens"] for event in events} == {CLAUDE[0]}


def test_each_failed_litellm_call_is_one_event(litellm, closed):
    events = litellm(
        """
def fails(function, *args, **kwargs):
    try: outcome = function(*args, **kwargs)
    except Exception: pass
    else:
        if asyncio.iscoroutine(outcome): fails(asyncio.run, outcome)
fails(litellm.completion, **call("refused-400"))
fails(litellm.completion, **call("refused-429", num_retries=1))
fails(litellm.acompletion, **call("refused-500", num_retries=1))
fails(litellm.completion, **call("no-port") | {"api_base": closed})
fails(litellm.completion, **call("openai-refused-400") | {"model": "openai/refused-401", "api_key": "k"})
fails(litellm.completion, model="no-such-provider", messages=QUESTION)
router = litellm.Router([{"model_name": "m", "litellm_params": call("refused-503")}], num_retries=2, retry_after=0)
fails(router.completion, model="m", messages=QUESTION)
""",
        closed,
    )
    assert [(event["model"], event["error"], event["status"]) for event in events] == [
        ("refused-400", "BadRequestError", "error"),
        ("refused-429", "RateLimitError", "error"),
        ("refused-500", "InternalServerError", "error"),
        ("no-port", "InternalServerError", "error"),
        ("refused-401", "AuthenticationError", "error"),
        ("refused-503", "ServiceUnavailableError", "error"),
    ]
    assert {event["usage_status"] for event in events} == {"missing"}
    assert {event.get("team") for event in events} == {"callers"}


@pytest.mark.parametrize("mode", ["early", "late"])
def test_no_method_of_a_client_gets_keywords_of_taximeter(mode, closed, state):
    sweep = [sys.executable, Path(__file__).with_name("sweep.py"), mode, closed]
    outcome = subprocess.run(sweep, capture_output=True, text=True, timeout=300, cwd=state.parent, check=True)
    *given, count = outcome.stdout.splitlines()
    assert given == []
    assert int(count) > 1000


def test_litellm_raises_the_refusal_that_closes_its_stream(litellm):
    """It wraps the refusal in exceptions of its own, after which a router tries other models."""
    events = litellm(
        """
CALL = {"model": "openai/gpt-4o", "api_key": "k", "stream": True}
taximeter.init(budgets=[taximeter.Budget("all", tokens=5, per="total", by="team", admit="room", cut=True)])
try:
    list(litellm.completion(**call("") | CALL))
    sys.exit("not closed")
except taximeter.BudgetExceeded as error:
    assert error.reason == "cut", error.reason
async def streamed():
    stream = await litellm.acompletion(**call("") | CALL | {"taximeter_team": "others"})
    return [part async for part in stream]
try:
    asyncio.run(streamed())
    sys.exit("not closed")
except taximeter.BudgetExceeded as error:
    assert error.reason == "cut", error.reason
# litellm makes this request itself, so its stream cannot be closed.
list(litellm.completion(**call("claude-own", stream=True) | {"taximeter_team": "own"}))
assert not taximeter.stats()["remarks"].get("instrument_failed"), taximeter.stats()["remarks"]
taximeter.flush()
"""
    )
    assert {event["team"]: event["usage_status"] == "complete" for event in events} == {
        "callers": False,
        "others": False,
        "own": True,
    }
