"""The client of Token Trackr."""

from __future__ import annotations

import itertools
import json
import logging
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
# The service's own limit.
_MAX_EVENTS: Final = 1000
_CLOSE_SECONDS: Final = 5.0


class TokenTrackrClient:
    """A client of Token Trackr; also a context manager, which closes it.

    Args:
        config: The settings; from the environment by default.
        tenant_id: Whose usage it is, in place of the settings' own.
        destination: Where usage goes: `"token_trackr"`, which is the default, `"ledger"`, or both.

    Raises:
        ValueError: A setting breaks its rule.
        ConfigError: The destination is invalid; the message says why.
    """

    def __init__(
        self,
        config: TokenTrackrConfig | None = None,
        tenant_id: str | None = None,
        *,
        destination: str | Sequence[str] | None = None,
    ) -> None:
        given = TokenTrackrConfig() if config is None else config
        # A copy: the settings may be another client's too.
        self.config = replace(given, tenant_id=tenant_id) if tenant_id else given
        self.destinations = Destinations("token_trackr", destination)
        self._outbox = outbox_for(_service(self.config))
        self._recorded = itertools.count(1)

    @property
    def host_metadata(self) -> host.HostMetadata:
        """This machine; its cloud is asked for up to a second the first time. Recording does not wait for it."""
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
        """Record one call. It is on disk when this returns, and sent in the background.

        Args:
            provider: `"bedrock"`, `"azure_openai"` or `"gemini"`.
            model: The model that answered.
            prompt_tokens, completion_tokens: Its tokens.
            latency_ms: How long it took, in milliseconds.
            metadata: Whatever it is to be told apart by.
            timestamp: When it was made; one without a zone is taken for UTC. Now, by default.

        Raises:
            ValueError: A value breaks its rule; the message names it. Whatever else goes wrong is counted and warned about.
        """
        event = UsageEvent(
            self.config.tenant_id, provider, model, prompt_tokens, completion_tokens, timestamp, latency_ms, None, metadata
        )
        if self.destinations.to_ledger:
            record_in_ledger(lambda: _event(event))
        self._post(event)

    def send(self, provider: str, model: str, prompt_tokens: int, completion_tokens: int, **fields: Any) -> None:
        """Record one call as `record` does, but not in the ledger."""
        self._post(UsageEvent(self.config.tenant_id, provider, model, prompt_tokens, completion_tokens, **fields))

    def _post(self, event: UsageEvent) -> None:
        if not self.destinations.to_vendor:
            return
        event.host = _host()
        try:
            self._outbox.post("", event.to_dict())
        except TypeError as error:
            raise ValueError(f"metadata must be JSON: {error}") from None
        if not self.config.async_mode and next(self._recorded) % self.config.batch_size == 0:
            self.flush()

    def flush(self) -> list[UsageResponse]:
        """Send what is recorded, and wait for it as long as requests and their repetitions take; never raises.

        Returns:
            What the service says of the events that it stored meanwhile; nothing of those that it did not take. They are tried again,
            or are in a file for it.
        """
        if not self.destinations.to_vendor:
            flush_ledger(self.config.timeout)
            return []
        self._outbox.flush(self.config.timeout)
        return [response for _, status, body in self._outbox.answers() if status is not None for response in _responses(status, body)]

    def close(self) -> None:
        """Flush, and end delivery; what is not delivered stays on disk. A client that is used again begins anew."""
        self._outbox.close(min(self.config.timeout, _CLOSE_SECONDS))
        if self.destinations.to_ledger:
            flush_ledger(_CLOSE_SECONDS)

    def count_remark(self, what: str, field: str) -> None:
        """Counts and warns about a call that cannot be recorded; see `Meter.count_remark`."""
        self._outbox.count_remark(what, field)

    def stats(self) -> dict[str, Any]:
        """What was counted; see `taximeter.stats`."""
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
    except RuntimeError:  # a user without one
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
    """This machine as far as it is known; what the delivery adds to it goes behind its name, which comes last."""
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
        # It is set when the call has ended.
        "started_at": moment.timestamp() - (event.latency_ms or 0) / 1000,
    }


def _responses(status: int, body: bytes) -> list[UsageResponse]:
    if status // 100 != 2:  # noqa: PLR2004 - success
        return []
    try:
        found = json.loads(body)
        return [UsageResponse.from_dict(one) for one in (found if isinstance(found, list) else [found])]
    except (ValueError, TypeError, AttributeError):
        log.debug("token_trackr: an answer that is none")
        return []


_client: TokenTrackrClient | None = None


def get_client() -> TokenTrackrClient:
    """The client that all share who name none, made from the environment by its first use."""
    global _client  # noqa: PLW0603 - the interface's
    if _client is None:
        _client = TokenTrackrClient()
    return _client


def record(provider: str, model: str, prompt_tokens: int, completion_tokens: int, **fields: Any) -> None:
    """Record one call with the client that all share; see `TokenTrackrClient.record`."""
    get_client().record(provider, model, prompt_tokens, completion_tokens, **fields)
