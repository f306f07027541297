"""Budgets and the clients of every family: a refused call sends no byte, and an admitted one is charged what the provider reports."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
from collections.abc import Callable, Iterator
from decimal import Decimal

import anthropic
import groq
import ollama
import openai
import pytest
from google import genai

import taximeter
from conftest import events_of
from fake_endpoints import FakeEndpoints
from fake_families import FakeFamilies
from taximeter import BudgetExceeded, instrument
from taximeter.meter import engine_of
from test_endpoints import CASES as ENDPOINTS
from test_families import (
    ASKED,
    CASES,
    CHAT,
    CLAUDE,
    QUESTION,
    all_of,
    bedrock,
    cohere_first,
    cohere_second,
    gemini,
    kept,
    mistral,
    seen,
)
from test_families import ASYNC as OTHERS
from vendor import VendorServer

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::pydantic.warnings.PydanticDeprecatedSince211",
    # Clients are not closed here but collected, as in users' code.
    "ignore::ResourceWarning",
    "ignore:.*<socket.socket:pytest.PytestUnraisableExceptionWarning",
)
MANY = 10**9
MOST = 7_000
"""The output's limit of calls."""


@pytest.fixture(scope="module")
def server() -> Iterator[FakeFamilies]:
    with FakeFamilies() as running:
        yield running
        gc.collect()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[taximeter.Meter]:
    meter = taximeter.Meter(state_dir=tmp_path_factory.mktemp("budgets"))
    yield meter
    instrument.deactivate()
    meter.close(5)


class Limited:
    """A meter with two budgets, over all calls: of tokens and of US dollars."""

    def __init__(self, meter: taximeter.Meter, server: FakeFamilies) -> None:
        self.meter, self.server = meter, server
        self.budgets = engine_of(meter).budgets

    def allow(self, *budgets: taximeter.Budget) -> None:
        self.budgets.set(json.dumps([budget.to_core() for budget in budgets]))

    def begin(self, tokens: int = MANY, usd: str = "1000000") -> None:
        """Begin to count anew."""
        self.allow(taximeter.Budget("all", tokens=tokens, per="total"), taximeter.Budget("money", usd=usd, per="total"))
        for name in ("all", "money"):
            self.budgets.reset(name, None)
        self.server.requests.clear()
        self.server.billed.clear()

    def spend(self) -> None:
        """Begin with a budget that has nothing left."""
        self.begin(tokens=1)
        self.meter.track(provider="openai", model="gpt-4o", input_tokens=1)

    @property
    def counts(self) -> dict[str, tuple[Decimal, Decimal, int]]:
        """The used and held amount of each budget, and the calls."""
        found = {one["budget"]: one for one in self.budgets.all_standings()}
        return {name: (Decimal(one["used"]), Decimal(one["held"]), one["calls"]) for name, one in found.items()}

    @property
    def tokens(self) -> tuple[int, int, int]:
        used, held, calls = self.counts.get("all", (0, 0, 0))
        return int(used), int(held), calls


@pytest.fixture
def limited(shared: taximeter.Meter, server: FakeFamilies) -> Iterator[Limited]:
    shared.instrument()
    one = Limited(shared, server)
    one.begin()
    yield one
    instrument.deactivate()


def gpt(url: str, **options: object) -> openai.OpenAI:
    return openai.OpenAI(api_key="k", base_url=f"{url}/v1", **options)


def claude(url: str, **options: object) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="k", base_url=url, **options)


MESSAGE = {"model": "claude-sonnet-5", "max_tokens": MOST, "messages": QUESTION}
OPENAI = {"input_tokens": 1009, "output_tokens": 307}
RESPONSES = {"input_tokens": 1013, "output_tokens": 311}
ANTHROPIC = {"input_tokens": 211 + 101 + 709, "output_tokens": 53}


def helped(stream):
    with stream as events:
        return len(list(events))


