"""Batches of Gemini: each response is reported with its usage by modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ._reports import count_of, tokens_by_modality, value_of
from .events import LoggingErrors
from .models import CustomerCreateOrGetRequest
from .speech_to_speech_usage import SpeechToSpeechUsageMetadata
from .voice_client import VoiceCalls

__all__ = ["BatchCalls", "send_batch_usage", "send_batch_usage_bulk"]


class BatchCalls(VoiceCalls):
    """The calls that report batches. They never raise and never block."""

    def send_batch_usage(
        self,
        agent_id: str,
        customer_id: str,
        indicator: str,
        response_json: Mapping[str, Any],
        *,
        customer_name: str = "",
        provider: str | None = None,
        model: str | None = None,
        plan: str | None = None,
    ) -> None:
        """Report one response of a batch, after creating the customer. A response without usage is skipped with a warning.

        Args:
            agent_id, customer_id: The agent, and the customer for whom it worked.
            indicator: The event that is billed.
            response_json: A line of the batch's results, or the response in it.
            customer_name: The customer's name; by default the id.
            provider: The provider; `google` by default.
            model: The model; by default that of the response.
            plan: The pricing plan.
        """
        self.send_batch_usage_bulk(
            agent_id, customer_id, indicator, [response_json], customer_name=customer_name, provider=provider, model=model, plan=plan
        )

    def send_batch_usage_bulk(
        self,
        agent_id: str,
        customer_id: str,
        indicator: str,
        responses: Sequence[Mapping[str, Any]],
        *,
        customer_name: str = "",
        provider: str | None = None,
        model: str | None = None,
        plan: str | None = None,
    ) -> dict[str, int]:
        """Report the responses of a batch; see `send_batch_usage`. The customer is created once.

        Returns:
            The numbers of responses that are recorded (`sent`) and that have no usage (`skipped`).
        """
        counts = {"sent": 0, "skipped": 0}
        for response in responses or ():
            with LoggingErrors("send_batch_usage"):
                usage = _usage_in(response)
                if usage is None:
                    self.logger.warning("send_batch_usage skipped: the response has no usage")
                else:
                    if not counts["sent"] and (external := str(customer_id or "").strip()):
                        self.create_or_get_customer(CustomerCreateOrGetRequest(customer_name.strip() or external, external))
                    self.track_sts(
                        agent_id, customer_id, indicator, usage,
                        service_provider=provider or "google", model=model or _model_in(response), plan=plan or "default",
                    )  # fmt: skip
                    counts["sent"] += 1
                    continue
            counts["skipped"] += 1
        return counts


send_batch_usage = BatchCalls.send_batch_usage
send_batch_usage_bulk = BatchCalls.send_batch_usage_bulk


def _usage_in(response: Any) -> SpeechToSpeechUsageMetadata | None:
    """Return the usage of a response; `None` if it has none. Documents and unknown modalities count as text."""
    known = response if isinstance(response, Mapping) else {}
    inner = known.get("response")
    usage = inner.get("usageMetadata") if isinstance(inner, Mapping) and "usageMetadata" in inner else known.get("usageMetadata")
    if not isinstance(usage, Mapping):
        return None
    prompt, tools = (
        tokens_by_modality(_listed(value_of(usage, name))) for name in ("prompt_tokens_details", "tool_use_prompt_tokens_details")
    )
    given = {"text": 0, "audio": 0, "image": 0, "video": 0}
    for side in (prompt, tools):
        for name, count in side.items():
            kind = name.lower()
            given[kind if kind in given else "text"] += count
    if not tools:
        given["text"] += count_of(usage, "tool_use_prompt_token_count")
        if not prompt:
            given["text"] += count_of(usage, "prompt_token_count")
    generated = {"text": count_of(usage, "candidates_token_count") + count_of(usage, "thoughts_token_count")}
    return SpeechToSpeechUsageMetadata.of(given, generated, {}, 0)


def _listed(details: Any) -> list[Any]:
    return details if isinstance(details, list) else []


def _model_in(response: Mapping[str, Any]) -> str:
    parts = [response.get("response"), response, response.get("request")]
    inner, outer, request = (part if isinstance(part, Mapping) else {} for part in parts)
    model = inner.get("modelVersion") or outer.get("modelVersion") or request.get("model") or "unknown"
    return str(model).removeprefix("models/")
