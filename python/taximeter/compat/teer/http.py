"""Teer's service over HTTP."""

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
    """Requests with a key to one service.

    Args:
        api_key: The key; it shows in no repr.
        base_url: What paths are put after.
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
        """Makes a request and waits for its answer.

        Args:
            method: Such as `POST`.
            path: After the base URL.
            params: The query.
            data: The body, written as JSON; none for `None`.
            headers: Further headers, which come before the client's own of the same name.
            timeout: Seconds for a connection, and for each wait for bytes, or a pair of them; `None` for ever.

        Returns:
            The answer's JSON; `{"text": …}` where it is none.

        Raises:
            requests.RequestException: There is no answer, or it says no. Classes of the same names where `requests` is not installed.
            TypeError: Something in `data` is not JSON.
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
