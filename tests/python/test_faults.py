"""Errors of the instrumentation are counted, logged and shown by `status()`. Calls continue."""

from __future__ import annotations

import gc
import operator
import sys
import types

import anthropic
import boto3
import cohere
import groq
import mistralai.client
import ollama
import openai
import pytest
import together
from google import genai

import taximeter
from fake_families import FakeFamilies
from taximeter import instrument
from taximeter.instrument import bindings, guard, registry, shims
from taximeter.instrument.providers.openai import FAMILY


@pytest.fixture
def remarks():
    """Return a function that returns the new remarks of the default meter, or all remarks of another meter."""
    taximeter.default_meter._engine.warnings._last.clear()
    before = taximeter.stats()["remarks"]

    def since(meter=None) -> dict[str, int]:
        now = (meter or taximeter.default_meter).stats()["remarks"]
        known = before if meter is None else dict.fromkeys(now, 0)
        return {name: now[name] - known[name] for name in now if now[name] != known[name]}

    return since


def warnings_of(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.fixture
def client(provider):
    with openai.OpenAI(base_url=f"{provider.url}/v1", api_key="k", max_retries=0) as client:
        yield client


def ask(client, **keywords):
    return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "secret"}], **keywords)


class Renamed:
    """A base client of a version whose private method takes `http_response` instead of `response`."""

    def _process_response(self, *, cast_to, options, http_response, stream, stream_cls):
        return "answer"

    def _build_request(self, options):
        return "request"

    def _build_headers(self, options):
        return {}


def test_a_changed_private_signature_is_found_when_hooking(monkeypatch, caplog):
    module = types.ModuleType("openai._base_client")
    module.SyncAPIClient = module.AsyncAPIClient = module.BaseClient = type("SyncAPIClient", (Renamed,), {})
    monkeypatch.setattr(registry, "_failures", {})
    monkeypatch.setattr(bindings, "hooked_modules", {})
    monkeypatch.setattr(registry, "hooked_modules", bindings.hooked_modules)
    registry._run_hook(FAMILY, "openai._base_client", module)
    found = instrument.status()["openai"]
    assert found.state == "failed"
    assert "_process_response has no parameter 'response'; this version of the client is not supported" in found.reason
    assert any("cannot meter openai" in text for text in warnings_of(caplog))
    # The client was not changed.
    assert module.SyncAPIClient()._process_response(cast_to=1, options=2, http_response=3, stream=4, stream_cls=5) == "answer"


class Ollama:
    def _request_raw(self, *args, **kwargs):
        """Send a request."""

    def _request(self, cls, *args, streams=False, **kwargs):
        """Take `streams` instead of `stream`."""


class Gemini:
    def request(self, http_method, path, request_dict):
        """Send a request."""

    async_request = request

    def request_streamed(self, request):
        """Take one object instead of `http_method` and `path`."""


class Live:
    def connect(self, *, name):
        """Take `name` instead of `model`."""


class Logging:
    def success_handler(self, answer=None, **kwargs):
        """Take `answer` instead of `result`."""


class Stream:
    def __init__(self, completion_stream, logger):
        """Take `logger` instead of `logging_obj`."""


class Answer:
    def __init__(self, done, parts):
        """Take `parts` instead of `iterator` and `result`."""


CHANGED = {
    "ollama._client": ({"Client": Ollama, "AsyncClient": Ollama}, "Ollama._request has no parameter 'stream'"),
    "google.genai._api_client": ({"BaseApiClient": Gemini}, "Gemini.request_streamed has no parameter 'http_method'"),
    "google.genai.live": ({"AsyncLive": Live}, "Live.connect has no parameter 'model'"),
    "google.generativeai.generative_models": (
        {"generation_types": types.SimpleNamespace(BaseGenerateContentResponse=Answer)}, "Answer.__init__ has no parameter 'iterator'",
    ),
    "litellm.litellm_core_utils.litellm_logging": ({"Logging": Logging}, "Logging.success_handler has no parameter 'result'"),
    "litellm.litellm_core_utils.streaming_handler": ({"CustomStreamWrapper": Stream}, "Stream.__init__ has no parameter 'logging_obj'"),
    "litellm.utils": (
        {"function_setup": lambda *args, **kwargs: 1, "post_call_processing": lambda answer, model: 1},
        "post_call_processing has no parameter 'original_response'",
    ),
    "langchain_core.tracers.context": ({"register_configure_hook": lambda var, inheritable: 1}, "has no parameter 'context_var'"),
}  # fmt: skip
"""Modules of clients whose private functions have other parameters."""


