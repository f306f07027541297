"""Runs every code block of the SDKs' READMEs unchanged, with our modules under the original names, against services on loopback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from conftest import EXAMPLES, ROOT
from fake_families import FakeFamilies
from taximeter.compat import install, paygent_sdk, teer, token_trackr, tokentally
from vendor import VendorServer

SDKS = ("teer", "tokentally", "token_trackr", "paygent_sdk", "tokenr")
SEEDS = Path(__file__).parent / "seeds"
RECORDED = {"success": True, "record_id": "rec_1", "cost_usd": 0.0049}


def blocks(name: str) -> list[str]:
    found = re.findall(r"^```python\n(.*?)^```", (SEEDS / f"{name}.README.md").read_text(), re.MULTILINE | re.DOTALL)
    # datetime.UTC needs Python 3.11.
    return [block for block in found if sys.version_info >= (3, 11) or "UTC" not in block]


def cases(name: str) -> list:
    return [pytest.param(block, id=f"{name} {number}") for number, block in enumerate(blocks(name))]


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer() as server:
        yield server


@pytest.fixture
def instead(monkeypatch) -> None:
    """Make the original names import our modules, although the originals are installed here."""
    for name in [name for name in sys.modules if name.partition(".")[0] in SDKS]:
        monkeypatch.delitem(sys.modules, name)
    install(*SDKS)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in SDKS]:
        del sys.modules[name]


@pytest.mark.parametrize("block", cases("teer"))
def test_teer(block, server, instead, monkeypatch):
    monkeypatch.setattr(teer, "DEFAULT_TRACK_BASE_URL", server.url)
    names = {} if "TeerClient(" in block else {"client": teer.TeerClient("YOUR_API_KEY")}
    exec(compile(block, "README", "exec"), names)
    if "dev-track" in block:
        assert names["client"].track_base == "https://dev-track.teer.ai/v1"
        return
    (request,) = server.requests
    assert request.method == "POST"
    assert request.path == ("/v1/billing/meter-events" if "meter_events" in block else "/v1/ingest")
    assert request.headers["authorization"] == "Bearer YOUR_API_KEY"


@pytest.mark.filterwarnings("ignore:The model .* is deprecated")
@pytest.mark.parametrize("block", cases("tokentally"))
def test_tokentally(block, server, instead, monkeypatch, provider, capsys):
    from taximeter.compat.tokentally import client

    monkeypatch.setattr(client, "DEFAULT_BASE_URL", server.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", provider.url)
    server.answers = [(200, RECORDED)]
    # Later blocks continue earlier ones.
    names = {"TokenTally": tokentally.TokenTally}
    if "TokenTally(" not in block:
        names["tt"] = tokentally.TokenTally(api_key="tt_your_api_key")
    exec(compile(block, "README", "exec"), names)
    if "client" in names:
        names["client"].close()
    if "Request timeout" in block:
        assert names["tt"].base_url == "https://api.tokentally.io"
        return
    (request,) = server.requests
    assert (request.method, request.path, request.headers["x-api-key"]) == ("POST", "/api/usage", "tt_your_api_key")
    if "Cost" in block:
        assert "$0.004900" in capsys.readouterr().out


@pytest.mark.parametrize("block", cases("paygent_sdk"))
def test_paygent(block, server, instead, monkeypatch, capsys):
    from taximeter.compat.paygent_sdk import _client

    monkeypatch.setattr(_client, "DEFAULT_BASE_URL", server.url)
    # URLs in the README are placeholders.
    for url in ("http://localhost:8080", "https://custom-api.paygent.com"):
        block = block.replace(url, server.url)
    usage = paygent_sdk.UsageData(model="gpt-4o", prompt_tokens=1, completion_tokens=2)
    names = {"__name__": "__main__", "dataclass": dataclass, "requests": requests, "usage_data": usage}
    if "client." in block and "def main" not in block:
        names["client"] = paygent_sdk.Client.new_client("your-api-key")
    exec(compile(block, "README", "exec", dont_inherit=True), names)
    said = capsys.readouterr().out
    assert "Failed" not in said and "error" not in said
    assert len(server.requests) == block.count("client.send_usage")
    for request in server.requests:
        assert (request.path, request.headers["paygent-api-key"][-7:]) == ("/api/v1/usage", "api-key")


@pytest.mark.parametrize(("status", "said"), [(401, "Invalid API key"), (429, "Rate limit exceeded"), (500, "Error tracking usage")])
def test_tokentallys_readme_handles_errors(server, instead, monkeypatch, capsys, status, said):
    from taximeter.compat.tokentally import client

    monkeypatch.setattr(client, "DEFAULT_BASE_URL", server.url)
    server.answers = [(status, "no JSON")]
    (block,) = [block for block in blocks("tokentally") if "except RateLimitError" in block]
    exec(compile(block, "README", "exec"), {})
    assert said in capsys.readouterr().out


@pytest.fixture
def families() -> Iterator[FakeFamilies]:
    with FakeFamilies() as server:
        yield server


@pytest.mark.parametrize("block", cases("token_trackr"))
def test_token_trackr(block, server, outboxes, instead, monkeypatch, provider, families):
    server.answers = [(201, "")]
    settings = {"TOKEN_TRACKR_URL": server.url, "TOKEN_TRACKR_API_KEY": "your-api-key", "TOKEN_TRACKR_TENANT_ID": "your-tenant-id"}
    amazon = {
        "AWS_ENDPOINT_URL": families.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "k",
    }
    for name, value in {**settings, **amazon}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(token_trackr.client, "_client", None)
    # URLs in the README are placeholders.
    block = block.replace("http://your-backend:8000", server.url).replace("https://your-resource.openai.azure.com", provider.url)
    if "google.generativeai" in block:
        in_the_environment_that_has_it(block, families, {**os.environ, **settings})
    else:
        names = {"json": json, "TokenTrackrConfig": token_trackr.TokenTrackrConfig}
        exec(compile(block, "README", "exec", dont_inherit=True), names)
        token_trackr.client.get_client().flush()
        for name in {"azure_client", "bedrock"} & names.keys():
            names[name].close()
    if "wrapper" not in block and ".record(" not in block:
        assert server.requests == []
        return
    (request,) = server.requests
    assert (request.path, request.headers["authorization"]) == ("/usage", "Bearer your-api-key")
    assert (request.json["tenant_id"], request.json["prompt_tokens"] > 0) == ("your-tenant-id", True)


def in_the_environment_that_has_it(block: str, families: FakeFamilies, environment: dict[str, str]) -> None:
    scripts = ROOT / "tests" / "environments"
    path = os.pathsep.join(map(str, (scripts, ROOT / "python", EXAMPLES)))
    python = ROOT / ".venv-amazon" / "bin" / "python"
    assert python.exists(), "this test needs `make environments`"
    subprocess.run(
        [python, scripts / "readme.py", families.url, "metered", block],
        check=True,
        timeout=120,
        env={**environment, "PYTHONPATH": path},
    )


@pytest.mark.parametrize("block", cases("tokenr"))
def test_tokenr(block, server, provider, run):
    server.answers = [(200, {"cost": 0.0012})]
    keys = {
        "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": f"{provider.url}/v1",
        "ANTHROPIC_BASE_URL": provider.url,
        "TOKENR_TOKEN": "your-token",
    }
    # Replaces placeholders, and adds an argument that the README's call of Anthropic lacks.
    block = block.replace("[...]", '[{"role": "user", "content": "Hello!"}]').replace(
        "https://tokenr.co/...", f"{server.url}/api/v1/track"
    )
    block = block.replace('model="claude-opus-4-5",', 'model="claude-opus-4-5", max_tokens=9,')
    begin = "from taximeter import compat\ncompat.install('tokenr')\nimport openai, tokenr\n"
    begin += "" if "init(" in block else "tokenr.init(token='your-tokenr-token')\n"
    said = run(f"{begin}{block}", TOKENR_URL=f"{server.url}/api/v1/track", **keys).stdout
    assert len(server.requests) == block.count(".create(") + block.count("tokenr.track(")
    for request in server.requests:
        assert (request.path, request.headers["authorization"][:7]) == ("/api/v1/track", "Bearer ")
        assert request.json["input_tokens"] > 0
    if "tokenr_tags" in block:
        assert server.requests[0].json["tags"]["conversation_id"] == "conv_456"
    assert ("[Tokenr] Initialized" in said) == ("debug=True" in block)


def test_an_imported_original_is_not_replaced(monkeypatch):
    monkeypatch.setitem(sys.modules, "teer", object())
    with pytest.raises(RuntimeError, match="already imported"):
        install("teer")
    with pytest.raises(ValueError, match="unknown"):
        install("unknown")
