"""Speech: sessions whose calls wait for Paygent's response, and speech outside of sessions, which is reported in the background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..._vendor.destinations import record
from .events import EventCalls, event_of
from .google_genai_live_sts import speech_to_speech_metadata_from_google_live_usage
from .livekit_sts import map_livekit_metrics_to_sts_metadata
from .meta_tags import tags_of
from .models import RawUsageData, SttUsageData, TtsUsageData
from .openai_realtime_sts import speech_to_speech_metadata_from_openai_realtime_usage, unwrap_openai_realtime_event
from .speech_to_speech_usage import SpeechToSpeechUsageMetadata, build_hume_usage_metadata, metadata_of

__all__ = ["VoiceCalls", "send_stt_usage", "send_tts_usage"]

Usage = SpeechToSpeechUsageMetadata | Mapping[str, Any]

_DURATIONS: Final = ("audioDuration", "audioMinutes", "audio_duration", "audio_minutes")
_CHARACTERS: Final = ("characterCount", "character_count", "characters")
# Sessions whose agent and customer are remembered for the ledger. When they are full they are forgotten.
_MAX_SESSIONS: Final = 10_000


class VoiceCalls(EventCalls):
    """The calls that report speech.

    Those with a session wait for the response, unless the client works in the background, and raise `requests.RequestException` if
    there is none, or one with an error status. The others never block.
    """

    _sessions: dict[str, tuple[str, str]] | None = None
    """The agents and customers of sessions."""

    def initialize_voice_session(
        self, session_id: str, agent_id: str, customer_id: str, meta_tags: Mapping[str, Any] | None = None
    ) -> None:
        """Begin a session.

        Args:
            session_id: The id by which later calls name it.
            agent_id, customer_id: The agent, and the customer for whom it works.
            meta_tags: See `send_usage_v2`.
        """
        ids = {"sessionId": _text(session_id), "agentId": _text(agent_id), "customerId": _text(customer_id)}
        known = self._sessions
        if known is None or len(known) >= _MAX_SESSIONS:
            known = self._sessions = {}
        known[ids["sessionId"]] = ids["agentId"], ids["customerId"]
        self._voice("session", {**ids, **tags_of(meta_tags)})

    def track_voice_stt(self, session_id: str, stt_usage_data: Mapping[str, Any]) -> None:
        """Report speech that was turned into text.

        Args:
            session_id: The session.
            stt_usage_data: `serviceProvider`, `model`, `audioDuration` in minutes, and optionally `plan` and `language`.
        """
        if not self._is_reported("track_voice_stt", stt_usage_data, _DURATIONS):
            return
        minutes = stt_usage_data.get("audioDuration")
        language = {"language": _text(stt_usage_data["language"])} if "language" in stt_usage_data else {}
        provider, model, plan = _names(stt_usage_data)
        names = {"provider": provider, "model": model, "plan": plan}
        self._voice("stt", {"sessionId": _text(session_id), "audioMinutes": minutes, **names, **language})
        self._to_ledger(session_id, RawUsageData(provider, model, audio_duration=minutes, plan=plan))

    def track_voice_llm(self, session_id: str, llm_usage_data: Mapping[str, Any]) -> None:
        """Report a call of a model.

        Args:
            session_id: The session.
            llm_usage_data: `serviceProvider`, `model`, `promptTokens`, `completionTokens`, and optionally `plan` and `cachedTokens`.
        """
        provider, model, plan = _names(llm_usage_data)
        counts = {name: llm_usage_data.get(name) for name in ("promptTokens", "completionTokens")}
        if (cached := llm_usage_data.get("cachedTokens")) is not None:
            counts["cachedTokens"] = cached
        self._voice("llm", {"sessionId": _text(session_id), "provider": provider, "model": model, "plan": plan, **counts})
        raw = RawUsageData(provider, model, counts["promptTokens"], counts["completionTokens"], cached, plan=plan)
        self._to_ledger(session_id, raw)

    def track_voice_tts(self, session_id: str, tts_usage_data: Mapping[str, Any]) -> None:
        """Report text that was turned into speech.

        Args:
            session_id: The session.
            tts_usage_data: `serviceProvider`, `model`, `characterCount`, and optionally `plan`.
        """
        if not self._is_reported("track_voice_tts", tts_usage_data, _CHARACTERS):
            return
        provider, model, plan = _names(tts_usage_data)
        count = tts_usage_data.get("characterCount") or tts_usage_data.get("character_count")
        names = {"provider": provider, "model": model, "plan": plan}
        self._voice("tts", {"sessionId": _text(session_id), **names, "characters": count})
        self._to_ledger(session_id, RawUsageData(provider, model, character_count=count, plan=plan))

    def track_voice_sts(
        self, session_id: str, usage_metadata: Usage, *, service_provider: str, model: str, plan: str = "default"
    ) -> None:
        """Report speech that was answered with speech.

        Args:
            session_id: The session.
            usage_metadata: The usage, as an object or in the service's form.
            service_provider, model: The provider and its model.
            plan: The pricing plan.
        """
        usage = metadata_of(usage_metadata)
        names = {"provider": _text(service_provider), "model": _text(model), "plan": _text(plan)}
        self._voice("speech-to-speech", {"sessionId": _text(session_id), **names, "usageMetadata": usage})
        self._to_ledger(session_id, RawUsageData(names["provider"], names["model"], plan=plan, usage_metadata=usage))

    def track_voice_sts_connection(
        self, session_id: str, connection_minutes: float, *, service_provider: str, model: str, plan: str = "default"
    ) -> None:
        """Report a session that is billed by its duration in minutes; see `track_voice_sts`."""
        usage = build_hume_usage_metadata(connection_minutes)
        self.track_voice_sts(session_id, usage, service_provider=service_provider, model=model, plan=plan)

    def track_google_sts(self, usage_metadata: Any, session_id: str, model: str, *, plan: str = "default") -> None:
        """Report the `usage_metadata` of a message of Gemini's live session. A message without usage is not reported."""
        usage = speech_to_speech_metadata_from_google_live_usage(usage_metadata)
        if usage is not None:
            self.track_voice_sts(session_id, usage, service_provider="google", model=model, plan=plan)

    def track_openai_sts(
        self, usage_metadata: Any, session_id: str, model: str, *, plan: str = "default", service_provider: str = "openai", **_: Any
    ) -> None:
        """Report a `response.done` event of OpenAI's realtime session, or its usage. Other events are not reported."""
        event = unwrap_openai_realtime_event(usage_metadata)
        if event is None:
            found: Any = usage_metadata
        elif event.get("type") == "response.done":
            found = event.get("response")
        else:
            return
        usage = speech_to_speech_metadata_from_openai_realtime_usage(found)
        if usage is not None:
            self.track_voice_sts(session_id, usage, service_provider=service_provider, model=model, plan=plan)

    def track_livekit_sts(
        self, metrics: Any, session_id: str, *, model: str | None = None, provider: str | None = None, plan: str = "default"
    ) -> None:
        """Report the metrics of LiveKit's realtime model, which name model and provider. Without usage they are not reported."""
        usage = map_livekit_metrics_to_sts_metadata(metrics)
        if usage is None:
            return
        label, metadata = str(getattr(metrics, "label", "unknown")), getattr(metrics, "metadata", None)
        model = model or getattr(metadata, "model_name", None) or label
        provider = provider or getattr(metadata, "model_provider", None) or _provider_in(label.lower())
        self.track_voice_sts(session_id, usage, service_provider=provider, model=model, plan=plan)

    def set_voice_indicator(self, session_id: str, indicator: str, total_duration: float) -> None:
        """Report the event that a session is billed as, and the session's duration in seconds."""
        self._voice("indicator", {"sessionId": _text(session_id), "indicator": _text(indicator), "totalDuration": total_duration})

    def set_additional_voice_indicator(self, session_id: str, indicators: Sequence[str], total_duration: float) -> None:
        """Report further events that a session is billed as, and the session's duration in minutes."""
        body = {"sessionId": _text(session_id), "indicators": list(indicators), "totalDuration": total_duration}
        self._voice("additional-indicators", body)

    def track_voice_stt_method(self, session_id: str) -> None:
        """Do nothing, as in the original: speech is reported when it is tracked."""

    def track_voice_tts_method(self, session_id: str) -> None:
        """Do nothing, as in the original: speech is reported when it is tracked."""

    def track_stt(
        self,
        agent_id: str,
        customer_id: str,
        indicator: str | Mapping[str, Any] = "",
        stt_usage_data: Mapping[str, Any] | None = None,
    ) -> None:
        """Report speech that was turned into text without a session; see `track_voice_stt`. The usage may replace the indicator."""
        indicator, usage = _in_its_place(indicator, stt_usage_data)
        if not self._is_reported("track_stt", usage, _DURATIONS):
            return
        if usage.get("audioDuration") is None:
            self.logger.warning("track_stt skipped: audioDuration is required")
            return
        provider, model, plan = _names(usage)
        raw = RawUsageData(provider, model, audio_duration=float(usage["audioDuration"]), plan=plan or "default")
        self.send_usage_v2(agent_id, customer_id, indicator, raw)

    def track_tts(
        self,
        agent_id: str,
        customer_id: str,
        indicator: str | Mapping[str, Any] = "",
        tts_usage_data: Mapping[str, Any] | None = None,
    ) -> None:
        """Report text that was turned into speech without a session; see `track_voice_tts`. The usage may replace the indicator."""
        indicator, usage = _in_its_place(indicator, tts_usage_data)
        if not self._is_reported("track_tts", usage, _CHARACTERS):
            return
        if usage.get("characterCount") is None:
            self.logger.warning("track_tts skipped: characterCount is required")
            return
        provider, model, plan = _names(usage)
        raw = RawUsageData(provider, model, character_count=int(usage["characterCount"]), plan=plan or "default")
        self.send_usage_v2(agent_id, customer_id, indicator, raw)

    def track_sts(
        self,
        agent_id: str,
        customer_id: str,
        indicator: str | Usage = "",
        usage_metadata: Usage | None = None,
        *,
        service_provider: str,
        model: str,
        plan: str = "default",
    ) -> None:
        """Report speech that was answered with speech without a session, like `track_voice_sts`. Usage may replace the indicator."""
        if usage_metadata is None and isinstance(indicator, (Mapping, SpeechToSpeechUsageMetadata)):
            usage_metadata, indicator = indicator, ""
        raw = RawUsageData(_text(service_provider), _text(model), plan=plan or "default", usage_metadata=metadata_of(usage_metadata))
        self.send_usage_v2(agent_id, customer_id, str(indicator), raw)

    def send_stt_usage(self, agent_id: str, customer_id: str, stt_usage_data: SttUsageData) -> None:
        """Report speech that was turned into text, under the indicator `stt-usage`."""
        if stt_usage_data is None:
            self.logger.warning("send_stt_usage skipped: stt_usage_data is required")
            return
        usage = {"audioDuration": float(stt_usage_data.audio_duration or 0), **_named(stt_usage_data)}
        self.track_stt(agent_id, customer_id, "stt-usage", usage)

    def send_tts_usage(self, agent_id: str, customer_id: str, tts_usage_data: TtsUsageData) -> None:
        """Report text that was turned into speech, under the indicator `tts-usage`."""
        if tts_usage_data is None:
            self.logger.warning("send_tts_usage skipped: tts_usage_data is required")
            return
        usage = {"characterCount": tts_usage_data.character_count, **_named(tts_usage_data)}
        self.track_tts(agent_id, customer_id, "tts-usage", usage)

    def _voice(self, path: str, body: dict[str, Any]) -> None:
        if self.destinations.to_vendor:
            self._call(f"/api/v1/voice/{path}", body)

    def _is_reported(self, what: str, usage: Any, names: Sequence[str]) -> bool:
        """Return whether usage is a mapping whose count is not zero or less."""
        if not isinstance(usage, Mapping):
            self.logger.warning("%s skipped: the usage must be a mapping, not %s", what, type(usage).__name__)
            return False
        count = next((usage[name] for name in names if usage.get(name) is not None), None)
        try:
            return count is None or float(count) > 0
        except (TypeError, ValueError):
            return True

    def _to_ledger(self, session: str, raw: RawUsageData) -> None:
        if self.destinations.to_ledger:
            agent, customer = (self._sessions or {}).get(_text(session), (None, None))
            ids = {"agentId": agent, "customerId": customer, "indicator": None}
            record(lambda: {**event_of(ids, raw, {}), "session": _text(session)})


send_stt_usage = VoiceCalls.send_stt_usage
send_tts_usage = VoiceCalls.send_tts_usage


def _text(value: Any) -> str:
    return str(value or "").strip()


def _names(usage: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the provider, the model and the plan."""
    return _text(usage.get("serviceProvider") or usage.get("service_provider")), _text(usage.get("model")), _text(usage.get("plan"))


def _named(usage: SttUsageData | TtsUsageData) -> dict[str, Any]:
    return {"serviceProvider": usage.service_provider, "model": usage.model, "plan": usage.plan}


def _in_its_place(indicator: Any, usage: Any) -> tuple[str, Any]:
    """Return the indicator and the usage, which may have the indicator's place."""
    return ("", indicator) if usage is None and isinstance(indicator, Mapping) else (_text(indicator), usage)


def _provider_in(label: str) -> str:
    if "openai" in label:
        return "openai"
    return "google" if "google" in label or "gemini" in label else "unknown"
