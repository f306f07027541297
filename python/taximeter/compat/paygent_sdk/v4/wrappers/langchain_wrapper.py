"""A handler for LangChain's callbacks that reports the calls of models to Paygent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

try:
    from langchain_core.callbacks import BaseCallbackHandler  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    BaseCallbackHandler = None

from ..... import instrument
from ..._client import log
from .._reports import count_of, value_of
from ..constants import ServiceProvider
from ..events import LoggingErrors
from ..meta_tags import tags_of
from ._calls import ReportedCall

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["PaygentLangChainCallback"]

_PACKAGES: Final[dict[str, str]] = {
    "openai": ServiceProvider.OPENAI, "azure_openai": ServiceProvider.AZURE_OPENAI, "anthropic": ServiceProvider.ANTHROPIC,
    "google_vertexai": ServiceProvider.VERTEX_AI, "google_genai": ServiceProvider.VERTEX_AI, "aws": ServiceProvider.BEDROCK,
    "mistralai": ServiceProvider.MISTRAL_AI, "cohere": ServiceProvider.COHERE, "groq": ServiceProvider.GROQ,
    "together": ServiceProvider.TOGETHER_AI, "fireworks": ServiceProvider.FIREWORKS_AI, "cerebras": ServiceProvider.CEREBRAS,
    "huggingface": ServiceProvider.HUGGINGFACE, "deepseek": ServiceProvider.DEEPSEEK, "perplexity": ServiceProvider.PERPLEXITY_AI,
    "deepinfra": ServiceProvider.DEEPINFRA, "nvidia_ai_endpoints": ServiceProvider.NEBIUS, "openrouter": ServiceProvider.OPENROUTER,
    "ai21": ServiceProvider.AI21, "ollama": "Ollama",
}  # fmt: skip
"""Paygent's names of providers, by the ends of the names of LangChain's packages, such as `langchain_openai`."""
_PARTS: Final[dict[str, str]] = {
    "vertex": ServiceProvider.VERTEX_AI, "bedrock": ServiceProvider.BEDROCK, "anthropic": ServiceProvider.ANTHROPIC,
    "mistral": ServiceProvider.MISTRAL_AI, "cohere": ServiceProvider.COHERE, "groq": ServiceProvider.GROQ,
    "fireworks": ServiceProvider.FIREWORKS_AI, "cerebras": ServiceProvider.CEREBRAS, "together": ServiceProvider.TOGETHER_AI,
    "huggingface": ServiceProvider.HUGGINGFACE, "deepseek": ServiceProvider.DEEPSEEK, "perplexity": ServiceProvider.PERPLEXITY_AI,
    "gemini": ServiceProvider.VERTEX_AI, "google": ServiceProvider.GOOGLE, "azure_openai": ServiceProvider.AZURE_OPENAI,
    "azure": ServiceProvider.AZURE_AI, "openai": ServiceProvider.OPENAI,
}  # fmt: skip
"""The same by parts of the names of classes, such as `ChatOpenAI`. The first one that occurs decides."""
_UNKNOWN: Final = "unknown"
_MAX_RUNS: Final = 10_000
"""The most calls followed at once. The oldest are dropped, because some may never end."""


class _Run(ReportedCall):
    """One call of a model. The ledger has it from LangChain's own events, with the agent, customer and indicator given here."""

    def __init__(self, client: Client, provider: str, model: str, ids: tuple[str, ...], name: str, tags: dict[str, str]) -> None:
        super().__init__(client, provider, model, ids, name, tags)
        self._is_metered = True
        self._is_observing = client.destinations.to_ledger
        if self._is_observing:
            instrument.begin_observing(self)

    def step_out(self) -> None:
        """End the observation of this context, because the run has made its request."""
        if self._is_observing:
            instrument.end_observing(self)

    def end(self, response: Any) -> None:
        """Report the tokens of a result, or those of its text if it reports none."""
        if self._model == _UNKNOWN:
            self._model = _model_in(response) or _UNKNOWN
        counts = _counts_in(response)
        if any(counts):
            self.reported(*counts)
        else:
            self.counted("", " ".join(text for one in _generations(response) if (text := getattr(one, "text", None))))


