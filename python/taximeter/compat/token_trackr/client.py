"""The client of Token Trackr."""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from .._outbox import Batches, Service, outbox_for
from .._vendor.destinations import Destinations, flush_ledger
from .._vendor.destinations import record as record_in_ledger
from .._vendor.events import plain_tags
from .._vendor.providers import FROM_TOKEN_TRACKR
from . import metadata as host
from .config import TokenTrackrConfig
from .models import UsageEvent, UsageResponse

__all__ = ["TokenTrackrClient", "get_client", "record"]

log = logging.getLogger("taximeter")

_AGENT: Final = "token-trackr-sdk-python/1.0.0"
# The service's limit of events in a request.
_MAX_EVENTS: Final = 1000
_CLOSE_SECONDS: Final = 5.0
# The original gives up after three tries, with waits of one and two seconds.
_OUTAGE_SECONDS: Final = 3.0
# How often a flush that takes longer looks whether the service fails, in seconds.
_SLICE_SECONDS: Final = 0.5


class TokenTrackrClient:
    """A client of Token Trackr. As a context manager, it is closed at the end of the block.

    Args:
        config: The settings; from the environment by default.
        tenant_id: The tenant whose usage is recorded; overrides that of the settings.
        destination: Where usage goes: `"token_trackr"` (the default), `"ledger"`, or both.

    Raises:
        ValueError: A setting is invalid.
        ConfigError: The destination is invalid.
    """

    def __init__(
        self,
        config: TokenTrackrConfig | None = None,
        tenant_id: str | None = None,
        *,
        destination: str | Sequence[str] | None = None,
    ) -> None:
        given = TokenTrackrConfig() if config is None else config
        # A copy, because another client may use the same settings.
        self.config = replace(given, tenant_id=tenant_id) if tenant_id else given
        self.destinations = Destinations("token_trackr", destination)
        self._outbox = outbox_for(_service(self.config))
        self._recorded = itertools.count(1)

    @property
    def host_metadata(self) -> host.HostMetadata:
        """This host. The first use looks up its cloud, which takes up to a second. Recording does not wait for this."""
        return host.get_host_metadata()

    def record(
        self,
        provider: str,
        model: str,
        prompt_tokens: int,
        completion_tokens: int,
        latency_ms: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        timestamp: datetime | None = None,
    ) -> None:
        """Record one call. It is on disk when this returns, and is sent in the background.

        Args:
            provider: `"bedrock"`, `"azure_openai"` or `"gemini"`.
            model: The model that responded.
            prompt_tokens, completion_tokens: The tokens of the call.
            latency_ms: The duration of the call in milliseconds.
            metadata: Further data about the call.
            timestamp: The time of the call, by default now. A time without a zone is taken as UTC.

        Raises:
            ValueError: A value is invalid. The message names it. Other faults are counted and logged.
        """
        event = UsageEvent(
            self.config.tenant_id, provider, model, prompt_tokens, completion_tokens, timestamp, latency_ms, None, metadata
        )
        if self.destinations.to_ledger:
            record_in_ledger(lambda: _event(event))
        self._post(event)

    def send(self, provider: str, model: str, prompt_tokens: int, completion_tokens: int, **fields: Any) -> None:
        """Record one call like `record`, but not in the ledger."""
        self._post(UsageEvent(self.config.tenant_id, provider, model, prompt_tokens, completion_tokens, **fields))

    def _post(self, event: UsageEvent) -> None:
        if not self.destinations.to_vendor:
            return
        event.host = _host()
        try:
            self._outbox.post("", event.to_dict())
        except (TypeError, RecursionError) as error:
            raise ValueError(f"metadata must be JSON: {error}") from None
        if not self.config.async_mode and next(self._recorded) % self.config.batch_size == 0:
            self.flush()

    def flush(self) -> list[UsageResponse]:
        """Send all recorded events, and wait for that: at most `timeout`, or 3 seconds while the service fails. Never raises.

        Returns:
            The service's responses for the events that it has stored since the last flush. It gives none for
            events that it rejected, which are retried or written to a file.
        """
        if not self.destinations.to_vendor:
            flush_ledger(self.config.timeout)
            return []
        self._wait()
        return [response for _, status, body in self._outbox.answers() if status is not None for response in _responses(status, body)]

    def _wait(self) -> None:
        """Wait for delivery, but not for the end of an outage."""
        end = time.monotonic() + self.config.timeout
        seconds = min(_OUTAGE_SECONDS, self.config.timeout)
        while True:
            began = time.monotonic()
            is_pending = self._outbox.flush(seconds).pending > 0
            now = time.monotonic()
            # A flush that ends early has a reason, such as a key that has to be corrected.
            if not is_pending or now >= end or now - began < seconds / 2 or self._outbox.is_failing:
                return
            seconds = min(end - now, _SLICE_SECONDS)

    def close(self) -> None:
        """Flushes, and ends delivery. Undelivered events stay on disk. A closed client may be used again."""
        self._outbox.close(min(self.config.timeout, _CLOSE_SECONDS))
        if self.destinations.to_ledger:
            flush_ledger(_CLOSE_SECONDS)

    def count_remark(self, what: str, field: str) -> None:
        """Count and log a call that cannot be recorded; see `Engine.count_remark`."""
        self._outbox.count_remark(what, field)

    def stats(self) -> dict[str, Any]:
        """Return the counts; see `taximeter.stats`."""
        return self._outbox.stats()

    def __enter__(self) -> TokenTrackrClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _service(config: TokenTrackrConfig) -> Service:
    headers = {"user-agent": _AGENT}
    if config.api_key:
        headers["authorization"] = "Bearer {key}"
    try:
        home: Path | None = Path.home()
    except RuntimeError:  # a user without a home directory
        home = None
    batches = Batches(
        size=min(config.batch_size, _MAX_EVENTS),
        interval=float(config.flush_interval),
        attempts=config.retry_attempts,
        fallback=None if home is None else str(home / ".token-trackr" / "fallback"),
        cloud=host.cloud_endpoints(),
    )
    return Service(
        "token_trackr",
        config.backend_url,
        config.api_key or "",
        headers,
        timeout=config.timeout,
        keeps_answers=True,
        batches=batches,
        label=config.tenant_id,
    )


