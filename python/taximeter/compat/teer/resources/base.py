"""What the parts of a client share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .. import TeerClient

__all__ = ["BaseResource"]


class BaseResource:
    """A part of a client."""

    def __init__(self, client: TeerClient) -> None:
        self._client = client

    def _post(self, path: str, data: Any, headers: Mapping[str, str] | None, timeout: float) -> Any:
        return self._client._http.request("POST", path, data=data, headers=headers, timeout=timeout)  # noqa: SLF001
