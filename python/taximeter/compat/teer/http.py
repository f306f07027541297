"""Requests to Teer's service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ...errors import TransferError
from ...settings.destination import Secret
from .. import _requests
from .._vendor.clients import WithKey
from .._vendor.transport import Timeout, dumps, post

__all__ = ["HttpClient"]


class HttpClient(WithKey):
    """Requests with an API key to one service.

    Args:
        api_key: The API key, which no `repr` shows.
        base_url: The URL to which paths are appended.
    """

    def __init__(self, api_key: str, base_url: str) -> None:
        self._api_key = Secret(api_key)
        self.base_url = base_url.rstrip("/")

    def request(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: Timeout = 10,
    ) -> Any:
        """Make a request and wait for its response.

        Args:
            method: The method, such as `POST`.
            path: The path after the base URL.
            params: The query parameters.
            data: The body, sent as JSON; `None` for no body.
            headers: Further headers. They override the client's own.
            timeout: Seconds for connecting and for each read, `(connect, read)`, or `None` for no timeout.

        Returns:
            The response's JSON; `{"text": …}` if it is not JSON.

        Raises:
            requests.RequestException: There is no response, or it has an error status. A class of the same name if `requests` is not
                installed.
            TypeError: A value in `data` cannot be expressed in JSON.
        """
        url = f"{self.base_url}/{path.lstrip('/')}" if path else self.base_url
        url += f"?{urlencode(params, doseq=True)}" if params else ""
        sent = {"authorization": f"Bearer {self.api_key}", "content-type": "application/json"}
        sent |= {name.lower(): value for name, value in (headers or {}).items() if value is not None}
        try:
            body = b"" if data is None else dumps(data)
        except ValueError as error:
            raise _requests.invalid_json(error) from None
        try:
            response = _requests.Response(*post(url, sent, body, timeout, method))
        except TransferError as error:
            _requests.raise_transfer_error(error, url)
        _requests.raise_for_status(response)
        try:
            return response.json()
        except ValueError:
            return {"text": response.text}
