"""The client of TokenTally."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from types import TracebackType
from typing import Any, Final

from ..._core import Receipt
from ...errors import TransferError
from ...settings.destination import Secret
from .._outbox import Account, Outbox, Service, refusal
from .._vendor.clients import InBackground, WithKey
from .._vendor.clock import now_as_text
from .._vendor.destinations import Destinations, record
from .._vendor.events import plain_tags
from .._vendor.transport import dumps, post
from ._errors import AuthenticationError, RateLimitError, TokenTallyError, status_error, transport_error
from ._version import __version__
from .types import UsageData, UsageResponse, counts_of

__all__ = [
    "AuthenticationError", "RateLimitError", "TokenTally", "TokenTallyError", "UsageContext", "UsageData", "UsageResponse",
    "__version__",
]  # fmt: skip

log = logging.getLogger("taximeter")

DEFAULT_BASE_URL: Final = "https://api.tokentally.cloud"
_PATH: Final = "/api/usage"
_UNAUTHORIZED: Final = 401
_TOO_MANY: Final = 429
_FAILURES: Final = 300


class TokenTally(WithKey, InBackground):
    """A client of TokenTally.

    Args:
        api_key: The API key, which begins with `tt_`.
        base_url: The service's URL.
        timeout: Seconds for connecting, and for each read.
        destination: Where usage goes: `"tokentally"` (the default), `"ledger"`, or both.
        background: Whether calls return once the usage is on disk. It is then sent until TokenTally accepts it.

    Raises:
        ValueError: The key does not begin with `tt_`.
        ConfigError: The destination is invalid.
    """

    DEFAULT_BASE_URL = DEFAULT_BASE_URL

    def __init__(
        self,
        api_key: str,
        base_url: str | None = None,
        timeout: float = 30.0,
        *,
        destination: str | Sequence[str] | None = None,
        background: bool = False,
    ) -> None:
        self.destinations = Destinations("tokentally", destination)
        if not isinstance(api_key, str) or not api_key.startswith("tt_"):
            raise ValueError("Invalid API key. Must start with 'tt_'")
        self._api_key = Secret(api_key)
        self.base_url = (base_url or DEFAULT_BASE_URL).rstrip("/")
        self.timeout = timeout
        self.background = background
        self._account = Account(lambda key, url, timeout: Service("tokentally", url, key, _headers("{key}"), timeout=timeout))
        self._key_changed()

    def _key_changed(self) -> None:
        if self.background and self.destinations.to_vendor:
            self._announce()

    def track(
        self,
        tokens_in: int = 0,
        tokens_out: int = 0,
        model: str = "",
        provider: str = "anthropic",
        runtime_ms: int | None = None,
        stop_reason: str | None = None,
        error_message: str | None = None,
        metadata: dict[str, Any] | None = None,
        *,
        cost_usd: float | None = None,
        cache_read_input_tokens: int = 0,
        cache_creation_input_tokens: int = 0,
        credits: float | None = None,  # noqa: A002 - the interface's
        resolution: str | None = None,
        quality: str | None = None,
    ) -> UsageResponse:
        """Report one call. Wait for the response unless the client works in the background.

        Args:
            tokens_in, tokens_out: Tokens, as the provider reports them.
            model, provider: The model and the provider that responded.
            runtime_ms: The duration of the call in milliseconds.
            stop_reason: Why generation stopped.
            error_message: The error, if the call failed.
            metadata: Further data about the call.
            cost_usd: The cost in US dollars, if it is known.
            cache_read_input_tokens, cache_creation_input_tokens: Cached tokens.
            credits, resolution, quality: Only for services that generate images and video.

        Returns:
            The service's response. For a client that works in the background or whose only destination is the ledger: an id, and
            the locally computed cost, which is 0 if the price is unknown.

        Raises:
            ValueError: A count is not a number of at least 0.
            AuthenticationError: The key is invalid.
            RateLimitError: The rate limit was exceeded.
            TokenTallyError: The report failed for another reason.
        """
        return self._report(
            UsageData(
                tokens_in, tokens_out, model, provider, runtime_ms, stop_reason, error_message, metadata or {}, cost_usd=cost_usd,
                cache_read_input_tokens=cache_read_input_tokens, cache_creation_input_tokens=cache_creation_input_tokens,
                credits=credits, resolution=resolution, quality=quality,
            )
        )  # fmt: skip

    def track_usage_data(self, usage: UsageData) -> UsageResponse:
        """Report one call like `track`. Set `timestamp` to now if it is missing."""
        if usage.timestamp is None:
            usage.timestamp = datetime.now(timezone.utc)
        return self._report(usage)

    def _report(self, usage: UsageData) -> UsageResponse:
        """Report one call. Without a timestamp, the time is now."""
        usage.check()
        receipt = record(lambda: _event(usage)) if self.destinations.to_ledger else None
        if self.destinations.to_vendor and self.background:
            return self._send_later(usage, receipt)
        if self.destinations.to_vendor:
            return self._send(usage)
        if not receipt:
            return UsageResponse(success=False, record_id="", cost_usd=0.0)
        return UsageResponse(success=True, record_id=receipt.id, cost_usd=float(receipt.cost_usd or 0))

    def track_usage(self, model: str, provider: str = "anthropic", metadata: dict[str, Any] | None = None) -> UsageContext:
        """Return a context manager that times a call and reports it when the block ends.

        It reports nothing if `set_usage` was not called and the block succeeded. A failed block is reported with the class of its
        error, and the error is raised as usual. A failed report never raises; then `response.success` is false.
        """
        return UsageContext(self, model, provider, metadata)

    @property
    def _outbox(self) -> Outbox:
        return self._account.outbox(self._api_key.reveal(), self.base_url, self.timeout)

    def _send_later(self, usage: UsageData, receipt: Receipt | None) -> UsageResponse:
        try:
            posted = self._outbox.post(_PATH, _body(usage))
        except (TypeError, ValueError) as error:
            raise TokenTallyError(f"Request failed: the usage is not JSON: {error}") from error
        is_recorded = bool(posted)
        if not is_recorded and (reason := refusal(posted)):
            raise TokenTallyError(f"Request failed: the usage cannot be recorded: {reason}")
        cost: Any = receipt.cost_usd if receipt else usage.cost_usd
        if cost is None:
            return UsageResponse.recorded(posted, usage.priced(), success=is_recorded)
        return UsageResponse(success=is_recorded, record_id=posted.id, cost_usd=float(cost or 0))

    def _send(self, usage: UsageData) -> UsageResponse:
        headers, url = _headers(self.api_key), f"{self.base_url}{_PATH}"
        try:
            body = dumps(_body(usage))
        except (TypeError, ValueError) as error:
            raise TokenTallyError(f"Request failed: the usage is not JSON: {error}") from error
        try:
            status, answered, fields, content = post(url, headers, body, self.timeout)
        except TransferError as error:
            raise TokenTallyError(f"Request failed: {error}") from transport_error(error, url)
        except (TypeError, ValueError) as error:
            raise TokenTallyError(f"Request failed: {error}") from error
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        known: Mapping[str, Any] = answer if isinstance(answer, Mapping) else {}
        if status == _UNAUTHORIZED:
            raise AuthenticationError("Invalid API key", status=status)
        if status == _TOO_MANY:
            raise RateLimitError(known.get("error") or "Rate limit exceeded", status=status)
        if status >= _FAILURES:
            cause = status_error(status, answered, fields, content)
            raise TokenTallyError(f"Request failed: {cause}", status=status) from cause
        if answer is not known:
            raise TokenTallyError("Request failed: the response is not a JSON object", status=status)
        return UsageResponse.from_dict(known)


def _headers(key: str) -> dict[str, str]:
    return {"x-api-key": key, "content-type": "application/json", "user-agent": f"tokentally-python/{__version__}"}


def _body(usage: UsageData) -> dict[str, Any]:
    body = usage.to_dict()
    if usage.timestamp is None:
        body["timestamp"] = now_as_text()
    return body


def _event(usage: UsageData) -> dict[str, Any]:
    """Convert a call to an event."""
    metadata = dict(usage.metadata)
    images = {name: getattr(usage, name) for name in ("credits", "resolution", "quality")}
    ended = usage.timestamp or datetime.now(timezone.utc)
    return {
        "provider": usage.provider,
        "model": usage.model,
        **counts_of(*usage.priced()),
        "cost_usd": usage.cost_usd,
        "latency_ms": usage.runtime_ms,
        "finish_reason": usage.stop_reason,
        "status": "success" if usage.error_message is None else "error",
        "feature": metadata.pop("feature", None) or metadata.pop("feature_name", None),
        "user": metadata.pop("user_id", None),
        "tags": plain_tags({**metadata, **images}),
        # The timestamp is the end of the call.
        "started_at": ended.timestamp() - (usage.runtime_ms or 0) / 1000,
    }


class UsageContext:
    """The block of a call; see `TokenTally.track_usage`."""

    def __init__(self, client: TokenTally, model: str, provider: str, metadata: dict[str, Any] | None) -> None:
        self._client = client
        self.model = model
        self.provider = provider
        self.metadata = metadata or {}
        self.tokens_in: int | None = None
        self.tokens_out: int | None = None
        self.stop_reason: str | None = None
        self.error_message: str | None = None
        self.runtime_ms: int | None = None
        self.cost_usd: float | None = None
        self.cache_read_input_tokens = 0
        self.cache_creation_input_tokens = 0
        self.credits: float | None = None
        self.resolution: str | None = None
        self.quality: str | None = None
        self.response: UsageResponse | None = None
        """The response; `None` until the block ends, or if there was nothing to report. If the report failed, `success` is false."""

    def set_usage(
        self,
        tokens_in: int = 0,
        tokens_out: int = 0,
        stop_reason: str | None = None,
        cost_usd: float | None = None,
        cache_read_input_tokens: int = 0,
        cache_creation_input_tokens: int = 0,
        credits: float | None = None,  # noqa: A002 - the interface's
        resolution: str | None = None,
        quality: str | None = None,
    ) -> None:
        """Set what the call used; see `TokenTally.track`."""
        for name, value in locals().items():
            if name != "self":
                setattr(self, name, value)

    def __enter__(self) -> UsageContext:
        self._started = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.runtime_ms = int((time.perf_counter() - self._started) * 1000)
        if kind is not None and issubclass(kind, Exception) and self.error_message is None:
            # The error's message may quote the prompt.
            self.error_message = kind.__name__
        if self.tokens_in is None and self.tokens_out is None and self.credits is None and self.error_message is None:
            return
        try:
            self.response = self._client.track(
                self.tokens_in or 0, self.tokens_out or 0, self.model, self.provider, self.runtime_ms, self.stop_reason,
                self.error_message, self.metadata, cost_usd=self.cost_usd, credits=self.credits, resolution=self.resolution,
                quality=self.quality, cache_read_input_tokens=self.cache_read_input_tokens,
                cache_creation_input_tokens=self.cache_creation_input_tokens,
            )  # fmt: skip
        except Exception as failure:
            log.warning("taximeter could not report a call to TokenTally: %s", failure)
            self.response = UsageResponse(success=False, record_id="", cost_usd=0.0)
