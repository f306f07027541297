"""The interface of `token-trackr-sdk` 1.0.0. The expected bodies are those that the original sent to a server on loopback.

The original is on no registry, so it cannot be run here.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import openai
import pytest

import taximeter
from conftest import EXAMPLES, ROOT, wait_for
from fake_families import FakeFamilies
from taximeter.compat import token_trackr
from taximeter.compat.token_trackr import AzureOpenAIWrapper, BedrockWrapper, TokenTrackrClient, TokenTrackrConfig, metadata
from taximeter.compat.token_trackr import client as client_module
from vendor import VendorServer

QUESTION = [{"role": "user", "content": "a secret question"}]
NO_USAGE_HOST = {"cloud_provider": "on-prem", "instance_id": None}


@pytest.fixture
def server(outboxes) -> Iterator[VendorServer]:
    with VendorServer() as server:
        server.answers = [(201, "")]
        yield server


@pytest.fixture
def files(state) -> Path:
    """Return the directory of the fallback files."""
    return state.parent / "home" / ".token-trackr" / "fallback"


def make(server, *, destination=None, tenant_id=None, **more) -> TokenTrackrClient:
    settings = {"api_key": "canary-key", "tenant_id": "t1", "flush_interval": 0.05, **more}
    return TokenTrackrClient(TokenTrackrConfig(backend_url=server.url, **settings), tenant_id, destination=destination)


def sent(server) -> list[dict]:
    """Return the events of all requests in order."""
    return [event for request in server.requests for event in (request.json if isinstance(request.json, list) else [request.json])]


def host() -> dict:
    return {"hostname": os.uname().nodename, **NO_USAGE_HOST}


def test_requests_equal_the_originals(server):
    client = make(server)
    client.record("bedrock", "m", 1, 2, 0, {"a": 1}, datetime(2025, 1, 2, 3, 4, 5, tzinfo=timezone.utc))
    client.flush()
    (request,) = server.requests
    assert request.wire[:3] == (
        "POST", "/usage", {"content-type": "application/json", "authorization": "Bearer canary-key"},
    )  # fmt: skip
    assert request.headers["user-agent"] == "token-trackr-sdk-python/1.0.0"
    assert request.json == {
        "tenant_id": "t1", "provider": "bedrock", "model": "m", "prompt_tokens": 1, "completion_tokens": 2,
        "timestamp": "2025-01-02T03:04:05+00:00", "latency_ms": 0, "host": host(), "metadata": {"a": 1},
    }  # fmt: skip


def test_requests_have_all_keys_and_several_events_are_an_array(server):
    client = make(server, batch_size=3, api_key=None)
    before = datetime.now(timezone.utc)
    for number in range(3):
        client.record(provider="gemini", model=f"m{number}", prompt_tokens=10 + number, completion_tokens=5)
    client.flush()
    (request,) = server.requests
    assert (request.path, "authorization" in request.headers) == ("/usage/batch", False)
    for number, event in enumerate(request.json):
        moment = datetime.fromisoformat(event.pop("timestamp"))
        assert before <= moment <= datetime.now(timezone.utc)
        assert event == {
            "tenant_id": "t1", "provider": "gemini", "model": f"m{number}", "prompt_tokens": 10 + number, "completion_tokens": 5,
            "latency_ms": None, "host": host(), "metadata": None,
        }  # fmt: skip


def test_batches_are_limited_and_keep_the_order(server):
    client = make(server, batch_size=7)
    for number in range(50):
        client.record("bedrock", "m", number, 0)
    client.flush()
    assert max(len(request.json) if isinstance(request.json, list) else 1 for request in server.requests) == 7
    assert sorted(event["prompt_tokens"] for event in sent(server)) == [*range(50)]
    for request in server.requests:
        tokens = [event["prompt_tokens"] for event in request.json] if isinstance(request.json, list) else [0]
        assert tokens == sorted(tokens)


def test_a_batch_is_sent_when_full_or_after_the_interval(server):
    client = make(server, batch_size=5, flush_interval=60)
    for number in range(4):
        client.record("bedrock", "m", number, 0)
    time.sleep(0.5)
    assert server.requests == []
    client.record("bedrock", "m", 4, 0)
    wait_for(lambda: len(sent(server)) == 5)
    soon = make(server, batch_size=5, flush_interval=0.2)
    soon.record("bedrock", "m", 5, 0)
    wait_for(lambda: len(sent(server)) == 6)


def test_flush_returns_the_responses_for_stored_events(server):
    stored = {
        "id": "1", "tenant_id": "t1", "provider": "bedrock", "model": "m", "total_tokens": 3, "calculated_cost": "0.000125",
        "timestamp": "2026-11-22T04:57:11Z",
    }  # fmt: skip
    server.answers = [(201, [stored, stored])]
    client = make(server)
    client.record("bedrock", "m", 1, 2)
    client.record("bedrock", "m", 1, 2)
    first, _ = client.flush()
    assert (first.id, first.total_tokens, first.calculated_cost) == ("1", 3, 0.000125)
    assert first.timestamp == datetime(2026, 11, 22, 4, 57, 11, tzinfo=timezone.utc)
    assert client.flush() == []
    # An accepted event is not sent again, whatever the response says.
    for strange in ('{"success": true}', "", "text", "[1]", "null"):
        server.answers = [(201, strange)]
        client.record("bedrock", "m", 1, 2)
        assert client.flush() == []
    assert len(server.requests) == 6


def test_failed_events_are_written_to_a_file_and_sent_once_later(server, files):
    server.answers = [(503, "")]
    client = make(server, retry_attempts=2, batch_size=10)
    for number in range(25):
        client.record("bedrock", "m", number, 0)
    assert client.flush() == []
    assert len(server.requests) == 2
    (file,) = files.iterdir()
    assert file.name.startswith("events_") and file.suffix == ".json"
    kept = json.loads(file.read_text())
    assert ([event["prompt_tokens"] for event in kept], kept[0]["host"]) == ([*range(25)], host())
    assert "canary-key" not in file.read_text() + file.name
    assert (file.stat().st_mode & 0o777, files.stat().st_mode & 0o777) == (0o600, 0o700)
    (counts,) = client.stats()["destinations"].values()
    assert (counts["fallback"], counts["pending"], counts["dead"]) == (25, 0, 0)
    # A second failure is written to a second file.
    client.record("bedrock", "m", 25, 0)
    client.flush()
    assert len([*files.iterdir()]) == 2
    server.requests.clear()
    server.answers = [(201, "")]
    client.record("bedrock", "m", 26, 0)
    wait_for(lambda: sorted(event["prompt_tokens"] for event in sent(server)) == [*range(27)])
    assert not [*files.iterdir()]
    assert all(event["host"] == host() and len(event) == 9 for event in sent(server))


def test_fallback_files_of_other_accounts_and_of_the_original_stay(server, files, run):
    original = files / "events_1764316536.json"
    files.mkdir(parents=True, mode=0o700)
    original.write_text("[{}]")
    server.answers = [(503, "")]
    make(server, retry_attempts=1, api_key="another").record("bedrock", "m", 1, 2)
    wait_for(lambda: len([*files.iterdir()]) == 2)
    server.answers = [(201, "")]
    server.requests.clear()
    client = make(server)
    client.record("bedrock", "m", 3, 4)
    client.flush()
    time.sleep(0.3)
    assert [event["prompt_tokens"] for event in sent(server)] == [3]
    assert len([*files.iterdir()]) == 2


def test_events_wait_in_the_journal_if_files_cannot_be_written(server, files):
    files.parent.mkdir(parents=True)
    files.write_text("no directory")
    server.answers = [(503, "")]
    client = make(server, retry_attempts=1)
    client.record("bedrock", "m", 1, 2)
    wait_for(lambda: server.requests)
    time.sleep(0.2)
    (counts,) = client.stats()["destinations"].values()
    assert (counts["fallback"], counts["pending"]) == (0, 1)
    server.answers = [(201, "")]
    wait_for(lambda: next(iter(client.stats()["destinations"].values()))["pending"] == 0)


@pytest.mark.parametrize(("attempts", "requests"), [(1, 1), (4, 4)])
def test_the_number_of_attempts_is_exact(server, files, attempts, requests):
    server.answers = [(500, "")]
    client = make(server, retry_attempts=attempts)
    client.record("bedrock", "m", 1, 2)
    wait_for(lambda: files.exists() and [*files.iterdir()])
    time.sleep(0.3)
    assert len(server.requests) == requests


def test_a_rejected_event_is_a_dead_letter_and_the_others_arrive(server, state, files):
    class Strict(list):
        """Responses of a service that rejects one model."""

        def __len__(self) -> int:
            return 1

        def __getitem__(self, _index):
            return (422, {"detail": "no"}) if b"poison" in server.requests[-1].body else (201, "")

    server.answers = Strict()
    client = make(server)
    for number in range(9):
        client.record("bedrock", "poison" if number == 4 else "m", number, 0)
    client.flush()
    (counts,) = client.stats()["destinations"].values()
    assert (counts["delivered"], counts["dead"], counts["pending"], counts["fallback"]) == (8, 1, 0, 0)
    taken = [event["prompt_tokens"] for request in server.requests if b"poison" not in request.body for event in
             (request.json if isinstance(request.json, list) else [request.json])]  # fmt: skip
    assert sorted(taken) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert not files.exists()


def test_an_event_missing_from_the_response_is_a_dead_letter_with_a_warning(server, outboxes, caplog):
    def stored(number):
        return {"tenant_id": "t1", "provider": "bedrock", "model": "m", "total_tokens": number, "id": str(number)}

    server.answers = [(201, [stored(0), stored(2)])]
    client = make(server, batch_size=3)
    for number in range(3):
        client.record("bedrock", "m", number, 0)
    client.flush()
    (counts,) = client.stats()["destinations"].values()
    assert (counts["delivered"], counts["dead"], counts["rejected"], counts["pending"]) == (2, 1, 0, 0)
    (letters,) = outboxes.rglob("*.jsonl")
    (letter,) = map(json.loads, letters.read_text().splitlines())
    assert "does not list this event" in str(letter)
    assert "1 event: it rejected events permanently" in caplog.text


def test_events_missing_from_a_response_without_names_are_counted(server, caplog):
    server.answers = [(201, [{}, {}])]
    client = make(server, batch_size=3)
    for number in range(3):
        client.record("bedrock", "m", number, 0)
    client.flush()
    (counts,) = client.stats()["destinations"].values()
    assert (counts["delivered"], counts["rejected"]) == (2, 1)
    assert "1 event; 1 not kept" in caplog.text


def test_events_wait_while_the_key_is_wrong(server, files):
    server.answers = [(401, "")]
    client = make(server, retry_attempts=1)
    client.record("bedrock", "m", 1, 2)
    wait_for(lambda: server.requests)
    wait_for(lambda: next(iter(client.stats()["destinations"].values()))["state"] == "paused")
    (counts,) = client.stats()["destinations"].values()
    assert (counts["pending"], counts["dead"], counts["fallback"]) == (1, 0, 0)


class Clouds(BaseHTTPRequestHandler):
    answers: dict[str, tuple[int, str]] = {}
    free = threading.Event()
    asked: list[tuple[str, str]] = []

    def do_GET(self) -> None:
        if self.command == "PUT":
            self.rfile.read(int(self.headers.get("content-length", 0)))
        self.free.wait(60)
        own = next((name for name in self.headers if "metadata" in name.lower()), "")
        self.asked.append((self.path.partition("?")[0], own.lower()))
        status, text = self.answers.get(self.path.partition("?")[0], (404, "<html>not found</html>"))
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_PUT = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def clouds(monkeypatch) -> Iterator[type[Clouds]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Clouds)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("TOKEN_TRACKR_METADATA_URL", f"http://127.0.0.1:{server.server_port}")
    Clouds.answers, Clouds.asked = {}, []
    Clouds.free.set()
    yield Clouds
    Clouds.free.set()
    server.shutdown()
    server.server_close()


AWS = {"/latest/api/token": (200, "token"), "/latest/meta-data/instance-id": (200, "i-0123456789abcdef0")}
AZURE = {"/metadata/instance/compute/vmId": (200, "13f56399-bd52-4150-9748-7190aae1ff21")}
GCP = {"/computeMetadata/v1/instance/id": (200, "4567890123456789012")}
PAGE = dict.fromkeys([*AWS, *AZURE, *GCP], (200, "<html>a proxy's page</html>"))


@pytest.mark.parametrize(
    ("answers", "provider", "instance"),
    [
        (AWS, "aws", "i-0123456789abcdef0"),
        (AZURE, "azure", "13f56399-bd52-4150-9748-7190aae1ff21"),
        (GCP, "gcp", "4567890123456789012"),
        ({}, "on-prem", None),
        (PAGE, "on-prem", None),
        ({**PAGE, **GCP}, "gcp", "4567890123456789012"),
        ({**AWS, "/latest/meta-data/instance-id": (404, "i-0123456789abcdef0")}, "on-prem", None),
    ],
)
def test_a_cloud_is_recognised_only_by_its_own_form_of_id(server, clouds, answers, provider, instance):
    clouds.answers = answers
    client = make(server)
    client.record("bedrock", "m", 1, 2)
    client.flush()
    found = {"hostname": os.uname().nodename, "cloud_provider": provider, "instance_id": instance}
    assert server.requests[0].json["host"] == found
    assert client.host_metadata.to_dict() == token_trackr.get_host_metadata().to_dict() == found
    assert ("/metadata/instance/compute/vmId", "metadata") in clouds.asked
    assert ("/computeMetadata/v1/instance/id", "metadata-flavor") in clouds.asked


def test_recording_does_not_wait_for_the_cloud_look_up(server, clouds):
    clouds.free.clear()
    client = make(server, batch_size=1)
    for _ in range(100):
        client.record("bedrock", "m", 1, 2)
    # No look-up has an answer yet.
    assert clouds.asked == []
    wait_for(lambda: len(sent(server)) == 100)
    assert sent(server)[0]["host"] == host()
    # The look-up is not repeated.
    assert len(clouds.asked) <= 3


def test_metadata_is_serialized_as_by_the_original_and_can_be_stored(server):
    client = make(server)
    moment = datetime(2025, 1, 2, tzinfo=timezone.utc)
    told = {"at": moment, "id": uuid.UUID(int=5), "cost": Decimal("1.5"), "set": {1}, "bytes": b"a", "half": "a\ud83d", "zero": "a\0"}
    client.record("bedrock", "m\ud83d", 1, 2, metadata=told, timestamp="2025-01-02T03:04:05Z")
    client.close()
    (event,) = sent(server)
    assert (event["model"], event["timestamp"]) == ("m?", "2025-01-02T03:04:05+00:00")
    assert event["metadata"] == {
        "at": "2025-01-02T00:00:00+00:00", "id": str(uuid.UUID(int=5)), "cost": "1.5", "set": [1], "bytes": "a", "half": "a?", "zero": "a",
    }  # fmt: skip
    told["self"] = told
    with pytest.raises(ValueError, match="metadata must be JSON"):
        client.record("bedrock", "m", 1, 2, metadata=told)


def test_a_pod_is_recorded_and_names_are_cut_to_their_columns(monkeypatch, tmp_path):
    (tmp_path / "token").write_text("secret")
    (tmp_path / "namespace").write_text("payments\n")
    monkeypatch.setattr(metadata, "_ACCOUNT", tmp_path)
    monkeypatch.setenv("HOSTNAME", "pod-" + "x" * 300)
    monkeypatch.setenv("NODE_NAME", "node\0name" if os.name == "none" else "node-1")
    metadata._machine.cache_clear()
    machine = metadata.get_host_metadata().to_dict()
    assert (machine["k8s"]["namespace"], machine["k8s"]["node"], len(machine["k8s"]["pod"])) == ("payments", "node-1", 255)
    assert metadata._fitting("a\0b") == "ab"
    metadata._machine.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("openai", "m", 1, 2), "provider must be one of bedrock, azure_openai, gemini"),
        (("bedrock", "", 1, 2), "model"),
        (("bedrock", None, 1, 2), "model"),
        (("bedrock", "m", -1, 2), "prompt_tokens"),
        (("bedrock", "m", 1, None), "completion_tokens"),
        (("bedrock", "m", 1.5, 2), "prompt_tokens"),
        (("bedrock", "m", True, 2), "prompt_tokens"),
        (("bedrock", "m", 10**16, 2), "prompt_tokens"),
        (("bedrock", "m", 1, 2, 2**31), "latency_ms"),
        (("bedrock", "m", 1, 2, -1), "latency_ms"),
        (("bedrock", "m", 1, 2, float("nan")), "latency_ms"),
        (("bedrock", "m", 1, 2, None, ["no", "mapping"]), "metadata"),
        (("bedrock", "m", 1, 2, None, {"x": object()}), "metadata must be JSON"),
        (("bedrock", "m", 1, 2, None, {"x": float("nan")}), "JSON"),
        (("bedrock", "m", 1, 2, None, None, "yesterday"), "timestamp"),
    ],
)
def test_an_invalid_event_is_rejected_with_the_fields_name(server, arguments, message):
    client = make(server)
    with pytest.raises(ValueError, match=message):
        client.record(*arguments)
    client.record("bedrock", "m", "7", 2, 12.6, None, datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2))))
    client.record("bedrock", "m\0", 7, 2, timestamp=datetime(2026, 1, 1))
    client.flush()
    first, second = sent(server)
    assert (first["prompt_tokens"], first["latency_ms"], first["timestamp"]) == (7, 13, "2026-01-01T00:00:00+02:00")
    # A time without a zone is taken as UTC.
    assert (second["model"], second["timestamp"]) == ("m", "2026-01-01T00:00:00+00:00")


def test_settings_come_from_the_environment_and_are_checked(monkeypatch):
    monkeypatch.setenv("TOKEN_TRACKR_URL", "http://your-backend:8000/")
    monkeypatch.setenv("TOKEN_TRACKR_API_KEY", "canary-key")
    monkeypatch.setenv("TOKEN_TRACKR_TENANT_ID", "your-tenant-id")
    config = TokenTrackrConfig()
    assert (config.backend_url, config.api_key, config.tenant_id) == ("http://your-backend:8000", "canary-key", "your-tenant-id")
    assert (config.batch_size, config.flush_interval, config.max_queue_size, config.retry_attempts) == (10, 5.0, 1000, 3)
    assert (config.timeout, config.async_mode) == (30.0, True)
    assert "canary-key" not in repr(config) + repr(vars(TokenTrackrClient(config))["_outbox"].stats())
    for wrong, message in (
        ({"backend_url": ""}, "backend_url is required"), ({"tenant_id": ""}, "tenant_id is required"), ({"batch_size": 0}, "batch_size"),
        ({"retry_attempts": -1}, "retry_attempts"), ({"flush_interval": 0}, "flush_interval"), ({"timeout": float("nan")}, "timeout"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            TokenTrackrConfig(**wrong)


def test_clients_of_different_tenants_are_separate(server):
    config = TokenTrackrConfig(backend_url=server.url, tenant_id="a", flush_interval=0.05)
    other = TokenTrackrClient(config, "b")
    one = TokenTrackrClient(config)
    stored = {
        "id": "1",
        "tenant_id": "a",
        "provider": "p",
        "model": "m",
        "total_tokens": 3,
        "calculated_cost": 1,
        "timestamp": "2026-01-01",
    }
    server.answers = [(201, stored)]
    one.record("bedrock", "m", 1, 2)
    assert [response.tenant_id for response in one.flush()] == ["a"]
    server.answers = [(201, {**stored, "tenant_id": "b"})]
    other.record("bedrock", "m", 3, 4)
    # Each client has the responses to its own events.
    assert (one.flush(), [response.tenant_id for response in other.flush()]) == ([], ["b"])
    assert {event["tenant_id"]: event["prompt_tokens"] for event in sent(server)} == {"a": 1, "b": 3}


def test_without_async_mode_the_last_event_of_a_batch_waits_for_delivery(server):
    client = make(server, async_mode=False, batch_size=3, flush_interval=60)
    client.record("bedrock", "m", 1, 2)
    client.record("bedrock", "m", 1, 2)
    assert server.requests == []
    client.record("bedrock", "m", 1, 2)
    assert len(server.requests) == 1


def test_closing_delivers_and_a_closed_client_can_be_used_again(server):
    with make(server, flush_interval=60) as client:
        client.record("bedrock", "m", 1, 2)
    assert len(server.requests) == 1
    client.record("bedrock", "m", 3, 4)
    client.close()
    assert [event["prompt_tokens"] for event in sent(server)] == [1, 3]


def test_the_default_client_is_made_from_the_environment(server, monkeypatch):
    monkeypatch.setattr(client_module, "_client", None)
    monkeypatch.setenv("TOKEN_TRACKR_URL", server.url)
    client_module.record("gemini", "m", 1, 2, latency_ms=3)
    assert client_module.get_client() is client_module.get_client()
    client_module.get_client().flush()
    assert sent(server)[0]["tenant_id"] == "default"


def test_events_for_the_ledger_are_in_it(server, outboxes):
    make(server, destination=("token_trackr", "ledger")).record(
        "bedrock", "anthropic.claude-3-sonnet-20240229-v1:0", 1000, 100, 250, {"plan": "pro"}
    )
    taximeter.flush()
    (event,) = taximeter.Ledger(outboxes / "ledger.db").events()
    assert (event["provider"], event["customer"], event["tags"], event["latency_ms"]) == ("aws.bedrock", "t1", {"plan": "pro"}, 250)
    assert event["cost_usd"] == "0.0045"


@pytest.fixture
def families() -> Iterator[FakeFamilies]:
    with FakeFamilies() as server:
        yield server


CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.fixture
def bedrock(families):
    keys = {"aws_access_key_id": "k", "aws_secret_access_key": "k"}
    client = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=families.url, **keys)
    yield client
    client.close()


def test_bedrock_responses_are_unchanged_and_recorded(server, bedrock):
    client = make(server)
    wrapper = BedrockWrapper(bedrock, client)
    asked = {"messages": [{"role": "user", "content": [{"text": "a secret question"}]}]}
    response = wrapper.invoke_model(modelId=CLAUDE, body=json.dumps({"max_tokens": 9}))
    assert type(response["body"]).__name__ == "StreamingBody"
    bare = bedrock.invoke_model(modelId=CLAUDE, body="{}")
    assert response["body"].read() == bare["body"].read()
    stream = wrapper.invoke_model_with_response_stream(modelId=CLAUDE, body="{}")
    assert type(stream["body"]).__name__ == "EventStream"
    assert [*stream["body"]]
    assert wrapper.converse(modelId=CLAUDE, **asked)["output"]["message"]["role"] == "assistant"
    assert [*wrapper.converse_stream(modelId=CLAUDE, **asked)["stream"]]
    assert wrapper.meta.region_name == "us-east-1"
    client.flush()
    events = sent(server)
    assert len(events) == 4 and "secret" not in json.dumps(events)
    assert {(event["provider"], event["model"]) for event in events} == {("bedrock", CLAUDE)}
    # The provider's count of input tokens does not include cached ones.
    assert [(event["prompt_tokens"], event["completion_tokens"]) for event in events] == [
        (479, 487),
        (479, 487),
        (457, 461),
        (457, 461),
    ]
    assert all({*event["metadata"]} == {"request_id"} and event["latency_ms"] >= 0 for event in events)


AZURE_CLIENT = {"api_key": "k", "api_version": "2024-10-21", "max_retries": 0}


@pytest.fixture
def azure(provider):
    with openai.AzureOpenAI(azure_endpoint=provider.url, **AZURE_CLIENT) as client:
        yield client


def test_azure_responses_are_unchanged_and_recorded(server, azure):
    client = make(server)
    wrapper = AzureOpenAIWrapper(azure, client)
    chat = {"model": "gpt-4o", "messages": QUESTION}
    answer = wrapper.chat.completions.create(**chat)
    assert type(answer) is openai.types.chat.ChatCompletion
    assert wrapper.embeddings.create(model="text-embedding-3-small", input="a secret question").data
    with wrapper.chat.completions.create(**chat, stream=True, stream_options={"include_usage": True}) as stream:
        assert type(stream) is openai.Stream
        assert [*stream]
    assert wrapper.base_url == azure.base_url
    client.flush()
    chatted, embedded, streamed = sent(server)
    assert (chatted["provider"], chatted["model"], chatted["prompt_tokens"], chatted["completion_tokens"]) == (
        "azure_openai",
        "gpt-4o",
        1009,
        307,
    )
    assert chatted["metadata"] == {"id": answer.id, "finish_reason": "stop"}
    assert (embedded["completion_tokens"], embedded["metadata"]) == (0, None)
    assert (streamed["prompt_tokens"], streamed["completion_tokens"], streamed["metadata"]) == (1009, 307, None)
    assert "secret" not in json.dumps(sent(server))


async def test_azures_asynchronous_client_can_be_wrapped(server, provider):
    client = make(server)
    async with openai.AsyncAzureOpenAI(azure_endpoint=provider.url, **AZURE_CLIENT) as inner:
        wrapper = AzureOpenAIWrapper(inner, client)
        answer = await wrapper.chat.completions.create(model="gpt-4o", messages=QUESTION)
        stream = await wrapper.chat.completions.create(
            model="gpt-4o", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
        assert [chunk async for chunk in stream]
    client.flush()
    chatted, streamed = sent(server)
    assert (chatted["metadata"]["id"], chatted["prompt_tokens"], streamed["completion_tokens"]) == (answer.id, 1009, 307)


def test_errors_are_unchanged_and_calls_without_usage_are_not_recorded(server, azure):
    client = make(server)
    wrapper = AzureOpenAIWrapper(azure, client)
    with pytest.raises(openai.APIStatusError):
        wrapper.chat.completions.create(model="gpt-error", messages=QUESTION)
    # A stream that is not read to its end, and one that reports no usage.
    stream = wrapper.chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True)
    next(iter(stream))
    stream.close()
    client.flush()
    assert server.requests == []
    assert client.stats()["remarks"]["usage_unreported"] == 1


def test_a_client_that_is_also_metered_records_each_call_once_in_both(server, azure, outboxes):
    client = make(server)
    inner = taximeter.wrap(azure)
    AzureOpenAIWrapper(inner, client).chat.completions.create(model="gpt-4o", messages=QUESTION)
    inner.chat.completions.create(model="gpt-4o", messages=QUESTION)
    client.flush()
    taximeter.flush()
    assert (len(sent(server)), len([*taximeter.Ledger(outboxes / "ledger.db").events()])) == (1, 2)


@pytest.mark.slow
def test_googles_and_amazons_older_clients_can_be_wrapped(server, families, state):
    """Run in the environment that has the older clients."""
    python = ROOT / ".venv-amazon" / "bin" / "python"
    assert python.exists(), "this test needs `make environments`"
    path = os.pathsep.join(map(str, (ROOT / "tests" / "environments", ROOT / "python", EXAMPLES)))
    done = subprocess.run(
        [python, ROOT / "tests" / "environments" / "wrappers.py", families.url, "metered"],
        env={**os.environ, "PYTHONPATH": path, "TOKEN_TRACKR_URL": server.url, "TOKEN_TRACKR_METADATA_URL": ""},
        cwd=state.parent, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    by_provider: dict[str, list] = {}
    for event in sent(server):
        by_provider.setdefault(event["provider"], []).append((event["model"], event["prompt_tokens"], event["completion_tokens"]))
    assert by_provider["bedrock"] == [(CLAUDE, 479, 487), (CLAUDE, 479, 487)]
    # The older client reports thinking tokens only in its total of 1,294.
    assert by_provider["gemini"] == [("models/gemini-1.5-pro", 419, 875)] * 4
    assert json.loads(done.stdout.splitlines()[-1]) == ["GenerateContentResponse", "ChatSession", "StreamingBody"]
