"""Meters real clients against a fake provider on 127.0.0.1, and prints the costs from the ledger by team and feature.

Run it with `make demo`. Nothing leaves this host, and no call costs money.
"""

from __future__ import annotations

import asyncio
import tempfile

from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

import taximeter
from fake_provider import FakeProvider

QUESTION = [{"role": "user", "content": "Is the meter running?"}]


@taximeter.attribute(team="search", feature="ranking")
def rank(client: OpenAI) -> None:
    client.chat.completions.create(model="gpt-4o", messages=QUESTION)
    client.responses.create(model="gpt-4.1-mini", input="Is the meter running?")


@taximeter.attribute(team="support", feature="chat")
def chat(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="gpt-4o-mini", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    print("gpt-4o-mini says:", "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices))


@taximeter.attribute(team="support", feature="summaries")
async def summarise(openai: AsyncOpenAI, anthropic: AsyncAnthropic) -> None:
    await openai.chat.completions.create(model="gpt-4o", messages=QUESTION)
    await anthropic.messages.create(model="claude-sonnet-5", max_tokens=100, messages=QUESTION)
    async with anthropic.messages.stream(model="claude-haiku-4-5", max_tokens=100, messages=QUESTION) as stream:
        print("claude-haiku-4-5 says:", await stream.get_final_text())


async def main() -> None:
    with FakeProvider() as provider, tempfile.TemporaryDirectory() as state_dir:
        taximeter.init(state_dir=state_dir)  # this is all; by default, the ledger is in your home directory

        openai = OpenAI(api_key="demo", base_url=f"{provider.url}/v1")
        anthropic = Anthropic(api_key="demo", base_url=provider.url)
        rank(openai)
        chat(openai)
        anthropic.messages.create(model="claude-opus-5", max_tokens=100, messages=QUESTION)
        async with (
            AsyncOpenAI(api_key="demo", base_url=f"{provider.url}/v1") as async_openai,
            AsyncAnthropic(api_key="demo", base_url=provider.url) as async_anthropic,
        ):
            await summarise(async_openai, async_anthropic)

        taximeter.flush()
        ledger = taximeter.Ledger(f"{state_dir}/ledger.db")
        print("\nby team, feature and model")
        print(ledger.report(by=("team", "feature", "model")))
        print("\nby provider")
        print(ledger.report(by="provider"))
        taximeter.close()


asyncio.run(main())
