"""The wrapper around Anthropic's client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..... import instrument
from ..constants import ServiceProvider
from ._calls import Part, as_text, count

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["MessagesWrapper", "PaygentAnthropic"]


class _Part(Part):
    @property
    def anthropic(self) -> Any:
        """The wrapped client."""
        return self._inner


class PaygentAnthropic(_Part):
    """A wrapper around Anthropic's client that reports its calls.

    Args:
        anthropic_client: `anthropic.Anthropic`, or an asynchronous client, whose calls are awaited.
        paygent_client: The client that reports.
    """

    def __init__(self, anthropic_client: Any, paygent_client: Client) -> None:
        super().__init__(anthropic_client, paygent_client)
        instrument.hook(("anthropic",))

    @property
    def messages(self) -> MessagesWrapper:
        """Messages."""
        return MessagesWrapper(self.anthropic, self.paygent_client)


class MessagesWrapper(_Part):
    """Messages."""

    def create(self, *, messages: Any, max_tokens: int, **arguments: Any) -> Any:
        """Call the client's own method, without streaming; see `Part` for the further keywords."""
        reported = self._call(ServiceProvider.ANTHROPIC, arguments)

        def report(response: Any) -> None:
            usage = getattr(response, "usage", None)
            counts = count(usage, "input_tokens"), count(usage, "output_tokens")
            if any(counts):
                reported.reported(*counts, count(usage, "cache_read_input_tokens") or None)
            else:
                blocks = getattr(response, "content", None) or []
                texts = [getattr(block, "text", None) or "" for block in blocks if getattr(block, "type", None) == "text"]
                reported.counted(as_text(messages), "".join(texts))

        sent = {**arguments, "messages": messages, "max_tokens": max_tokens, "stream": False}
        return reported.make(lambda: self.anthropic.messages.create(**sent), report)