OWN = {
    "openai: create": (gpt, lambda c: c.chat.completions.create(model="gpt-4o", messages=QUESTION), OPENAI),
    "openai: stream": (gpt, lambda c: len(list(c.chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True,
                                                                        stream_options={"include_usage": True}))), OPENAI),
    "openai: raw": (gpt, lambda c: c.chat.completions.with_raw_response.create(model="gpt-4o", messages=QUESTION).parse(), OPENAI),
    "openai: helper": (gpt, lambda c: helped(c.chat.completions.stream(model="gpt-4o", messages=QUESTION,
                                                                      stream_options={"include_usage": True})), OPENAI),
    "openai: responses": (gpt, lambda c: c.responses.create(model="gpt-4o", input="q"), RESPONSES),
    "openai: embeddings": (gpt, lambda c: c.embeddings.create(model="text-embedding-3-small", input="x"), {"input_tokens": 17}),
    "openai: post": (
        gpt,
        lambda c: c.post("/chat/completions", cast_to=object, body={"model": "gpt-4o", "messages": QUESTION}),
        OPENAI,
    ),
    "anthropic: create": (claude, lambda c: c.messages.create(**MESSAGE), ANTHROPIC),
    "anthropic: helper": (claude, lambda c: helped(c.messages.stream(**MESSAGE)), ANTHROPIC),
}  # fmt: skip
ALL = {**CASES, **OWN}


@pytest.mark.parametrize("case", ALL)
def test_a_refused_call_sends_no_byte_and_an_admitted_one_is_charged_its_usage(case, limited):
    make, call, usage = ALL[case]
    client = make(limited.server.url)
    instrument.deactivate()
    bare = seen(call(client))
    limited.meter.instrument()
    limited.begin()
    assert seen(call(client)) == bare
    assert limited.tokens == (usage.get("input_tokens", 0) + usage.get("output_tokens", 0), 0, 1)
    limited.spend()
    with pytest.raises(BudgetExceeded) as refused:
        call(client)
    assert (refused.value.budget, refused.value.used, refused.value.held) == ("all", 1, 0)
    assert limited.server.requests == []
    assert limited.tokens == (1, 0, 1)


ASYNC: dict[str, Callable[[str], list]] = {
    **OTHERS,
    "openai": lambda url: [
        openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1").chat.completions.create(model="gpt-4o", messages=QUESTION),
        all_of(openai.AsyncOpenAI(api_key="k", base_url=url).chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True,
                                                                                  stream_options={"include_usage": True})),
    ],
    "anthropic": lambda url: [
        anthropic.AsyncAnthropic(api_key="k", base_url=url).messages.create(**MESSAGE),
        _text(anthropic.AsyncAnthropic(api_key="k", base_url=url).messages.stream(**MESSAGE)),
    ],
}  # fmt: skip


async def _text(manager):
    async with manager as stream:
        return await stream.get_final_text()


@pytest.mark.parametrize("name", ASYNC)
def test_an_asynchronous_call_is_refused_when_it_is_awaited(name, limited):
    async def work():
        for call in ASYNC[name](limited.server.url):
            assert await call

    async def refused():
        # Making the coroutine is no call yet.
        for call in ASYNC[name](limited.server.url):
            with pytest.raises(BudgetExceeded):
                await call

    asyncio.run(work())
    billed = len(limited.server.billed)
    used, held, calls = limited.tokens
    assert (used > 0, held, calls) == (True, 0, billed)
    limited.spend()
    asyncio.run(refused())
    assert limited.server.requests == []


@pytest.mark.parametrize("case", [name for name in ALL if "stream" in name or name == "anthropic: helper"])
def test_a_stream_that_uses_too_much_is_closed_and_charged(case, limited):
    make, call, _ = ALL[case]
    limited.allow(taximeter.Budget("all", tokens=5, per="total", admit="room", cut=True))
    with pytest.raises(BudgetExceeded, match="this stream has taken") as raised:
        call(make(limited.server.url))
    error = raised.value
    assert (error.reason, error.budget, error.amount, error.used) == ("cut", "all", 5, 0)
    # What was held, and a part of the answer at least.
    assert error.estimate > 5
    assert limited.tokens[0] >= error.estimate
    assert limited.tokens[1:] == (0, 1)
    assert len(limited.server.billed) == 1


