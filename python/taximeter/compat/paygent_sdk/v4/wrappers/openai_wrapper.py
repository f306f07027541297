"""The wrapper around OpenAI's client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..... import instrument
from ..constants import ServiceProvider
from ._calls import ReportedCall, as_text, count

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["ChatCompletionsWrapper", "ChatWrapper", "EmbeddingsWrapper", "ImagesWrapper", "PaygentOpenAI"]

_DEFAULT_IMAGE_MODEL = "dall-e-2"


class _Part:
    def __init__(self, openai_client: Any, paygent_client: Client) -> None:
        self.openai = openai_client
        self.paygent_client = paygent_client


class PaygentOpenAI(_Part):
    """A wrapper around OpenAI's client that reports its calls.

    Args:
        openai_client: `openai.OpenAI`, or an asynchronous client, whose calls are awaited.
        paygent_client: The client that reports.
    """

    def __init__(self, openai_client: Any, paygent_client: Client) -> None:
        super().__init__(openai_client, paygent_client)
        instrument.hook(("openai",))

    @property
    def chat(self) -> ChatWrapper:
        """Chats."""
        return ChatWrapper(self.openai, self.paygent_client)

    @property
    def embeddings(self) -> EmbeddingsWrapper:
        """Embeddings."""
        return EmbeddingsWrapper(self.openai, self.paygent_client)

    @property
    def images(self) -> ImagesWrapper:
        """Images."""
        return ImagesWrapper(self.openai, self.paygent_client)


class ChatWrapper(_Part):
    """Chats."""

    @property
    def completions(self) -> ChatCompletionsWrapper:
        """Their responses."""
        return ChatCompletionsWrapper(self.openai, self.paygent_client)


class ChatCompletionsWrapper(_Part):
    """Responses of chats."""

    def create(
        self,
        *,
        model: str,
        messages: Any,
        indicator: str,
        external_agent_id: str,
        external_customer_id: str,
        external_customer_name: str = "",
        **kwargs: Any,
    ) -> Any:
        """Call the client's own method, without streaming.

        Args:
            model, messages: See OpenAI's documentation.
            indicator: The event that is billed.
            external_agent_id, external_customer_id: The agent, and the customer for whom it worked.
            external_customer_name: The customer's name; by default the id.
            kwargs: The method's other arguments.
        """
        reported = ReportedCall(
            self.paygent_client,
            ServiceProvider.OPENAI,
            model,
            indicator,
            external_agent_id,
            external_customer_id,
            external_customer_name,
        )

        def report(response: Any) -> None:
            usage: Any = getattr(response, "usage", None)
            if count(usage, "prompt_tokens"):
                cached = count(getattr(usage, "prompt_tokens_details", None), "cached_tokens")
                reported.reported(usage.prompt_tokens, count(usage, "completion_tokens"), cached)
            else:
                choices = getattr(response, "choices", None) or [None]
                reported.counted(as_text(messages), getattr(getattr(choices[0], "message", None), "content", None) or "")

        arguments = {"model": model, "messages": messages, **kwargs, "stream": False}
        return reported.make(lambda: self.openai.chat.completions.create(**arguments), report)


class EmbeddingsWrapper(_Part):
    """Embeddings."""

    def create(
        self,
        *,
        model: str,
        input: Any,  # noqa: A002 - the client's
        indicator: str,
        external_agent_id: str,
        external_customer_id: str,
        external_customer_name: str = "",
        **kwargs: Any,
    ) -> Any:
        """Call the client's own method; see `ChatCompletionsWrapper.create`."""
        reported = ReportedCall(
            self.paygent_client,
            ServiceProvider.OPENAI,
            model,
            indicator,
            external_agent_id,
            external_customer_id,
            external_customer_name,
        )

        def report(response: Any) -> None:
            if tokens := count(getattr(response, "usage", None), "prompt_tokens"):
                reported.reported(tokens, 0)
            else:
                reported.counted(" ".join(map(str, input)) if isinstance(input, list) else str(input), "")

        return reported.make(lambda: self.openai.embeddings.create(model=model, input=input, **kwargs), report)


class ImagesWrapper(_Part):
    """Images."""

    def generate(
        self,
        *,
        model: str | None = None,
        prompt: str,
        indicator: str,
        external_agent_id: str,
        external_customer_id: str,
        external_customer_name: str = "",
        **kwargs: Any,
    ) -> Any:
        """Call the client's own method; see `ChatCompletionsWrapper.create`. If no tokens are reported, those of the prompt are."""
        reported = ReportedCall(
            self.paygent_client, ServiceProvider.OPENAI, model or _DEFAULT_IMAGE_MODEL, indicator,
            external_agent_id, external_customer_id, external_customer_name,
        )  # fmt: skip

        def report(response: Any) -> None:
            usage: Any = getattr(response, "usage", None)
            if count(usage, "input_tokens"):
                reported.reported(usage.input_tokens, count(usage, "output_tokens"))
            else:
                reported.counted(prompt or "", "")

        arguments = {"prompt": prompt, **kwargs, **({"model": model} if model else {})}
        return reported.make(lambda: self.openai.images.generate(**arguments), report)
