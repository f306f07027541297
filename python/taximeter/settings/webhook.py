"""The webhook of a budget as a destination: each request is sent as it was recorded, until the service accepts it."""

from __future__ import annotations

import hashlib
from typing import Any

from .destination import Destination, Secret

__all__ = ["Webhook"]

_TIMEOUT = 10.0
"""The longest time for a request and its response, in seconds. Requests are sent again for `max_age`."""


class Webhook(Destination):
    """The URL of a webhook, which may hold a key.

    Args:
        url: The URL, which `Budget` has checked.
    """

    def __init__(self, url: Secret) -> None:
        self._url = url
        # `Budget` allows it for localhost only.
        self.allow_http = True
        self.timeout = _TIMEOUT
        # In file names, it distinguishes webhooks but does not reveal their keys.
        self._account = hashlib.blake2b(url.reveal().encode(), digest_size=8, person=b"taximeter").hexdigest()

    def to_core(self) -> dict[str, Any]:
        """Return the webhook in the form that the core takes."""
        wire = {"service": "webhook", "account": self._account, "former": [], "keeps_answers": False, "batches": None}
        return {**super().to_core(), "wire": wire}