@pytest.mark.parametrize("name", ASYNC)
def test_an_asynchronous_stream_that_uses_too_much_is_closed(name, limited):
    limited.allow(taximeter.Budget("all", tokens=5, per="total", admit="room", cut=True))

    async def work():
        first, *streams = ASYNC[name](limited.server.url)
        first.close()
        for stream in streams:
            with pytest.raises(BudgetExceeded, match="this stream has taken"):
                await stream

    asyncio.run(work())
    used, held, calls = limited.tokens
    assert (used > 5, held, calls) == (True, 0, 1)


def test_a_stream_is_not_closed_while_its_budget_has_room(limited):
    limited.allow(taximeter.Budget("all", tokens=10_000, per="total", cut=True))
    _, call, usage = OWN["openai: stream"]
    # Held are the prompt and one token, and the answer has more.
    client = gpt(limited.server.url)
    stream = client.chat.completions.create(
        model="gpt-4o", messages=QUESTION, max_tokens=1, stream=True, stream_options={"include_usage": True}
    )
    assert len(list(stream)) == call(client)
    assert limited.tokens == (2 * sum(usage.values()), 0, 2)


def test_managers_and_generators_are_refused_when_their_request_would_be_made(limited):
    limited.spend()
    url = limited.server.url
    managers = [claude(url).messages.stream(**MESSAGE), gpt(url).chat.completions.stream(model="gpt-4o", messages=QUESTION)]
    lazy = [
        ollama.Client(host=url).chat(model="llama3", messages=QUESTION, stream=True),
        kept(gemini(url)).models.generate_content_stream(model="gemini-2.5-flash", contents="q"),
        cohere_second(url).chat_stream(model="command", messages=QUESTION),
    ]
    for manager in managers:
        with pytest.raises(BudgetExceeded), manager:
            pass
    for generator in lazy:
        with pytest.raises(BudgetExceeded):
            next(iter(generator))
    assert limited.server.requests == []


LIMITS: dict[str, tuple[int, Callable[[str], object]]] = {
    "openai, max_tokens": (2, lambda url: gpt(url).chat.completions.create(model="gpt-4o", messages=QUESTION, max_tokens=MOST, n=2)),
    "openai, max_completion_tokens": (
        1,
        lambda url: gpt(url).chat.completions.create(model="gpt-4o", messages=QUESTION, max_completion_tokens=MOST),
    ),
    "openai, max_output_tokens": (1, lambda url: gpt(url).responses.create(model="gpt-4o", input="q", max_output_tokens=MOST)),
    "openai, extra_body": (
        1,
        lambda url: gpt(url).chat.completions.create(model="gpt-4o", messages=QUESTION, extra_body={"max_tokens": MOST}),
    ),
    "anthropic": (1, lambda url: claude(url).messages.create(**MESSAGE)),
    "mistralai": (1, lambda url: mistral(url).chat.complete(model="mistral-large", messages=QUESTION, max_tokens=MOST)),
    "cohere": (1, lambda url: cohere_first(url).chat(model="command", message="q", max_tokens=MOST)),
    "ollama": (
        1,
        lambda url: ollama.Client(host=url).chat(model="llama3", messages=QUESTION, options={"num_predict": MOST}),
    ),
    "gemini": (
        2,
        lambda url: kept(gemini(url)).models.generate_content(
            model="gemini-2.5-flash", contents="q", config={"max_output_tokens": MOST, "candidate_count": 2}
        ),
    ),
    "bedrock, converse": (1, lambda url: bedrock(url).converse(**ASKED, inferenceConfig={"maxTokens": MOST})),
    "bedrock, invoke": (
        1,
        lambda url: bedrock(url).invoke_model(modelId=CLAUDE, body=json.dumps({"max_tokens": MOST, "messages": QUESTION})),
    ),
}


