"""Calls the oldest supported clients: openai 1.0, anthropic 0.25, httpx 0.27."""

import common
from common import QUESTION, gathered, url

common.metered()
import anthropic  # noqa: E402
import openai  # noqa: E402

gpt = openai.OpenAI(api_key="k", base_url=f"{url()}/v1")
claude = anthropic.Anthropic(api_key="k", base_url=url())
CHAT = {"model": "gpt-4o", "messages": QUESTION}
MESSAGE = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": QUESTION}


def helper():
    with claude.messages.stream(**MESSAGE) as stream:
        return [list(stream.text_stream), stream.get_final_message()]


async def asked():
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{url()}/v1") as client:
        return [await client.chat.completions.create(**CHAT), await gathered(client.chat.completions.create(**CHAT, stream=True))]


async def answered():
    async with anthropic.AsyncAnthropic(api_key="k", base_url=url()) as client:
        return [await client.messages.create(**MESSAGE), await gathered(client.messages.create(**MESSAGE, stream=True))]


common.run(
    [
        ("openai create", lambda: gpt.chat.completions.create(**CHAT)),
        ("openai stream", lambda: list(gpt.chat.completions.create(**CHAT, stream=True))),
        ("openai raw", lambda: gpt.chat.completions.with_raw_response.create(**CHAT).parse()),
        ("openai embeddings", lambda: gpt.embeddings.create(model="text-embedding-3-small", input="x")),
        ("openai refused", lambda: gpt.chat.completions.create(model="gpt-error", messages=QUESTION)),
        ("openai async", asked),
        ("anthropic create", lambda: claude.messages.create(**MESSAGE)),
        ("anthropic stream", lambda: list(claude.messages.create(**MESSAGE, stream=True))),
        ("anthropic helper", helper),
        ("anthropic async", answered),
    ]
)