class PaygentLangChainCallback(BaseCallbackHandler or object):  # type: ignore[misc]
    """A handler for LangChain's callbacks that reports the calls of models. It never blocks a call, and never makes one fail.

    These keys in the metadata of a call take precedence over the arguments: `paygent_agent_id`, `paygent_customer_id`,
    `paygent_indicator` and `paygent_meta_tags`. Without an indicator, the name of LangGraph's node is used.

    Args:
        paygent_client: The client that reports.
        indicator: The event that is billed.
        external_agent_id, external_customer_id: The agent, and the customer for whom it works. Calls without both are not reported.
        external_customer_name: The customer's name; by default the id.
        meta_tags: See `send_usage_v2`.

    Raises:
        ImportError: `langchain-core` is not installed.
    """

    # In the context of the call, also for awaited calls.
    run_inline = True

    def __init__(
        self,
        paygent_client: Client,
        indicator: str = "",
        external_agent_id: str = "",
        external_customer_id: str = "",
        external_customer_name: str | None = None,
        meta_tags: Mapping[str, Any] | None = None,
    ) -> None:
        if BaseCallbackHandler is None:
            raise ImportError("PaygentLangChainCallback needs LangChain: pip install langchain-core")
        super().__init__()
        self.paygent_client = paygent_client
        self.indicator = (indicator or "").strip()
        self.external_agent_id = (external_agent_id or "").strip()
        self.external_customer_id = (external_customer_id or "").strip()
        self.external_customer_name = external_customer_name
        self.meta_tags = tags_of(meta_tags).get("metaTags")
        self._runs: dict[Any, _Run] = {}
        self._has_warned = False
        if paygent_client.destinations.to_ledger:
            instrument.hook(("langchain_core",))

    def on_llm_start(
        self, serialized: Mapping[str, Any] | None, _prompts: Any, *, run_id: Any, metadata: Any = None, **parameters: Any
    ) -> None:
        """Remember who makes the call."""
        with LoggingErrors("the report of a call"):
            self._begin(serialized or {}, run_id, metadata or {}, parameters)

    on_chat_model_start = on_llm_start

    def on_llm_new_token(self, *_args: Any, run_id: Any, **_: Any) -> None:
        """End the observation of the caller's context: the request was made."""
        if (run := self._runs.get(run_id)) is not None:
            run.step_out()

    def on_llm_end(self, response: Any, *, run_id: Any, **_: Any) -> None:
        """Report what the call used."""
        if (run := self._ended(run_id)) is not None:
            with LoggingErrors("the report of a call"):
                run.end(response)

    def on_llm_error(self, _error: BaseException, *, run_id: Any, **_: Any) -> None:
        """Forget the call."""
        self._ended(run_id)

    def _ended(self, run_id: Any) -> _Run | None:
        run = self._runs.pop(run_id, None)
        if run is not None:
            run.step_out()
        return run

    def _begin(self, serialized: Mapping[str, Any], run_id: Any, metadata: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        agent = _text(metadata.get("paygent_agent_id")) or self.external_agent_id
        customer = _text(metadata.get("paygent_customer_id")) or self.external_customer_id
        if not agent or not customer:
            if not self._has_warned:
                self._has_warned = True
                log.warning(
                    "calls of LangChain without an agent and a customer are not reported: pass external_agent_id and "
                    "external_customer_id, or paygent_agent_id and paygent_customer_id in a call's metadata"
                )
            return
        indicator = _text(metadata.get("paygent_indicator")) or self.indicator or _text(metadata.get("langgraph_node"))
        tags = tags_of(self.meta_tags, metadata.get("paygent_meta_tags")).get("metaTags", {})
        name = (self.external_customer_name or "") if customer == self.external_customer_id else ""
        provider = _provider_of(serialized, metadata)
        model = _model_of(serialized, metadata, parameters) or _UNKNOWN
        self._runs[run_id] = _Run(self.paygent_client, provider, model, (agent, customer, indicator), name, tags)
        if len(self._runs) > _MAX_RUNS:
            self._ended(next(iter(self._runs)))


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _first_text(values: list[Any]) -> str:
    return next((text for one in values if (text := _text(one))), "")


def _provider_of(serialized: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """Return Paygent's name of a provider: by the package of the model's class, else by the class's name."""
    path = serialized.get("id") or [""]
    package = str(path[0] if isinstance(path, list) else path).lower().removeprefix("langchain_")
    known = max((end for end in _PACKAGES if package.startswith(end)), key=len, default=None)
    if known is not None:
        return _PACKAGES[known]
    for name in (serialized.get("name"), metadata.get("ls_provider")):
        lowered = str(name or "").lower()
        for part, provider in _PARTS.items():
            if part in lowered:
                return provider
    return _UNKNOWN


def _model_of(serialized: Mapping[str, Any], metadata: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """Return the name of the model that is asked; an empty text if only the response will tell."""
    asked, of_class = parameters.get("invocation_params") or {}, serialized.get("kwargs") or {}
    names = [metadata.get("ls_model_name")]
    names += [given.get(name) for given in (asked, of_class) for name in ("model_id", "model_name", "model")]
    return _first_text(names)


def _generations(response: Any) -> list[Any]:
    """Return the generations of the first prompt."""
    first = next(iter(getattr(response, "generations", None) or []), None) or []
    return [one for one in first if one is not None]


def _model_in(response: Any) -> str:
    """Return the name of the model in a result."""
    details = [getattr(response, "llm_output", None)]
    details += [getattr(getattr(one, "message", None), "response_metadata", None) for one in _generations(response)[:1]]
    return _first_text([given.get(name) for given in details if given for name in ("model_name", "model_id")])


def _counts_in(response: Any) -> tuple[int, int, int]:
    """Return the tokens of the prompt, those of the completion, and those that were read from a cache; zeros if none are reported."""
    for usage in _usages_in(response):
        prompt = count_of(usage, "prompt_tokens") or count_of(usage, "input_tokens")
        completion = count_of(usage, "completion_tokens") or count_of(usage, "output_tokens")
        details = value_of(usage, "prompt_tokens_details"), value_of(usage, "input_token_details")
        cached = [count_of(one, name) for one in details if one for name in ("cached_tokens", "cache_read")]
        if prompt or completion:
            return prompt, completion, next(filter(None, cached), 0) or count_of(usage, "cache_read_input_tokens")
    return 0, 0, 0


def _usages_in(response: Any) -> Iterator[Any]:
    """Yield the usage reports of a result: those of the providers first, then LangChain's."""
    output = getattr(response, "llm_output", None) or {}
    message = getattr(next(iter(_generations(response)), None), "message", None)
    yield output.get("token_usage")
    yield output.get("usage")
    yield getattr(message, "usage_metadata", None)
    yield (getattr(message, "response_metadata", None) or {}).get("usage")
