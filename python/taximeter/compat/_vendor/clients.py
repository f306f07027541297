"""Base classes of clients: one for a hidden API key, one for requests in the background."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ...errors import ConfigError
from ...settings.destination import Secret

if TYPE_CHECKING:
    from .._outbox import Outbox

__all__ = ["InBackground", "WithKey"]


class WithKey:
    """A client with an API key, which no `repr` shows."""

    _api_key: Secret

    @property
    def api_key(self) -> str:
        """The API key."""
        return self._api_key.reveal()

    @api_key.setter
    def api_key(self, key: str) -> None:
        self._api_key = Secret(key)
        self._key_changed()

    def _key_changed(self) -> None:
        """Renew objects that depend on the key."""


class InBackground:
    """A client that can send requests in the background."""

    @property
    def _outbox(self) -> Outbox:
        raise NotImplementedError

    def _announce(self) -> None:
        """Make the client's account known, so that `take_over` works before its first event. An invalid URL fails at that event."""
        with contextlib.suppress(ConfigError):
            self._outbox  # noqa: B018 - reading it makes the account known

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until the requests in the background are delivered.

        Args:
            timeout: The longest time to wait, in seconds.

        Returns:
            Whether all are delivered.
        """
        return self._outbox.flush(timeout).pending == 0
