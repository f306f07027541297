"""Calls models of LangChain with Paygent's callback: the original's, or taximeter's.

Arguments: the provider's URL, Paygent's URL, and `original`, `ours`, `ledger` or `metered`.
"""

import asyncio
import os
import sys
import threading
import uuid

from common import url

PAYGENT, MODE = sys.argv[2:]
os.environ |= {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{url()}/v1", "ANTHROPIC_API_KEY": "k", "NO_PROXY": "*"}
if MODE != "original":
    import taximeter.compat

    if MODE == "metered":
        taximeter.init()
    taximeter.compat.install("paygent_sdk", version="4")
import paygent_sdk  # noqa: E402

assert "langchain_core" not in sys.modules
from langchain_anthropic import ChatAnthropic  # noqa: E402
from langchain_core.language_models import BaseChatModel  # noqa: E402
from langchain_core.messages import AIMessage  # noqa: E402
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult  # noqa: E402
from langchain_openai import ChatOpenAI  # noqa: E402
from paygent_sdk import PaygentLangGraphCallback  # noqa: E402
from paygent_sdk.wrappers.langchain_wrapper import PaygentLangChainCallback  # noqa: E402

how = {"destination": ("paygent", "ledger")} if MODE in {"ledger", "metered"} else {}
client = paygent_sdk.Client("KEY", **how)
client.base_url = PAYGENT


class Own(BaseChatModel):
    """A model whose client taximeter does not know."""

    usage: dict | None = None

    @property
    def _llm_type(self):
        return "own"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        message = AIMessage(content="an answer", usage_metadata=self.usage, response_metadata={"model_name": "own-1"})
        return ChatResult(generations=[ChatGeneration(message=message)])


tracker = PaygentLangChainCallback(client, "chat", "agent", "customer", "Acme", {"t": "v"})
graph = PaygentLangGraphCallback(client, external_agent_id="agent", external_customer_id="customer")
with_tracker = {"callbacks": [tracker]}
gpt, claude = ChatOpenAI(model="gpt-4o", stream_usage=True), ChatAnthropic(model="claude-sonnet-5", base_url=url())
usage = {"input_tokens": 100, "output_tokens": 5, "total_tokens": 105, "input_token_details": {"cache_read": 40}}


def settle():
    if MODE == "original":
        # Its threads hand over to the client's, which send.
        for thread in threading.enumerate():
            if thread.name.endswith(("(_send)", "(_task)")):
                thread.join()
        client._executor.shutdown(wait=True)
        return
    assert client.flush(20)
    if MODE in {"ledger", "metered"}:
        taximeter.flush(20)


gpt.invoke("a secret question", with_tracker)
for _part in gpt.stream("a secret question", with_tracker):
    # A call within a stream is not the stream's.
    Own().invoke("q")
asyncio.run(gpt.ainvoke("a secret question", with_tracker))
claude.invoke("a secret question", with_tracker)
Own(usage=usage).invoke("a secret question", with_tracker)
Own().invoke("a secret question", {"callbacks": [graph], "metadata": {"langgraph_node": "research"}})
named = {"paygent_agent_id": "other", "paygent_customer_id": "c2", "paygent_indicator": "i2", "paygent_meta_tags": {"u": "w"}}
Own(usage=usage).invoke("a secret question", {**with_tracker, "metadata": {**named, "langgraph_node": "research"}})
Own(usage=usage).invoke("a secret question", {"callbacks": [PaygentLangChainCallback(client)]})
try:
    ChatOpenAI(model="error", max_retries=0).invoke("a secret question", with_tracker)
except Exception as error:
    assert "BadRequest" in str(type(error).__mro__), error
# What other packages of LangChain pass.
OUTPUTS = [
    {
        "token_usage": {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 4}},
        "model_name": "late",
    },
    {"usage": {"input_tokens": 9, "output_tokens": 1, "cache_read_input_tokens": 3}},
]
SERIALIZED = [
    {"id": ["langchain_google_vertexai", "chat"], "kwargs": {"model_name": "gemini-2.5-pro"}},
    {"id": ["langchain_aws", "chat"], "kwargs": {"model_id": "amazon.nova-micro-v1:0"}},
    {"id": ["langchain", "chat_models"], "name": "AzureChatOpenAI"},
    {},
]
if MODE in {"original", "ours"}:
    for serialized in SERIALIZED:
        for output in OUTPUTS:
            run = uuid.uuid4()
            tracker.on_llm_start(serialized, ["a secret question"], run_id=run)
            tracker.on_llm_end(LLMResult(generations=[], llm_output=output), run_id=run)
settle()
