"""The interface of `teer` 0.1.7: usage and billing events go to Teer, the ledger, or both.

client = TeerClient("YOUR_API_KEY", destination=("teer", "ledger"))
client.ingest.send({"provider": "openai", "model": "gpt-4o", "usage": {"input": 1000, "output": 200}})
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...settings.destination import Secret
from .._outbox import Account, Outbox, Service
from .._vendor.clients import InBackground, WithKey
from .._vendor.destinations import Destinations
from .http import HttpClient
from .resources import BillingResource, Ingest
from .types import (
    AnthropicCache,
    CacheObject,
    GoogleCache,
    IngestPayload,
    MetadataObject,
    OpenAICache,
    PlatformObject,
    Provider,
    UsageObject,
)

__all__ = [
    "AnthropicCache", "CacheObject", "GoogleCache", "IngestPayload", "MetadataObject", "OpenAICache", "PlatformObject", "Provider",
    "Teer", "TeerClient", "UsageObject",
]  # fmt: skip

TEER_API_KEY_ENV = "TEER_SECRET_API_KEY"
DEFAULT_API_BASE_URL = "https://api.teerai.com"
DEFAULT_TRACK_BASE_URL = "https://track.teer.ai"
DEFAULT_BASE_URL = DEFAULT_TRACK_BASE_URL


class TeerClient(WithKey, InBackground):
    """A client of Teer.

    Args:
        api_key: The API key; `TEER_SECRET_API_KEY` from the environment by default.
        base_url: The service's URL. Events go there too, unless `track_url` is given.
        track_url: The URL for events; `base_url` by default, if that is given.
        api_version: The API version in paths.
        destination: Where usage goes: `"teer"` (the default), `"ledger"`, or both. Meter events always go to Teer.
        background: Whether calls return once their data is on disk. It is then sent until Teer accepts it.

    Raises:
        ValueError: There is no API key.
        ConfigError: The destination is invalid.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        track_url: str | None = None,
        api_version: str = "v1",
        *,
        destination: str | Sequence[str] | None = None,
        background: bool = False,
    ) -> None:
        key = api_key or os.environ.get(TEER_API_KEY_ENV)
        self.destinations = Destinations("teer", destination)
        if not key and self.destinations.to_vendor:
            raise ValueError(f"No API key provided. Set the {TEER_API_KEY_ENV} environment variable or pass an api_key parameter.")
        self._api_key = Secret(key or "")
        self.track_url = (track_url or base_url or DEFAULT_TRACK_BASE_URL).rstrip("/")
        self.base_url = (base_url or DEFAULT_API_BASE_URL).rstrip("/")
        self.api_version = api_version
        self.background = background
        self._account = Account(lambda key, url: Service("teer", url, key, {"authorization": "Bearer {key}"}))
        self.http_client = HttpClient(self.api_key, self.api_base)
        self.ingest = Ingest(self)
        self.billing = BillingResource(self)
        if background and self.destinations.to_vendor:
            self._announce()

    def _key_changed(self) -> None:
        self.http_client = HttpClient(self.api_key, self.api_base)
        if self.background and self.destinations.to_vendor:
            self._announce()

    @property
    def api_base(self) -> str:
        """The base URL of the service's API."""
        return f"{self.base_url}/{self.api_version}"

    @property
    def track_base(self) -> str:
        """The base URL of events."""
        return f"{self.track_url}/{self.api_version}"

    @property
    def _outbox(self) -> Outbox:
        return self._account.outbox(self.api_key, self.track_base)


Teer = TeerClient
