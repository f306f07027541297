"""The wrapper around Gemini's client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..... import instrument
from ..constants import ServiceProvider
from ._calls import Part, ReportedCall, as_text, count

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["ChatSessionWrapper", "ModelsWrapper", "PaygentGemini"]


class _Part(Part):
    @property
    def gemini(self) -> Any:
        """The wrapped client."""
        return self._inner


class PaygentGemini(_Part):
    """A wrapper around the client of `google-genai` that reports its calls.

    Args:
        gemini_client: `google.genai.Client`.
        paygent_client: The client that reports.
    """

    def __init__(self, gemini_client: Any, paygent_client: Client) -> None:
        super().__init__(gemini_client, paygent_client)
        instrument.hook(("google.genai",))

    @property
    def models(self) -> ModelsWrapper:
        """Models."""
        return ModelsWrapper(self.gemini, self.paygent_client)


class ModelsWrapper(_Part):
    """Models."""

    def generate_content(self, *, contents: Any, **arguments: Any) -> Any:
        """Call the client's own method; see `Part` for the further keywords."""
        reported = self._call(ServiceProvider.GOOGLE, arguments)
        return reported.make(
            lambda: self.gemini.models.generate_content(contents=contents, **arguments),
            lambda response: _report(reported, contents, response),
        )

    def generate_image(self, *, prompt: str, **arguments: Any) -> Any:
        """Generate images with a model that answers with content; see `generate_content`, whose `contents` are the prompt."""
        return self.generate_content(contents=prompt, **arguments)

    def start_chat(
        self,
        *,
        model: str,
        indicator: str,
        external_agent_id: str,
        external_customer_id: str,
        external_customer_name: str = "",
        **kwargs: Any,
    ) -> ChatSessionWrapper:
        """Start a chat whose messages are reported; see `Part` for the further keywords."""
        start = getattr(self.gemini.models, "start_chat", None) or self.gemini.chats.create
        session = ChatSessionWrapper(
            start(model=model, **kwargs), self.paygent_client, model, indicator, external_agent_id, external_customer_id
        )
        session.external_customer_name = external_customer_name
        return session


class ChatSessionWrapper:
    """A chat.

    Args:
        chat_session: The client's own chat.
        paygent_client: The client that reports.
        model_name: The model.
        indicator: The event that is billed.
        external_agent_id, external_customer_id: The agent, and the customer for whom it works.
    """

    external_customer_name = ""

    def __init__(
        self,
        chat_session: Any,
        paygent_client: Client,
        model_name: str,
        indicator: str,
        external_agent_id: str,
        external_customer_id: str,
    ) -> None:
        self.chat_session = chat_session
        self.paygent_client = paygent_client
        self.model_name = model_name
        self.indicator = indicator
        self.external_agent_id = external_agent_id
        self.external_customer_id = external_customer_id

    def send_message(self, message: Any, **kwargs: Any) -> Any:
        """Call the client's own method."""
        ids = self.external_agent_id, self.external_customer_id, self.indicator
        reported = ReportedCall(self.paygent_client, ServiceProvider.GOOGLE, self.model_name, ids, self.external_customer_name)
        return reported.make(
            lambda: self.chat_session.send_message(message, **kwargs), lambda response: _report(reported, message, response)
        )

    def get_history(self) -> Any:
        """Return the messages so far."""
        return self.chat_session.get_history()


def _report(reported: ReportedCall, contents: Any, response: Any) -> None:
    usage = getattr(response, "usage_metadata", None)
    # Thinking tokens are billed as output.
    generated = count(usage, "candidates_token_count") + count(usage, "thoughts_token_count")
    given = count(usage, "prompt_token_count")
    if given or generated:
        reported.reported(given, generated, count(usage, "cached_content_token_count") or None)
    else:
        reported.counted(as_text(contents), getattr(response, "text", None) or "")
