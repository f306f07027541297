"""The wrapper around OpenAI's client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..... import instrument
from ..constants import ServiceProvider
from ._calls import Part, as_text, count

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["ChatCompletionsWrapper", "ChatWrapper", "EmbeddingsWrapper", "ImagesWrapper", "PaygentOpenAI"]

_DEFAULT_IMAGE_MODEL: Final = "dall-e-2"


class _Part(Part):
    @property
    def openai(self) -> Any:
        """The wrapped client."""
        return self._inner


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

    def create(self, *, messages: Any, **arguments: Any) -> Any:
        """Call the client's own method, without streaming; see `Part` for the further keywords."""
        reported = self._call(ServiceProvider.OPENAI, arguments)

        def report(response: Any) -> None:
            usage: Any = getattr(response, "usage", None)
            if count(usage, "prompt_tokens"):
                cached = count(getattr(usage, "prompt_tokens_details", None), "cached_tokens")
                reported.reported(usage.prompt_tokens, count(usage, "completion_tokens"), cached)
            else:
                choices = getattr(response, "choices", None) or [None]
                reported.counted(as_text(messages), getattr(getattr(choices[0], "message", None), "content", None) or "")

        sent = {**arguments, "messages": messages, "stream": False}
        return reported.make(lambda: self.openai.chat.completions.create(**sent), report)


class EmbeddingsWrapper(_Part):
    """Embeddings."""

    def create(self, *, input: Any, **arguments: Any) -> Any:  # noqa: A002 - the client's
        """Call the client's own method; see `Part` for the further keywords."""
        reported = self._call(ServiceProvider.OPENAI, arguments)

        def report(response: Any) -> None:
            if tokens := count(getattr(response, "usage", None), "prompt_tokens"):
                reported.reported(tokens, 0)
            else:
                reported.counted(" ".join(map(str, input)) if isinstance(input, list) else str(input), "")

        return reported.make(lambda: self.openai.embeddings.create(input=input, **arguments), report)


class ImagesWrapper(_Part):
    """Images."""

    def generate(self, *, prompt: str, model: str | None = None, **arguments: Any) -> Any:
        """Call the client's own method; see `Part` for the further keywords. If none are reported, the prompt's tokens are."""
        reported = self._call(ServiceProvider.OPENAI, arguments, model or _DEFAULT_IMAGE_MODEL)

        def report(response: Any) -> None:
            usage: Any = getattr(response, "usage", None)
            if count(usage, "input_tokens"):
                reported.reported(usage.input_tokens, count(usage, "output_tokens"))
            else:
                reported.counted(prompt or "", "")

        sent = {"prompt": prompt, **arguments, **({"model": model} if model else {})}
        return reported.make(lambda: self.openai.images.generate(**sent), report)
