"""What the clients of both versions share: the key, the URL, the logger, and requests that are waited for or recorded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

from ... import tokens
from ...errors import TransferError
from ...settings.destination import Secret
from .. import _requests
from .._outbox import Account, Outbox, Service, refusal
from .._vendor.clients import InBackground, WithKey
from .._vendor.destinations import Destinations
from .._vendor.transport import dumps, post

__all__ = ["DEFAULT_BASE_URL", "PaygentClient", "encoding_of", "log"]

DEFAULT_BASE_URL: Final = "https://cp-api.withpaygent.com"
# In seconds, for connecting and for each read.
_TIMEOUT: Final = 30.0

log = logging.getLogger("paygent_sdk")


class PaygentClient(WithKey, InBackground):
    """A client of Paygent.

    Args:
        api_key: The API key.
        base_url: The service's URL, which may have a path. Paygent's own by default.
        destination: Where usage goes: `"paygent"` (the default), `"ledger"`, or both.
        background: Whether calls that wait for a response return once they are on disk instead. They are then sent until Paygent
            accepts them.

    Raises:
        ConfigError: The destination is invalid.
    """

    def __init__(
        self,
        api_key: str,
        base_url: str | None = None,
        *,
        destination: str | Sequence[str] | None = None,
        background: bool = False,
    ) -> None:
        self._api_key = Secret(api_key)
        self.base_url = (base_url or DEFAULT_BASE_URL).rstrip("/")
        self.destinations = Destinations("paygent", destination)
        self.background = background
        self._account = Account(lambda key, url: Service("paygent", url, key, {"paygent-api-key": "{key}"}))
        self.logger = log
        self._key_changed()

    @classmethod
    def new_client(cls, api_key: str) -> Any:
        """Return a client of Paygent's own service."""
        return cls(api_key)

    def set_log_level(self, level: int) -> None:
        """Set the level of the logger `paygent_sdk`, which all clients share."""
        self.logger.setLevel(level)

    def get_logger(self) -> logging.Logger:
        """Return the logger `paygent_sdk`, which has no handler."""
        return self.logger

    def _key_changed(self) -> None:
        if self.destinations.to_vendor:
            self._announce()

    @property
    def _outbox(self) -> Outbox:
        return self._account.outbox(self._api_key.reveal(), self.base_url)

    def _call(self, path: str, body: dict[str, Any]) -> None:
        """Make a request and wait for its response, or record it if the client works in the background.

        Raises:
            requests.RequestException: There is no response, or it has an error status; or the request cannot be recorded.
            TypeError: A value cannot be expressed in JSON.
        """
        if self.background:
            if reason := refusal(self._outbox.post(path, body)):
                raise _requests.not_recorded(reason)
            return
        url = f"{self.base_url}{path}"
        headers = {"content-type": "application/json", "paygent-api-key": self.api_key}
        try:
            content = dumps(body)
        except ValueError as error:
            raise _requests.invalid_json(error) from None
        try:
            response = _requests.Response(*post(url, headers, content, _TIMEOUT))
        except TransferError as error:
            _requests.raise_transfer_error(error, url)
        _requests.raise_for_status(response)


def encoding_of(model: str) -> tokens.Encoding:
    """Return the model's own encoding. For models without a known one it is `cl100k_base`, as the original's README says."""
    try:
        found = tokens.encoding_for_model(model)
    except ValueError:
        return tokens.encoding("cl100k_base")
    return found.encoding if found.exact and found.encoding is not None else tokens.encoding("cl100k_base")