def _host() -> dict[str, Any]:
    """Return what is known about this host. Delivery appends the cloud after its name, which therefore comes last."""
    machine = host.here()
    k8s = {} if machine.k8s is None else {"k8s": machine.k8s.to_dict()}
    return {**k8s, "hostname": machine.hostname}


def _event(event: UsageEvent) -> dict[str, Any]:
    metadata = event.metadata or {}
    moment: Any = event.timestamp
    return {
        "provider": FROM_TOKEN_TRACKR[event.provider],
        "model": event.model,
        "input_tokens": event.prompt_tokens,
        "output_tokens": event.completion_tokens,
        "customer": event.tenant_id,
        "latency_ms": event.latency_ms,
        "finish_reason": metadata.get("finish_reason"),
        "tags": plain_tags({name: value for name, value in metadata.items() if name != "finish_reason"}),
        # The timestamp is the end of the call.
        "started_at": moment.timestamp() - (event.latency_ms or 0) / 1000,
    }


def _responses(status: int, body: bytes) -> list[UsageResponse]:
    if status // 100 != 2:  # noqa: PLR2004 - success
        return []
    try:
        found = json.loads(body)
        return [UsageResponse.from_dict(one) for one in (found if isinstance(found, list) else [found])]
    except (ValueError, TypeError, AttributeError):
        log.debug("token_trackr: an invalid response")
        return []


_client: TokenTrackrClient | None = None


def get_client() -> TokenTrackrClient:
    """Return the default client, which is made from the environment on first use."""
    global _client  # noqa: PLW0603 - the interface's
    if _client is None:
        _client = TokenTrackrClient()
    return _client


def record(provider: str, model: str, prompt_tokens: int, completion_tokens: int, **fields: Any) -> None:
    """Record one call with the default client; see `TokenTrackrClient.record`."""
    get_client().record(provider, model, prompt_tokens, completion_tokens, **fields)
