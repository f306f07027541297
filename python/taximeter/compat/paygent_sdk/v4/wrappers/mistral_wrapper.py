"""The wrapper around Mistral's client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..... import instrument
from ..constants import ServiceProvider
from ._calls import ReportedCall, as_text, count

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["ChatWrapper", "PaygentMistral"]


class PaygentMistral:
    """A wrapper around Mistral's client that reports its calls.

    Args:
        mistral_client: `mistralai.Mistral`.
        paygent_client: The client that reports.
    """

    def __init__(self, mistral_client: Any, paygent_client: Client) -> None:
        self.mistral = mistral_client
        self.paygent_client = paygent_client
        instrument.hook(("mistralai",))

    @property
    def chat(self) -> ChatWrapper:
        """Chats."""
        return ChatWrapper(self.mistral, self.paygent_client)


class ChatWrapper:
    """Chats."""

    def __init__(self, mistral_client: Any, paygent_client: Client) -> None:
        self.mistral = mistral_client
        self.paygent_client = paygent_client

    def complete(self, **arguments: Any) -> Any:
        """Call the client's own method.

        Args:
            arguments: `model`, `messages` and the method's other arguments; the `indicator` that is billed, `external_agent_id`,
                `external_customer_id`, and optionally `external_customer_name`.
        """
        return self._make("complete", **arguments)

    def complete_async(self, **arguments: Any) -> Any:
        """Call the client's own asynchronous method; see `complete`."""
        return self._make("complete_async", **arguments)

    def _make(
        self,
        method: str,
        *,
        model: str,
        messages: Any,
        indicator: str,
        external_agent_id: str,
        external_customer_id: str,
        external_customer_name: str = "",
        **kwargs: Any,
    ) -> Any:
        reported = ReportedCall(
            self.paygent_client, ServiceProvider.MISTRAL_AI, model, indicator,
            external_agent_id, external_customer_id, external_customer_name,
        )  # fmt: skip

        def report(response: Any) -> None:
            usage = getattr(response, "usage", None)
            counts = count(usage, "prompt_tokens"), count(usage, "completion_tokens")
            if any(counts):
                reported.reported(*counts)
            else:
                choices = getattr(response, "choices", None) or [None]
                content = getattr(getattr(choices[0], "message", None), "content", None)
                reported.counted(as_text(messages), as_text(content or ""))

        return reported.make(lambda: getattr(self.mistral.chat, method)(model=model, messages=messages, **kwargs), report)