@pytest.mark.parametrize("name", CHANGED)
def test_each_family_finds_changed_private_signatures(monkeypatch, caplog, name):
    contents, reason = CHANGED[name]
    module = types.ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setattr(registry, "_failures", {})
    monkeypatch.setattr(registry, "hooked_modules", {})
    family = next(family for family in map(registry._family, registry.FAMILIES) if name in family.hooks)
    registry._run_hook(family, name, module)
    ((found,),) = registry._failures.values()
    assert reason in found
    assert found.endswith("this version of the client is not supported")
    assert len(warnings_of(caplog)) == 1


def test_installed_clients_have_the_expected_signatures():
    for name in ("openai", "anthropic", "google.genai", "botocore", "mistralai", "cohere", "groq", "together", "ollama"):
        __import__(name)
    instrument.hook(list(registry.FAMILIES))
    assert {name: found.reason for name, found in instrument.status().items() if found.state == "failed"} == {}


def test_a_call_that_cannot_be_followed_continues_and_is_counted(client, meter, monkeypatch, remarks, caplog):
    meter.instrument()
    try:
        monkeypatch.setattr("taximeter.instrument.http.follow", lambda *_, **__: 1 / 0)
        for _ in range(3):
            assert ask(client).usage.total_tokens > 0
    finally:
        instrument.deactivate()
    assert (remarks(meter), remarks()) == ({"instrument_failed": 3}, {})
    (said,) = warnings_of(caplog)
    assert said.startswith("taximeter: openai._base_client.SyncAPIClient._process_response (ZeroDivisionError): ")
    assert "secret" not in caplog.text


@pytest.mark.parametrize("method", ["feed", "rest", "finish"])
def test_a_failing_scanner_is_counted_and_the_response_is_unchanged(client, meter, monkeypatch, remarks, caplog, method):
    class Broken:
        def feed(self, data):
            return None

        rest = feed

        def finish(self):
            return {"usage_status": "missing"}

    Broken.rest = lambda self: None
    setattr(Broken, method, lambda self, *_: 1 / 0)
    monkeypatch.setattr("taximeter.instrument.http.scanner_for", lambda *_, **__: Broken())
    meter.instrument()
    try:
        assert ask(client).usage.total_tokens > 0
    finally:
        instrument.deactivate()
    assert remarks(meter)["instrument_failed"] >= 1
    assert remarks() == {}
    (said,) = warnings_of(caplog)
    assert "openai/gpt-4o (ZeroDivisionError)" in said


def test_the_meter_of_the_client_counts_what_it_could_not_follow(client, meter, state, provider, monkeypatch, remarks):
    other = taximeter.Meter(state_dir=state)
    meter.instrument()
    try:
        with openai.OpenAI(base_url=f"{provider.url}/v1", api_key="k", max_retries=0) as own:
            other.wrap(own)
            monkeypatch.setattr("taximeter.instrument.http.follow", lambda *_, **__: 1 / 0)
            ask(own)
            # A part of the wrapped client fails before its base does.
            monkeypatch.setattr("taximeter.instrument.stainless.asks_for_usage", lambda *_: 1 / 0)
            ask(own, stream=True).close()
    finally:
        instrument.deactivate()
        other.close(5)
    assert (remarks(other), remarks(meter), remarks()) == ({"instrument_failed": 3}, {}, {})


ASKED = {"model": "m", "messages": [{"role": "user", "content": "secret"}]}
KEYS = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "us-east-1"}
CONVERSED = {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "secret"}]}]}
CLIENTS = {
    "openai": (lambda url: openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0), "chat.completions.create", ASKED),
    "anthropic": (
        lambda url: anthropic.Anthropic(base_url=url, api_key="k", max_retries=0),
        "messages.create",
        {**ASKED, "model": "claude-haiku-4-5", "max_tokens": 9},
    ),
    "groq": (lambda url: groq.Groq(base_url=url, api_key="k", max_retries=0), "chat.completions.create", ASKED),
    "together": (lambda url: together.Together(base_url=url, api_key="k", max_retries=0), "chat.completions.create", ASKED),
    "cohere": (lambda url: cohere.ClientV2("k", base_url=url), "chat", ASKED),
    "mistralai": (lambda url: mistralai.client.Mistral(api_key="k", server_url=url), "chat.complete", ASKED),
    "ollama": (lambda url: ollama.Client(host=url), "chat", ASKED),
    "google.genai": (
        lambda url: genai.Client(api_key="k", http_options={"base_url": url}),
        "models.generate_content",
        {"model": "m", "contents": "secret"},
    ),
    "botocore": (lambda url: boto3.client("bedrock-runtime", endpoint_url=url, **KEYS), "converse", CONVERSED),
}
"""A client of each family that has clients, one of its calls, and the call's arguments."""


