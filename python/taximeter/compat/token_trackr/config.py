"""The settings of a client of Token Trackr."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

__all__ = ["TokenTrackrConfig"]


@dataclass
class TokenTrackrConfig:
    """The settings. Defaults are read from the environment when an instance is made.

    Raises:
        ValueError: A setting is invalid. The message names it.
    """

    backend_url: str = field(default_factory=lambda: os.environ.get("TOKEN_TRACKR_URL", "http://localhost:8000"))
    """The service's URL, which may have a path."""
    api_key: str | None = field(default_factory=lambda: os.environ.get("TOKEN_TRACKR_API_KEY"), repr=False)
    tenant_id: str = field(default_factory=lambda: os.environ.get("TOKEN_TRACKR_TENANT_ID", "default"))
    """The tenant whose usage is recorded."""
    batch_size: int = 10
    """The most events in a request. A batch of this size is sent at once."""
    flush_interval: float = 5.0
    """How long an incomplete batch waits for more events, in seconds."""
    max_queue_size: int = 1000
    """Not used; kept for compatibility. Waiting events are on disk, and their number is not limited."""
    retry_attempts: int = 3
    """The number of failed requests after which events are written to a file."""
    timeout: float = 30.0
    """The longest time for a request and its response, in seconds."""
    async_mode: bool = True
    """Whether delivery is in the background. Otherwise the call that completes a batch waits for its delivery."""

    def __post_init__(self) -> None:
        if not self.backend_url:
            raise ValueError("backend_url is required")
        if not self.backend_url.startswith(("http://", "https://")):
            raise ValueError("backend_url must be a URL of the form https://host/path")
        if not self.tenant_id:
            raise ValueError("tenant_id is required")
        for name in ("batch_size", "retry_attempts"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1")
        for name in ("flush_interval", "timeout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 86_400:  # noqa: PLR2004 - a day
                raise ValueError(f"{name} must be a number of seconds above 0")
        self.backend_url = self.backend_url.rstrip("/")
