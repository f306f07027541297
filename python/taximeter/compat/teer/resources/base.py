"""What the parts of a client share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ... import _requests
from ..._vendor import Timeout

if TYPE_CHECKING:
    from ...._core import Receipt
    from .. import TeerClient

__all__ = ["BaseResource"]


class BaseResource:
    """A part of a client."""

    def __init__(self, client: TeerClient) -> None:
        self._client = client

    def _post_later(self, path: str, data: Any, headers: Mapping[str, str] | None) -> Receipt:
        """Records a request, for a client that works in the background.

        Raises:
            ValueError: It has headers of its own, which are kept nowhere on disk; or a number that JSON does not have.
            TypeError: Something in `data` is not JSON.
            requests.ConnectionError: The request cannot be recorded.
        """
        if headers:
            raise ValueError("headers: a request in the background has those of its client")
        receipt = self._client._outbox.post(f"/{path}", data)  # noqa: SLF001 - of this package
        if not receipt and receipt.refused != "disabled":
            raise _requests.not_recorded(receipt.refused)
        return receipt

    def _post(self, path: str, data: Any, headers: Mapping[str, str] | None, timeout: Timeout) -> Any:
        return self._client._http.request("POST", path, data=data, headers=headers, timeout=timeout)  # noqa: SLF001
