"""Calls every public method of every client with a keyword of taximeter's: `python sweep.py early|late URL`, for `init()` after or before.

Prints a line for each method whose client was given the keyword, and the number of methods at last. At the URL, connections are refused.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import warnings
from collections.abc import Iterator

warnings.simplefilter("ignore")
MODE, URL = sys.argv[1:]
import taximeter  # noqa: E402

if MODE == "late":
    taximeter.init(backend="memory")
import anthropic  # noqa: E402
import boto3  # noqa: E402
import cohere  # noqa: E402
import groq  # noqa: E402
import ollama  # noqa: E402
import openai  # noqa: E402
import together  # noqa: E402
from google import genai  # noqa: E402
from mistralai.client import Mistral  # noqa: E402

KEYS = {"aws_access_key_id": "k", "aws_secret_access_key": "k", "region_name": "us-east-1"}
STAINLESS = {"base_url": URL, "max_retries": 0}
AMAZON = {"aws_access_key": "k", "aws_secret_key": "k", "aws_region": "us-east-1", **STAINLESS}
AZURE = {"azure_endpoint": URL, "api_key": "k", "api_version": "2024-10-21", "max_retries": 0}
VERTEX = {"region": "us-east5", "project_id": "p", "access_token": "k", **STAINLESS}
if MODE == "early":
    # Classes that copy methods of others, which are loaded before the meter.
    _ = anthropic.AnthropicBedrock(**AMAZON).beta.messages, anthropic.AnthropicVertex(**VERTEX).beta.messages
    taximeter.init(backend="memory")

CLIENTS = {
    "openai": openai.OpenAI(api_key="k", **STAINLESS),
    "openai async": openai.AsyncOpenAI(api_key="k", **STAINLESS),
    "azure": openai.AzureOpenAI(**AZURE),
    "azure async": openai.AsyncAzureOpenAI(**AZURE),
    "anthropic": anthropic.Anthropic(api_key="k", **STAINLESS),
    "anthropic async": anthropic.AsyncAnthropic(api_key="k", **STAINLESS),
    "anthropic bedrock": anthropic.AnthropicBedrock(**AMAZON),
    "anthropic bedrock async": anthropic.AsyncAnthropicBedrock(**AMAZON),
    "anthropic vertex": anthropic.AnthropicVertex(**VERTEX),
    "anthropic vertex async": anthropic.AsyncAnthropicVertex(**VERTEX),
    "groq": groq.Groq(api_key="k", **STAINLESS),
    "groq async": groq.AsyncGroq(api_key="k", **STAINLESS),
    "together": together.Together(api_key="k", **STAINLESS),
    "together async": together.AsyncTogether(api_key="k", **STAINLESS),
    "gemini": genai.Client(api_key="k", http_options={"base_url": URL, "timeout": 1000}),
    "mistral": Mistral(api_key="k", server_url=URL),
    "cohere": cohere.Client(api_key="k", base_url=URL, max_retries=0),
    "cohere async": cohere.AsyncClient(api_key="k", base_url=URL, max_retries=0),
    "cohere v2": cohere.ClientV2(api_key="k", base_url=URL, max_retries=0),
    "cohere v2 async": cohere.AsyncClientV2(api_key="k", base_url=URL, max_retries=0),
    "ollama": ollama.Client(host=URL),
    "ollama async": ollama.AsyncClient(host=URL),
    "bedrock": boto3.client("bedrock-runtime", endpoint_url=URL, **KEYS),
}
PARTLY = {"openai", "azure", "anthropic", "groq", "together", "gemini", "mistral"}
"""Families whose methods are those of a client's parts; the client's own send requests of any kind, and make copies."""
SKIPPED = {
    "close", "aclose", "with_options", "copy", "can_paginate", "generate_presigned_url", "get_paginator", "get_waiter", "do_request",
    "do_request_async", "whoami",
}  # fmt: skip
UTILITIES = {"qs", "timeout", "utils", "buffer_pool"}
"""Parts that make no requests."""


def parts(thing: object, path: str, seen: set[type]) -> Iterator[tuple[str, object]]:
    """Return an object of a client and the parts that it has, one of each class."""
    if type(thing) in seen:
        return
    seen.add(type(thing))
    yield path, thing
    for name in dir(type(thing)):
        if name.startswith("_") or name in UTILITIES or inspect.isfunction(getattr(type(thing), name, None)):
            continue
        try:
            part = getattr(thing, name)
        except Exception:  # noqa: BLE001, S112 - a part that this client does not have
            continue
        module = type(part).__module__
        if module.partition(".")[0] in {"openai", "anthropic", "groq", "together", "google", "mistralai", "cohere"}:
            yield from parts(part, f"{path}.{name}", seen)


loop = asyncio.new_event_loop()


def main() -> None:
    count = 0
    for name, client in CLIENTS.items():
        for path, part in parts(client, name, set()):
            if part is client and name.partition(" ")[0] in PARTLY:
                continue
            for method in dir(part):
                function = None if method.startswith("_") or method in SKIPPED else getattr(part, method, None)
                if not inspect.isroutine(function) and not inspect.ismethod(function):
                    continue
                count += 1
                try:
                    result = function(taximeter_team="t")
                    if inspect.isawaitable(result):
                        loop.run_until_complete(asyncio.wait_for(result, 30))
                except BaseException as error:  # noqa: BLE001 - arguments are missing
                    if "taximeter" in str(error):
                        print(f"{path}.{method}: {error}", flush=True)
    print(count)


main()