@pytest.mark.parametrize("case", LIMITS)
def test_the_outputs_limit_is_read_in_the_clients_spelling(case, limited):
    choices, call = LIMITS[case]
    limited.spend()
    with pytest.raises(BudgetExceeded) as refused:
        call(limited.server.url)
    # The rest is the prompt. It is corrected by earlier calls of the model, up to four times.
    assert MOST * choices < refused.value.estimate < MOST * choices + 200


def test_a_call_without_a_limit_holds_4096_tokens_and_one_without_output_holds_its_input(limited):
    limited.spend()
    with pytest.raises(BudgetExceeded) as refused:
        gpt(limited.server.url).chat.completions.create(model="gpt-4o", messages=QUESTION)
    assert 4096 < refused.value.estimate < 4096 + 200
    with pytest.raises(BudgetExceeded) as refused:
        gpt(limited.server.url).embeddings.create(model="text-embedding-3-small", input="one two three")
    assert 0 < refused.value.estimate < 50


def test_a_call_that_the_provider_refuses_or_that_was_not_sent_is_charged_nothing(limited):
    url = limited.server.url
    google = gemini(url)
    refused = [
        lambda: gpt(url).chat.completions.create(model="gpt-error", messages=QUESTION),
        lambda: claude(url).messages.create(**MESSAGE | {"model": "claude-error"}),
        lambda: mistral(url).chat.complete(model="error", messages=QUESTION),
        lambda: google.models.generate_content(model="error", contents="q"),
        lambda: list(google.models.generate_content_stream(model="error", contents="q")),
        lambda: cohere_second(url).chat(model="error", messages=QUESTION),
        lambda: list(cohere_second(url).chat_stream(model="error", messages=QUESTION)),
        lambda: ollama.Client(host=url).chat(model="error", messages=QUESTION),
        lambda: bedrock(url).converse(**ASKED | {"modelId": "error"}),
    ]
    for call in refused:
        with pytest.raises(Exception) as raised:
            call()
        assert not isinstance(raised.value, BudgetExceeded)
    assert len(limited.server.requests) == len(refused)
    nowhere = "http://127.0.0.1:1"
    with pytest.raises(openai.APIConnectionError):
        gpt(nowhere, max_retries=0).chat.completions.create(model="gpt-4o", messages=QUESTION)
    with pytest.raises(ConnectionError):
        ollama.Client(host=nowhere).chat(model="llama3", messages=QUESTION)
    assert limited.tokens == (0, 0, 0)


def test_a_retried_call_holds_once(limited):
    assert cohere_second(limited.server.url).chat(model="command-flaky", messages=QUESTION)
    assert groq.Groq(api_key="k", base_url=limited.server.url).chat.completions.create(model="groq-flaky", messages=QUESTION)
    # Both have failed twice before.
    assert len(limited.server.requests) == 6
    used, held, calls = limited.tokens
    assert (used, held, calls) == (433 + 439 + sum(CHAT.values()), 0, 2)
    assert limited.budgets.stats()["admitted"] >= 2


def test_a_stream_holds_until_it_ends_and_an_abandoned_one_is_charged_its_input(limited):
    client = gpt(limited.server.url)
    stream = client.chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True, max_tokens=MOST)
    next(iter(stream))
    used, held, calls = limited.tokens
    assert (used, held > MOST, calls) == (0, True, 0)
    stream.close()
    used, held, calls = limited.tokens
    # The response had not reported its usage.
    assert (0 < used < 50, held, calls) == (True, 0, 1)
    limited.begin()
    google = gemini(limited.server.url)
    events = iter(google.models.generate_content_stream(model="gemini-2.5-flash", contents="q"))
    next(events)
    assert limited.tokens[1] > 4096
    del events
    gc.collect()
    # Its input was reported before it was abandoned.
    assert (limited.tokens[0] >= 419, limited.tokens[1:]) == (True, (0, 1))


