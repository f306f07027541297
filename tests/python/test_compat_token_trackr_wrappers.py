"""Token Trackr's wrappers around clients that cannot be metered, and its records as plain data."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from types import SimpleNamespace

import pydantic
import pytest

import taximeter
from taximeter.compat.token_trackr import AzureOpenAIWrapper, BedrockWrapper, GeminiWrapper, TokenTrackrClient, TokenTrackrConfig
from taximeter.compat.token_trackr.models import UsageEvent, UsageResponse
from vendor import VendorServer


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer() as server:
        server.answers = [(201, {"success": True})]
        yield server


@pytest.fixture
def client(outboxes, server, monkeypatch) -> TokenTrackrClient:
    monkeypatch.setenv("TOKEN_TRACKR_METADATA_URL", "")
    config = TokenTrackrConfig(server.url, "k", "t1", batch_size=1, flush_interval=0.05)
    return TokenTrackrClient(config, destination=("token_trackr", "ledger"))


def sent(client, server):
    client.flush()
    return [(event["provider"], event["model"], event["prompt_tokens"], event["completion_tokens"], event["metadata"]) for event in (
        request.json for request in server.requests)]  # fmt: skip


def test_stand_ins_are_recorded_by_what_they_return(client, server):
    usage = SimpleNamespace(prompt_tokens=7, completion_tokens=3)
    answer = SimpleNamespace(id="c1", usage=usage, choices=[SimpleNamespace(finish_reason="stop")])
    create = SimpleNamespace(create=lambda **_: answer)
    azure = AzureOpenAIWrapper(
        SimpleNamespace(chat=SimpleNamespace(completions=create), completions=create, embeddings=create), client
    )
    assert azure.chat.completions.create(model="gpt-4o", messages=[]) is answer
    azure.completions.create(model="gpt-4o", prompt="")
    reply = SimpleNamespace(
        usage_metadata=SimpleNamespace(prompt_token_count=5, candidates_token_count=2),
        candidates=[SimpleNamespace(finish_reason="STOP")],
    )
    gemini = GeminiWrapper(SimpleNamespace(model_name="models/gemini-1.5-pro", generate_content=lambda *_, **__: reply), client)
    assert gemini.generate_content("a secret question") is reply
    bodies = [
        {"usage": {"input_tokens": 1, "output_tokens": 2}},
        {"inputTextTokenCount": 3, "results": [{"tokenCount": 4}]},
        {"prompt_token_count": 5, "generation_token_count": 6},
        {"meta": {"billed_units": {"input_tokens": 7, "output_tokens": 8}}},
        {"usage": {"prompt_tokens": 9}},
    ]
    for number, body in enumerate(bodies):
        text = io.BytesIO(json.dumps(body).encode())
        bedrock = BedrockWrapper(SimpleNamespace(invoke_model=lambda text=text, **_: {"body": text}), client)
        assert json.loads(bedrock.invoke_model(modelId=f"m{number}", body="{}")["body"].read()) == body
    request = {"request_id": None}
    assert sorted(sent(client, server), key=str) == sorted(
        [
            ("azure_openai", "gpt-4o", 7, 3, {"id": "c1", "finish_reason": "stop"}),
            ("azure_openai", "gpt-4o", 7, 3, None),
            ("gemini", "models/gemini-1.5-pro", 5, 2, {"finish_reason": "STOP"}),
            ("bedrock", "m0", 1, 2, request), ("bedrock", "m1", 3, 4, request), ("bedrock", "m2", 5, 6, request),
            ("bedrock", "m3", 7, 8, request), ("bedrock", "m4", 9, 0, request),
        ],
        key=str,
    )  # fmt: skip
    taximeter.flush()
    assert len([*taximeter.Ledger().events()]) == 8


def test_a_stand_in_without_usage_is_counted_and_warned_about(client, server, caplog):
    create = SimpleNamespace(create=lambda **_: iter([]))
    azure = AzureOpenAIWrapper(SimpleNamespace(chat=SimpleNamespace(completions=create)), client)
    assert [*azure.chat.completions.create(model="gpt-4o", messages=[], stream=True)] == []
    client.stats()
    assert client.stats()["remarks"]["usage_unreported"] == 1
    assert "azure_openai/gpt-4o" in caplog.text
    assert sent(client, server) == []


def test_a_flush_in_an_outage_ends_like_the_originals(outboxes, monkeypatch):
    monkeypatch.setenv("TOKEN_TRACKR_METADATA_URL", "")
    for is_async in (True, False):
        config = TokenTrackrConfig("http://127.0.0.1:1", "k", f"t{is_async}", batch_size=1, async_mode=is_async, timeout=60)
        client = TokenTrackrClient(config)
        began = time.monotonic()
        client.record("bedrock", "m", 1, 2)
        assert client.flush() == []
        # The original takes 3 s; the limit is far above that, and far below the timeout.
        assert time.monotonic() - began < 30


def test_records_become_plain_data_like_pydantics(server):
    class Original(pydantic.BaseModel):
        id: str
        tenant_id: str
        provider: str
        model: str
        total_tokens: int
        calculated_cost: float
        timestamp: datetime

    data = {
        "id": "1", "tenant_id": "t", "provider": "bedrock", "model": "m", "total_tokens": 3, "calculated_cost": "0.5",
        "timestamp": "2026-01-02T03:04:05.000678Z",
    }  # fmt: skip
    theirs, ours = Original(**data), UsageResponse.from_dict(data)
    assert ours.model_dump() == ours.dict() == theirs.model_dump()
    assert ours.model_dump(mode="json") == theirs.model_dump(mode="json")
    assert ours.model_dump_json() == ours.json() == theirs.model_dump_json()
    assert ours.model_dump(include={"id"}) == {"id": "1"} and "id" not in ours.model_dump(exclude={"id"})
    event = UsageEvent("t", "bedrock", "m", 1, 2, timestamp=datetime(2026, 1, 1, tzinfo=timezone.utc), metadata={"a": {1}})
    assert event.model_dump(mode="json")["timestamp"] == "2026-01-01T00:00:00Z"
