"""The settings of a client of Token Trackr."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

__all__ = ["TokenTrackrConfig"]


@dataclass
class TokenTrackrConfig:
    """Settings, read from the environment when it is made.

    Raises:
        ValueError: One breaks its rule; the message names it.
    """

    backend_url: str = field(default_factory=lambda: os.environ.get("TOKEN_TRACKR_URL", "http://localhost:8000"))
    """Where the service is; a path in it is kept."""
    api_key: str | None = field(default_factory=lambda: os.environ.get("TOKEN_TRACKR_API_KEY"), repr=False)
    tenant_id: str = field(default_factory=lambda: os.environ.get("TOKEN_TRACKR_TENANT_ID", "default"))
    """Whose usage it is."""
    batch_size: int = 10
    """Most events in a request; so many are sent at once."""
    flush_interval: float = 5.0
    """Seconds that fewer wait for others."""
    max_queue_size: int = 1000
    """Kept for its name: what waits is on disk, and none of it is dropped for being too many."""
    retry_attempts: int = 3
    """Requests without success after which events go to a file."""
    timeout: float = 30.0
    """Seconds that a request and its answer may take."""
    async_mode: bool = True
    """Whether nobody waits; otherwise who completes a batch waits for its delivery."""

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
                raise ValueError(f"{name} must be a whole number from 1")
        for name in ("flush_interval", "timeout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 86_400:  # noqa: PLR2004 - a day
                raise ValueError(f"{name} must be a number of seconds above 0")
        self.backend_url = self.backend_url.rstrip("/")
