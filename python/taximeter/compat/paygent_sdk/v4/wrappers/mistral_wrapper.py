"""The wrapper around Mistral's client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..... import instrument
from ..constants import ServiceProvider
from ._calls import Part, as_text, count

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["ChatWrapper", "PaygentMistral"]


class _Part(Part):
    @property
    def mistral(self) -> Any:
        """The wrapped client."""
        return self._inner


class PaygentMistral(_Part):
    """A wrapper around Mistral's client that reports its calls.

    Args:
        mistral_client: `mistralai.Mistral`.
        paygent_client: The client that reports.
    """

    def __init__(self, mistral_client: Any, paygent_client: Client) -> None:
        super().__init__(mistral_client, paygent_client)
        instrument.hook(("mistralai",))

    @property
    def chat(self) -> ChatWrapper:
        """Chats."""
        return ChatWrapper(self.mistral, self.paygent_client)


class ChatWrapper(_Part):
    """Chats."""

    def complete(self, *, messages: Any, **arguments: Any) -> Any:
        """Call the client's own method; see `Part` for the further keywords."""
        return self._make("complete", messages, arguments)

    def complete_async(self, *, messages: Any, **arguments: Any) -> Any:
        """Call the client's own asynchronous method; see `complete`."""
        return self._make("complete_async", messages, arguments)

    def _make(self, method: str, messages: Any, arguments: dict[str, Any]) -> Any:
        reported = self._call(ServiceProvider.MISTRAL_AI, arguments)

        def report(response: Any) -> None:
            usage = getattr(response, "usage", None)
            counts = count(usage, "prompt_tokens"), count(usage, "completion_tokens")
            if any(counts):
                reported.reported(*counts)
            else:
                choices = getattr(response, "choices", None) or [None]
                content = getattr(getattr(choices[0], "message", None), "content", None)
                reported.counted(as_text(messages), as_text(content or ""))

        return reported.make(lambda: getattr(self.mistral.chat, method)(messages=messages, **arguments), report)