# Some clients cannot be closed. Cohere's uses a function of asyncio that Python 3.14 has deprecated.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore:'asyncio.iscoroutinefunction':DeprecationWarning")
@pytest.mark.parametrize("family", CLIENTS)
def test_a_failed_step_counts_on_the_meter_of_the_client_or_of_its_family(state, meter, monkeypatch, remarks, family):
    make, method, arguments = CLIENTS[family]
    own = taximeter.Meter(state_dir=state)
    # The first step of a call, in its public method, and the last one, where its response passes.
    monkeypatch.setattr("taximeter.instrument.call.Call._take_fields", lambda *_: 1 / 0)
    monkeypatch.setattr("taximeter.instrument.recorder.Recorder.__init__", lambda *_, **__: 1 / 0)
    with FakeFamilies() as provider:
        client, other = make(provider.url), make(provider.url)
        meter.instrument()
        try:
            operator.attrgetter(method)(own.wrap(client))(**arguments)
            mine, theirs = remarks(own), remarks(meter)
            operator.attrgetter(method)(other)(**arguments)
            ours = remarks(meter)
        finally:
            instrument.deactivate()
            own.close(5)
    assert (mine, theirs) == (ours, {})
    assert mine["instrument_failed"] >= 2
    assert (remarks(own), remarks()) == (mine, {})
    del client, other
    gc.collect()  # here, where the warnings about their sockets are ignored


def test_a_failed_step_in_a_class_of_the_user_counts_on_the_meter_of_the_family(client, meter, monkeypatch, remarks):
    meter.instrument()
    try:

        class Completions(openai.resources.chat.Completions):
            def shout(self, **keywords):
                return self.create(**keywords)

        monkeypatch.setattr("taximeter.instrument.call.Call._take_fields", lambda *_: 1 / 0)
        assert Completions(client).shout(model="gpt-4o", messages=[]).usage.total_tokens > 0
    finally:
        instrument.deactivate()
    assert (remarks(meter), remarks()) == ({"instrument_failed": 2}, {})


def test_a_failed_import_of_a_familys_hooks_counts_on_the_meter_of_the_family(meter, monkeypatch, remarks):
    meter.instrument()
    monkeypatch.setattr(registry, "_family", lambda name: 1 / 0)
    try:
        assert registry._hook_of("ollama._client") is None
    finally:
        monkeypatch.undo()
        instrument.deactivate()
    assert (remarks(meter), remarks()) == ({"instrument_failed": 1}, {})


def test_an_error_in_error_handling_does_not_reach_the_caller(monkeypatch):
    monkeypatch.setattr("taximeter.attribution.count_remark", lambda *_: 1 / 0)
    guard.report("anything", ValueError())
    assert guard.run_guarded(lambda: 1 / 0) is None
    assert guard.run_guarded(lambda number: number, 7) == 7


def test_a_function_without_a_signature_or_with_a_general_one_is_accepted():
    guard.check_signature(lambda **kwargs: None, ("response",), "anything")
    guard.check_signature(lambda self, *args, **kwargs: None, ("response",), "anything")
    guard.check_signature(print, (), "anything")
    guard.check_signature(object(), ("response",), "anything")
    owner = types.SimpleNamespace(function=lambda other: other)
    with pytest.raises(guard.SignatureError, match="function has no parameter 'response'"):
        shims.put(owner, "function", lambda original: original, needs=("response",))
    with pytest.raises(guard.SignatureError, match="anything has no parameter 'response'"):
        guard.check_signature(lambda self, other, *args, **kwargs: None, ("response",), "anything")


