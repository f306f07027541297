"""The wrapper around Anthropic's client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..... import instrument
from ..constants import ServiceProvider
from ._calls import ReportedCall, as_text, count

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["MessagesWrapper", "PaygentAnthropic"]


class PaygentAnthropic:
    """A wrapper around Anthropic's client that reports its calls.

    Args:
        anthropic_client: `anthropic.Anthropic`, or an asynchronous client, whose calls are awaited.
        paygent_client: The client that reports.
    """

    def __init__(self, anthropic_client: Any, paygent_client: Client) -> None:
        self.anthropic = anthropic_client
        self.paygent_client = paygent_client
        instrument.hook(("anthropic",))

    @property
    def messages(self) -> MessagesWrapper:
        """Messages."""
        return MessagesWrapper(self.anthropic, self.paygent_client)


class MessagesWrapper:
    """Messages."""

    def __init__(self, anthropic_client: Any, paygent_client: Client) -> None:
        self.anthropic = anthropic_client
        self.paygent_client = paygent_client

    def create(
        self,
        *,
        model: str,
        messages: Any,
        max_tokens: int,
        indicator: str,
        external_agent_id: str,
        external_customer_id: str,
        external_customer_name: str = "",
        **kwargs: Any,
    ) -> Any:
        """Call the client's own method, without streaming.

        Args:
            model, messages, max_tokens: See Anthropic's documentation.
            indicator: The event that is billed.
            external_agent_id, external_customer_id: The agent, and the customer for whom it worked.
            external_customer_name: The customer's name; by default the id.
            kwargs: The method's other arguments.
        """
        reported = ReportedCall(
            self.paygent_client, ServiceProvider.ANTHROPIC, model, indicator,
            external_agent_id, external_customer_id, external_customer_name,
        )  # fmt: skip

        def report(response: Any) -> None:
            usage = getattr(response, "usage", None)
            counts = count(usage, "input_tokens"), count(usage, "output_tokens")
            if any(counts):
                reported.reported(*counts, count(usage, "cache_read_input_tokens") or None)
            else:
                blocks = getattr(response, "content", None) or []
                texts = [getattr(block, "text", None) or "" for block in blocks if getattr(block, "type", None) == "text"]
                reported.counted(as_text(messages), "".join(texts))

        arguments = {"model": model, "messages": messages, "max_tokens": max_tokens, **kwargs, "stream": False}
        return reported.make(lambda: self.anthropic.messages.create(**arguments), report)
