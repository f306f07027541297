"""Reports the sessions of LiveKit's agents to Paygent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from .._reports import count_of
from ..events import LoggingErrors
from ..models import CustomerCreateOrGetRequest

if TYPE_CHECKING:
    from ..client import Client
    from ..models import LLMConfig, STSConfig, STTConfig, TTSConfig

__all__ = ["LiveKitPaygentHook"]

_UNKNOWN: Final = "unknown"
_CHARACTERS: Final = ("character_count", "characters_count", "text_length", "characters")
"""The names that versions of LiveKit have for the number of characters."""
_CACHED: Final = ("prompt_cached_tokens", "cached_tokens", "cache_read_input_tokens")


class LiveKitPaygentHook:
    """Reports the metrics of a session of LiveKit, and bills the session when it ends.

    The requests wait for Paygent's response, unless the client has `background=True`. A failed one is logged, and never disturbs the
    session.

    Args:
        paygent_client: The client that reports.
        agent_id, customer_id: The agent, and the customer for whom it works.
        session_id: The id of the session.
        indicator_name: The event that is billed when the session ends.
        customer_name: The customer's name; by default the id.
        llm_config, stt_config, tts_config, sts_config: The services in use. By default, the metrics name them.
        additional_indicators: Further events that the session is billed as.
        meta_tags: See `Client.send_usage_v2`.
    """

    def __init__(
        self,
        paygent_client: Client,
        agent_id: str,
        customer_id: str,
        session_id: str,
        indicator_name: str = "voice-session",
        customer_name: str | None = None,
        llm_config: LLMConfig | None = None,
        stt_config: STTConfig | None = None,
        tts_config: TTSConfig | None = None,
        sts_config: STSConfig | None = None,
        additional_indicators: Sequence[str] | None = None,
        meta_tags: Mapping[str, Any] | None = None,
    ) -> None:
        self.paygent = paygent_client
        self.agent_id = agent_id
        self.customer_id = customer_id
        self.session_id = session_id
        self.indicator_name = indicator_name
        self.customer_name = customer_name
        self.llm_config = llm_config
        self.stt_config = stt_config
        self.tts_config = tts_config
        self.sts_config = sts_config
        self.additional_indicators = additional_indicators
        self.meta_tags = meta_tags
        self.logger = paygent_client.get_logger()
        self._is_initialized = False
        self._is_finalized = False
        self._started: float | None = None
        self._by_type: dict[str, Callable[[Any], None]] = {
            "realtime_model_metrics": self._report_sts,
            "llm_metrics": self._report_llm,
            "stt_metrics": self._report_stt,
            "tts_metrics": self._report_tts,
        }

    def attach(self, target: Any) -> None:
        """Begin the session at Paygent, and listen to an `AgentSession` or an agent of an older version.

        Raises:
            AttributeError: The target has no events.
        """
        customer = CustomerCreateOrGetRequest(name=self.customer_name or self.customer_id, external_id=self.customer_id)
        with LoggingErrors("the customer of a session"):
            self.paygent.create_or_get_customer(customer)
        with LoggingErrors("the start of a session"):
            self.paygent.initialize_voice_session(self.session_id, self.agent_id, self.customer_id, self.meta_tags)
            self._is_initialized = True
        target.on("metrics_collected")(self._collected)
        # Depending on LiveKit's version, one of these or both end a session.
        target.on("shutdown")(self._closed)
        target.on("close")(self._closed)

    def end_session(self) -> None:
        """Bill the session with its duration since the first metrics. A second call, or one without metrics, has no effect."""
        if self._is_finalized or not self._is_initialized or self._started is None:
            self._is_finalized = self._is_finalized or not self._is_initialized
            return
        minutes = (time.monotonic() - self._started) / 60
        with LoggingErrors("the end of a session"):
            self.paygent.set_voice_indicator(self.session_id, self.indicator_name, minutes)
            if self.additional_indicators:
                self.paygent.set_additional_voice_indicator(self.session_id, self.additional_indicators, minutes)
            self._is_finalized, self._is_initialized = True, False

    def _collected(self, event: Any) -> None:
        with LoggingErrors("the metrics of a session"):
            metrics = getattr(event, "metrics", event)
            report = self._by_type.get(getattr(metrics, "type", None) or "") or self._by_shape(metrics)
            if report is not None:
                if self._started is None:
                    self._started = time.monotonic()
                report(metrics)

    def _closed(self, *_args: Any, **_: Any) -> None:
        self.end_session()

    def _by_shape(self, metrics: Any) -> Callable[[Any], None] | None:
        """Return how to report metrics of versions that do not name their type."""
        if hasattr(metrics, "prompt_tokens") and hasattr(metrics, "completion_tokens"):
            return self._report_llm
        if not hasattr(metrics, "audio_duration"):
            return None
        return self._report_tts if hasattr(metrics, "playback_duration") else self._report_stt

    def _report_llm(self, metrics: Any) -> None:
        cached = count_of(getattr(metrics, "prompt_tokens_details", None), "cached_tokens") or _first(metrics, _CACHED)
        usage = {
            **_names(metrics, self.llm_config),
            "promptTokens": _first(metrics, ("prompt_tokens", "input_tokens")),
            "completionTokens": _first(metrics, ("completion_tokens", "output_tokens")),
        }
        self.paygent.track_voice_llm(self.session_id, {**usage, **({"cachedTokens": cached} if cached else {})})

    def _report_stt(self, metrics: Any) -> None:
        seconds = _first(metrics, ("audio_duration", "duration"))
        self.paygent.track_voice_stt(self.session_id, {**_names(metrics, self.stt_config), "audioDuration": seconds / 60})

    def _report_tts(self, metrics: Any) -> None:
        if characters := _first(metrics, _CHARACTERS):
            self.paygent.track_voice_tts(self.session_id, {**_names(metrics, self.tts_config), "characterCount": characters})

    def _report_sts(self, metrics: Any) -> None:
        config = self.sts_config
        named = {} if config is None else {"model": config.model, "provider": config.provider, "plan": config.plan or "default"}
        self.paygent.track_livekit_sts(metrics, self.session_id, **named)


def _first(metrics: Any, names: Sequence[str]) -> Any:
    """Return the first of these counts that is not zero or absent; 0 without one."""
    return next((value for name in names if (value := getattr(metrics, name, None))), 0)


def _names(metrics: Any, config: LLMConfig | STTConfig | TTSConfig | None) -> dict[str, str]:
    """Return the provider, the model and the plan: those of the configuration, else those that the metrics name."""
    if config is not None:
        return {"serviceProvider": config.provider, "model": config.model, "plan": config.plan or "default"}
    given = [getattr(metrics, name, None) for name in ("label", "model")]
    # Either may be a text, or the object of a model.
    texts = [inner for one in given if isinstance(inner := getattr(one, "model", None), str)]
    texts += [one for one in given if isinstance(one, str)]
    provider, slash, model = next(iter(texts), f"{_UNKNOWN}/{_UNKNOWN}").partition("/")
    return {"serviceProvider": provider if slash else _UNKNOWN, "model": model if slash else provider, "plan": "default"}
