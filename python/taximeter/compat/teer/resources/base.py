"""The base class of a client's resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ... import _requests
from ..._outbox import refusal
from ..._vendor.transport import Timeout
from ..http import HttpClient

if TYPE_CHECKING:
    from ...._core import Receipt
    from .. import TeerClient

__all__ = ["BaseResource"]


class BaseResource:
    """A resource of a client.

    Args:
        client: The client whose key it uses.
        resource_path: The path of its requests after the base URL.
        resource_base_url: The base URL; the client's `api_base` by default.
    """

    def __init__(self, client: TeerClient, resource_path: str, resource_base_url: str | None = None) -> None:
        self.client = client
        self.base_url = f"{resource_base_url or client.api_base}/{resource_path}"

    def _post_later(self, data: Any, headers: Mapping[str, str] | None) -> Receipt:
        """Record a request for a client that works in the background.

        Raises:
            ValueError: Headers are given, which cannot be stored on disk; or a number is NaN or infinite.
            TypeError: A value in `data` cannot be expressed in JSON.
            ConfigError: The address of the client is invalid.
            requests.ConnectionError: The request cannot be recorded.
        """
        if headers:
            raise ValueError("headers: not supported for requests in the background; leave them out")
        receipt = self.client._outbox.post(self.base_url.removeprefix(self.client.track_base), data)  # noqa: SLF001 - of this package
        if reason := refusal(receipt):
            raise _requests.not_recorded(reason)
        return receipt

    def _request(
        self,
        method: str,
        path: str = "",
        params: Mapping[str, Any] | None = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: Timeout = 10,
    ) -> Any:
        """Make a request and wait for its response; see `HttpClient.request`."""
        http = HttpClient(self.client.api_key, self.base_url)
        return http.request(method, path, params, data, headers, timeout)