def test_a_cancelled_call_is_charged_its_input(limited):
    async def work():
        client = openai.AsyncOpenAI(api_key="k", base_url=silent_url, max_retries=0)
        task = asyncio.create_task(client.chat.completions.create(model="gpt-4o", messages=QUESTION, max_tokens=MOST))
        await asyncio.to_thread(connected.accept)
        assert limited.tokens[1] > MOST
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    import socket

    with socket.create_server(("127.0.0.1", 0)) as connected:
        silent_url = f"http://127.0.0.1:{connected.getsockname()[1]}"
        asyncio.run(work())
        used, held, calls = limited.tokens
        assert (0 < used < 50, held, calls) == (True, 0, 1)
        with pytest.raises(openai.APITimeoutError):
            gpt(silent_url, max_retries=0, timeout=0.05).chat.completions.create(model="gpt-4o", messages=QUESTION)
    used, held, calls = limited.tokens
    assert (0 < used < 100, held, calls) == (True, 0, 2)


def test_each_request_of_geminis_function_calling_needs_room(limited):
    def weather(city: str) -> str:
        """Return the weather of a city."""
        return f"rain in {city}"

    google = gemini(limited.server.url)

    def ask() -> object:
        config = {"tools": [weather], "max_output_tokens": 1000}
        return google.models.generate_content(model="gemini-2.5-flash", contents="q", config=config)

    assert ask()
    used, held, calls = limited.tokens
    assert (held, calls, len(limited.server.billed)) == (0, 2, 2)
    limited.begin(tokens=used // 2 + 500)
    with pytest.raises(BudgetExceeded):
        ask()
    assert len(limited.server.requests) == 1
    assert limited.tokens == (used // 2, 0, 1)


@pytest.mark.filterwarnings("ignore:.*experimental")
def test_batches_and_sessions_need_something_left_when_they_are_created(limited):
    url = limited.server.url
    batch = {"custom_id": "a", "params": MESSAGE}
    google = kept(gemini(url))
    vectors = {"model": "gemini-embedding-001", "src": {"inlined_requests": {"contents": [{"parts": [{"text": "q"}]}]}}}

    async def session():
        async with kept(gemini(url)).aio.live.connect(model="gemini-live"):
            pass

    async def socket():
        async with openai.AsyncOpenAI(api_key="k", base_url=url).realtime.connect(model="gpt-realtime"):
            pass

    limited.spend()
    limited.meter.track(provider="openai", model="gpt-4o", input_tokens=1)
    for call in (
        lambda: claude(url).messages.batches.create(requests=[batch]),
        lambda: gpt(url).batches.create(input_file_id="f", endpoint="/v1/responses", completion_window="24h"),
        lambda: mistral(url).batch.jobs.create(input_files=["f"], model="mistral-large", endpoint="/v1/chat/completions"),
        lambda: google.batches.create(model="gemini-2.5-flash", src=[{"contents": [{"parts": [{"text": "q"}], "role": "user"}]}]),
        lambda: google.batches.create_embeddings(**vectors),
        lambda: asyncio.run(google.aio.batches.create_embeddings(**vectors)),
        lambda: asyncio.run(session()),
        lambda: asyncio.run(socket()),
        lambda: gpt(url).responses.connect().__enter__(),
    ):
        with pytest.raises(BudgetExceeded) as refused:
            call()
        assert refused.value.estimate == 0
    assert limited.server.requests == []
    # Creating a batch costs nothing: its results are charged when they are fetched.
    limited.begin()
    google.batches.create_embeddings(**vectors)
    assert len(limited.server.requests) == 1
    assert limited.tokens == (0, 0, 0)


def test_a_call_counts_for_the_budgets_of_its_attribution(limited):
    limited.allow(taximeter.Budget("teams", tokens=2000, per="total", by="team"))
    try:
        client = gpt(limited.server.url)

        def ask(team: str) -> object:
            return client.chat.completions.create(model="gpt-4o", messages=QUESTION, max_tokens=900, taximeter_team=team)

        ask("a")
        ask("b")
        with pytest.raises(BudgetExceeded) as refused:
            ask("a")
        assert (refused.value.budget, refused.value.key) == ("teams", "a")
        assert len(limited.server.requests) == 2
    finally:
        limited.budgets.remove("teams")


def test_a_budget_of_a_block_limits_its_calls(limited):
    limited.budgets.remove("all")
    limited.budgets.remove("money")
    client = gpt(limited.server.url)
    with taximeter.budget(tokens=3000) as run:
        client.chat.completions.create(model="gpt-4o", messages=QUESTION, max_tokens=1000)
        assert run.used == 1316
        client.chat.completions.create(model="gpt-4o", messages=QUESTION, max_tokens=1000)
        with pytest.raises(BudgetExceeded):
            client.chat.completions.create(model="gpt-4o", messages=QUESTION, max_tokens=1000)
        assert (run.used, run.standing.held) == (2632, 0)
    client.chat.completions.create(model="gpt-4o", messages=QUESTION, max_tokens=1000)
    assert len(limited.server.requests) == 3


def test_calls_at_once_never_use_more_than_the_budget(limited):
    from concurrent.futures import ThreadPoolExecutor

    # A response has 307 tokens of output and reports more input than the prompt has.
    limited.begin(tokens=5000)
    client = gpt(limited.server.url)

    def ask(_number: int) -> bool:
        with contextlib.suppress(BudgetExceeded):
            client.chat.completions.create(model="gpt-4o", messages=QUESTION, max_tokens=1316)
            return True
        return False

    with ThreadPoolExecutor(8) as pool:
        admitted = sum(pool.map(ask, range(24)))
    assert admitted == len(limited.server.requests) == 3
    assert limited.tokens == (3 * 1316, 0, 3)


def test_a_refusal_is_no_failed_call(limited):
    limited.spend()
    before = len(events_of(limited.meter))
    with pytest.raises(BudgetExceeded):
        gpt(limited.server.url).chat.completions.create(model="gpt-4o", messages=QUESTION)
    assert len(events_of(limited.meter)) == before
    assert limited.meter.stats()["remarks"]["instrument_failed"] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_asks_for_itself_and_leaves_its_parents_stream_alone(limited):
    stream = gpt(limited.server.url).chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True, max_tokens=MOST)
    next(iter(stream))
    child = os.fork()
    if not child:
        stream.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert limited.tokens[1] > MOST
    list(stream)
    stream.close()
    del stream
    assert limited.tokens[1:] == (0, 1)


def test_a_genai_client_with_a_meter_of_its_own_is_limited_by_that_meters_budgets(limited, tmp_path):
    instrument.deactivate()
    other = taximeter.Meter(state_dir=tmp_path / "other")
    try:
        engine_of(other).budgets.set(json.dumps([taximeter.Budget("none", calls=1, per="total").to_core()]))
        client = other.wrap(genai.Client(api_key="k", http_options={"base_url": limited.server.url}))
        client.models.generate_content(model="gemini-2.5-flash", contents="q")
        with pytest.raises(BudgetExceeded) as refused:
            client.models.generate_content(model="gemini-2.5-flash", contents="q")
        assert refused.value.budget == "none"
        free = gemini(limited.server.url)
        free.models.generate_content(model="gemini-2.5-flash", contents="q")
        assert len(limited.server.requests) == 2
    finally:
        other.close(5)


@pytest.fixture(scope="module")
def endpoints() -> Iterator[FakeEndpoints]:
    with FakeEndpoints() as running:
        yield running
        gc.collect()


@pytest.mark.parametrize("case", ENDPOINTS)
def test_other_endpoints_are_limited_and_charged_the_same(case, limited, endpoints):
    make, call, usage = ENDPOINTS[case]
    client = make(endpoints.url)
    call(client)
    assert limited.tokens == (usage.get("input_tokens", 0) + usage.get("output_tokens", 0), 0, 1)
    limited.spend()
    endpoints.requests.clear()
    with pytest.raises(BudgetExceeded):
        call(client)
    assert endpoints.requests == []


def test_work_in_the_background_is_charged_once_when_it_is_fetched(limited, endpoints):
    client = gpt(endpoints.url)
    begun = client.responses.create(model="gpt-4.1-own", input="q", background=True)
    assert limited.tokens == (0, 0, 0)
    for _ in range(3):
        client.responses.retrieve(begun.id)
    assert limited.tokens == (557 + 563, 0, 1)
    tools = client.responses.create(model="gpt-4.1-tools", input="q")
    assert tools is not None
    # The images of another model are a part of the same response.
    assert (limited.tokens[0] > 2 * (557 + 563), limited.tokens[1]) == (True, 0)


def test_calls_that_a_wrapper_of_token_trackr_meters_are_limited(outboxes, server):
    from taximeter.compat.token_trackr import AzureOpenAIWrapper, TokenTrackrClient, TokenTrackrConfig

    instrument.deactivate()
    budgets = engine_of(taximeter._default.default_meter).budgets
    with VendorServer() as vendor:
        vendor.answers = [(201, "")]
        config = TokenTrackrConfig(api_key="k", tenant_id="t", backend_url=vendor.url, flush_interval=0.05)
        inner = openai.AzureOpenAI(azure_endpoint=server.url, api_key="k", api_version="2024-10-21")
        wrapper = AzureOpenAIWrapper(inner, TokenTrackrClient(config))
        budgets.set(json.dumps([taximeter.Budget("wrapped", tokens=3000, per="total").to_core()]))
        server.requests.clear()
        for _ in range(2):
            wrapper.chat.completions.create(model="gpt-4o", messages=QUESTION, max_tokens=1000)
        with pytest.raises(BudgetExceeded):
            wrapper.chat.completions.create(model="gpt-4o", messages=QUESTION, max_tokens=1000)
        assert len(server.requests) == 2
    (standing,) = budgets.all_standings()
    assert (standing["used"], standing["held"], standing["calls"]) == (str(2 * 1316), "0", 2)
    # Only the vendor gets the calls.
    assert taximeter.stats()["tracked"] == 0
    budgets.remove("wrapped")


@pytest.mark.slow
@pytest.mark.parametrize("sdk", ["paygent_sdk", "tokenr"])
def test_calls_that_an_interface_of_compat_meters_are_limited_by_their_customer(sdk, run, server):
    server.requests.clear()
    with VendorServer() as vendor:
        outcome = run(
            """
            import openai, sys, taximeter
            url, vendor, sdk = sys.argv[1:]
            taximeter.init(instrument=False, budgets=[taximeter.Budget("customers", tokens=2000, per="total", by="customer")])
            if sdk == "tokenr":
                from taximeter.compat import tokenr
                tokenr.init(token="t", url=vendor)
            else:
                from taximeter.compat import paygent_sdk
                paygent_sdk.init("k", vendor)
            client = openai.OpenAI(api_key="k", base_url=url)
            def ask(customer):
                named = {"tokenr_tags": {"customer": customer}} if sdk == "tokenr" else {
                    "paygent_agent_id": "a", "paygent_customer_id": customer}
                if sdk == "tokenr":
                    named["taximeter_customer"] = customer
                messages = [{"role": "user", "content": "q"}]
                client.chat.completions.create(model="gpt-4o", messages=messages, max_tokens=900, **named)
            ask("acme")
            ask("other")
            try:
                ask("acme")
            except taximeter.BudgetExceeded as error:
                print(error.budget, error.key, error.used)
            print(taximeter.stats()["tracked"])
            """,
            server.url, vendor.url, sdk,
        )  # fmt: skip
    assert outcome.stdout.split() == ["customers", "acme", "1316", "0"], outcome.stderr
    assert len(server.requests) == 2
