"""What clients of services have: a key that shows nowhere, and a wait for what they sent in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...settings.destination import Secret

if TYPE_CHECKING:
    from .._outbox import Outbox

__all__ = ["InBackground", "WithKey"]


class WithKey:
    """A client with a key, which shows in no repr."""

    _api_key: Secret

    @property
    def api_key(self) -> str:
        """The key."""
        return self._api_key.reveal()

    @api_key.setter
    def api_key(self, key: str) -> None:
        self._api_key = Secret(key)
        self._key_changed()

    def _key_changed(self) -> None:
        """What is made of the key is made anew."""


class InBackground:
    """A client that can send without waiting for the answer."""

    @property
    def _outbox(self) -> Outbox:
        raise NotImplementedError

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until what was sent in the background is delivered, at most `timeout` seconds; says whether it was."""
        return self._outbox.flush(timeout).pending == 0