def test_a_misspelt_keyword_or_header_is_removed_and_logged_once(client, meter, provider, remarks, caplog):
    meter.instrument()
    try:
        ask(client, taximeter_custmer="acme", taximeter_team="kept")
        ask(client, extra_headers={"x-taximeter-custmer": "acme", "X-Taximeter-Team": "kept"})
    finally:
        instrument.deactivate()
    assert (remarks(meter), remarks()) == ({"unknown_field": 2}, {})
    (said,) = warnings_of(caplog)
    assert said.startswith(
        "taximeter: taximeter_custmer: did you mean taximeter_customer?: not a field of an event; it is left out; check the spelling"
    )
    meter.flush()
    assert [(event["team"], event.get("customer")) for event in taximeter.Ledger(meter.settings.ledger).events()] == [
        ("kept", None)
    ] * 2
    for _, headers, body in provider.requests:
        assert "acme" not in str(body)
        assert not [name for name in headers if "taximeter" in name.lower()]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize("moment", ["create_module", "exec_module"])
def test_a_forked_child_imports_what_another_thread_was_importing(run, moment):
    outcome = run(
        """
        import importlib.machinery, os, signal, sys, threading, warnings
        import taximeter

        # Since 3.12, Python warns of a fork while there are threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        SLOW = ("taximeter.meter.reservation", "colorsys")
        begun, done, parent = threading.Event(), threading.Event(), os.getpid()

        def stop(name):
            if os.getpid() == parent and name == SLOW[1]:
                begun.set()
                done.wait()

        class Loader:
            def __init__(self, inner):
                self.inner = inner

            def create_module(self, spec):
                if sys.argv[1] == "create_module":
                    stop(spec.name)
                return self.inner.create_module(spec)

            def exec_module(self, module):
                # Our module imports another one.
                if module.__name__ == SLOW[0]:
                    import colorsys
                if sys.argv[1] == "exec_module":
                    stop(module.__name__)
                self.inner.exec_module(module)

        class Finder:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name not in SLOW:
                    return None
                spec = importlib.machinery.PathFinder.find_spec(name, path, target)
                spec.loader = Loader(spec.loader)
                return spec

        sys.meta_path.insert(0, Finder)
        taximeter.init(instrument=False)
        other = threading.Thread(target=lambda: taximeter.reserve(provider="openai", model="gpt-4o", input_tokens=1), daemon=True)
        other.start()
        begun.wait()
        if (child := os.fork()) == 0:
            signal.alarm(20)
            with taximeter.reserve(provider="openai", model="gpt-4o", input_tokens=1) as reserved:
                reserved.track(input_tokens=1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        done.set()
        other.join()
        from taximeter.meter import reservation
        assert reservation.Reservation
        """,
        moment,
    )
    assert outcome.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_the_garbage_collector_imports_nothing_when_it_ends_a_response(run, provider):
    """It may do so while the program imports a module, which raises `KeyError` then (CPython's gh-91351, before 3.12)."""
    outcome = run(
        """
        import gc, sys
        import openai, taximeter
        taximeter.init()
        client = openai.OpenAI(api_key="k", base_url=sys.argv[1] + "/v1")
        question = [{"role": "user", "content": "Hello!"}]
        abandoned = [client.chat.completions.create(model="gpt-4o", messages=question, stream=True)]
        next(iter(abandoned[0]))
        abandoned.append(abandoned)
        imported, collects = [], False
        sys.addaudithook(lambda name, given: imported.append(given[0]) if name == "import" and collects else None)
        del abandoned
        collects = True
        gc.collect()
        collects = False
        taximeter.flush()
        print(imported, taximeter.stats()["remarks"]["usage_interrupted"])
        """,
        provider.url,
    )
    assert outcome.stdout == "[] 1\n"


def test_locks_held_by_another_thread_are_free_in_a_forked_child(run):
    outcome = run(
        """
        import os, signal, sys, threading, warnings
        import taximeter
        from taximeter.compat import _outbox

        # Since 3.12, Python warns of a fork while there are threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        from taximeter.compat.paygent_sdk.v4 import auto
        from taximeter.instrument import deferred, registry
        from taximeter.instrument.providers import langchain_core

        locks = [registry._lock, deferred._counted._lock, _outbox._lock, auto._lock, langchain_core._Runs()._lock]
        held, done = threading.Event(), threading.Event()

        def hold(locks):
            if not locks:
                held.set()
                done.wait()
                return
            with locks[0]:
                hold(locks[1:])

        threading.Thread(target=hold, args=(locks,), daemon=True).start()
        held.wait()
        if (child := os.fork()) == 0:
            signal.alarm(20)
            taximeter.init(instrument=True)
            deferred._counted.add("id")
            _outbox.all_outboxes()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        with type(locks[0])():
            # The block ends in the parent and in the child.
            if (child := os.fork()) == 0:
                signal.alarm(20)
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        done.set()
        """
    )
    assert outcome.stderr == ""
