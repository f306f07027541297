"""Calls openai 2 through libraries that use it: litellm, the agents SDK and langchain. A call through layers must count once."""

import asyncio
import os
import pickle

import common
from common import QUESTION, url

os.environ |= {
    "OPENAI_API_KEY": "k",
    "OPENAI_BASE_URL": f"{url()}/v1",
    "ANTHROPIC_API_KEY": "k",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NO_PROXY": "*",
}
import litellm  # noqa: E402
from litellm import completion as named_early  # noqa: E402

IS_METERED = common.metered()
import agents  # noqa: E402
from langchain_anthropic import ChatAnthropic  # noqa: E402
from langchain_core.callbacks import CallbackManager  # noqa: E402
from langchain_core.language_models import BaseChatModel  # noqa: E402
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage  # noqa: E402
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult  # noqa: E402
from langchain_openai import ChatOpenAI  # noqa: E402

CHAT = {"model": "openai/gpt-4o", "messages": QUESTION, "api_base": f"{url()}/v1"}
DIRECT = {"model": "anthropic/claude-sonnet-5", "messages": QUESTION, "api_base": url()}
OWN = {"taximeter_feature": "f"} if IS_METERED else {}
"""A keyword of taximeter, which the clients do not know."""
UNREPORTED = {"model": "groq/gpt-unreported", "messages": QUESTION, "api_base": f"{url()}/v1", "api_key": "k"}
router = litellm.Router([{"model_name": "mine", "litellm_params": {name: CHAT[name] for name in ("model", "api_base")}}])
gpt = ChatOpenAI(model="gpt-4o", stream_usage=True)
claude = ChatAnthropic(model="claude-sonnet-5", base_url=url())


class Own(BaseChatModel):
    """A model whose client taximeter does not know."""

    asked: str = "gpt-own"

    @property
    def _llm_type(self):
        return "own"

    def _ask(self):
        import json
        import urllib.request

        body = json.dumps({"model": self.asked, "messages": QUESTION}).encode()
        request = urllib.request.Request(f"{url()}/v1/chat/completions", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as response:
            answer = json.loads(response.read())
        usage = answer["usage"]
        counts = {"input": "prompt_tokens", "output": "completion_tokens", "total": "total_tokens"}
        return answer["choices"][0]["message"]["content"], {f"{ours}_tokens": usage[theirs] for ours, theirs in counts.items()}

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        content, usage = self._ask()
        message = AIMessage(content=content, usage_metadata=usage, response_metadata={"model_name": "gpt-own"})
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        content, usage = self._ask()
        metadata = {"model_name": "gpt-own"}
        yield ChatGenerationChunk(message=AIMessageChunk(content=content, response_metadata=metadata))
        yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=usage))


own, refused = Own(), Own(asked="error")


async def awaited():
    first = (await own.ainvoke("q")).content
    return [first, [part.content async for part in own.astream("q")]]


def agent():
    model = agents.OpenAIResponsesModel("gpt-4.1", agents.AsyncOpenAI(base_url=f"{url()}/v1"))
    return asyncio.run(agents.Runner.run(agents.Agent(name="a", model=model), "q")).final_output


async def asynchronously():
    alone = text(await litellm.acompletion(**DIRECT))
    streamed = len(await common.gathered(litellm.acompletion(**DIRECT, stream=True)))
    beneath = text(await litellm.acompletion(**CHAT))
    # It logs calls in tasks of its own.
    await asyncio.sleep(0.5)
    return [alone, streamed, beneath]


async def routed():
    return text(await router.acompletion(model="mine", messages=QUESTION))


def interleaved():
    stream = litellm.completion(**DIRECT, stream=True)
    other = gpt.invoke("q").content
    return [other, len(list(stream))]


def text(answer):
    return [answer.choices[0].message.content, answer.usage.prompt_tokens]


common.run(
    [
        ("litellm over openai", lambda: text(litellm.completion(**CHAT))),
        ("litellm over openai, stream", lambda: len(list(litellm.completion(**CHAT, stream=True)))),
        ("litellm alone", lambda: text(litellm.completion(**DIRECT))),
        ("litellm alone, stream", lambda: len(list(litellm.completion(**DIRECT, stream=True)))),
        ("litellm, a function of before", lambda: text(named_early(**DIRECT, **OWN))),
        ("litellm, a stream without usage", lambda: len(list(litellm.completion(**UNREPORTED, stream=True)))),
        ("litellm, a stream that is read after another call", lambda: interleaved()),
        ("litellm, asynchronously", asynchronously),
        ("litellm's router", lambda: text(router.completion(model="mine", messages=QUESTION))),
        ("litellm's router, asynchronously", lambda: routed()),
        ("langchain over openai", lambda: gpt.invoke("q").content),
        ("langchain over openai, stream", lambda: [part.content for part in gpt.stream("q")]),
        ("langchain over anthropic", lambda: claude.invoke("q").content),
        ("langchain over anthropic, stream", lambda: [part.content for part in claude.stream("q")]),
        ("agents", agent),
        ("langchain over a client that is not known", lambda: own.invoke("q").content),
        ("the same, as a stream", lambda: [part.content for part in own.stream("q")]),
        ("the same, asynchronously", awaited),
        ("the same, refused", lambda: refused.invoke("q")),
        ("the same, refused as a stream", lambda: list(refused.stream("q"))),
        ("the same, refused asynchronously", lambda: refused.ainvoke("q")),
        ("langchain over openai, refused", lambda: ChatOpenAI(model="error", max_retries=1).invoke("q")),
        (
            "langchain, two prompts at once",
            lambda: [each[0].text for each in gpt.generate([[HumanMessage("a")], [HumanMessage("b")]]).generations],
        ),
        (
            "langchain, a call within a stream of another",
            lambda: [[part.content, gpt.invoke("q").content] for part in own.stream("q")],
        ),
        (
            "the same, two prompts at once",
            lambda: [each[0].text for each in own.generate([[HumanMessage("a")], [HumanMessage("b")]]).generations],
        ),
        ("langchain's callbacks, copied", lambda: len(pickle.loads(pickle.dumps(CallbackManager.configure())).handlers) <= 1),
        ("the same, many at once", lambda: [answer.content for answer in own.batch(["a", "b", "c"])]),
    ]
)
