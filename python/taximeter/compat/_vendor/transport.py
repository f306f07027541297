"""Requests that wait for their response: over kept-alive connections, with the timeouts and certificates of `requests`."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ... import _core

__all__ = ["Timeout", "dumps", "post", "seconds_of", "trusted"]


def dumps(data: Any) -> bytes:
    """Write JSON as the SDKs do.

    Raises:
        ValueError: A number is NaN or infinite.
        TypeError: A value cannot be expressed in JSON.
    """
    return json.dumps(data, allow_nan=False).encode()


Timeout = float | tuple[float | None, float | None] | None
"""A timeout in the form of `requests`: seconds for connecting and for each read, `(connect, read)`, or `None` for no timeout."""
# Stands for "no timeout", in seconds.
_WEEK: Final = 7 * 86_400.0
# The longest timeout of a request in the background, in seconds.
_MAX_TIMEOUT: Final = 600.0


def seconds_of(timeout: Any, default: float = 30.0) -> float:
    """Convert a timeout of `requests` or `httpx` to a number of seconds, for a request in the background."""
    given = timeout if isinstance(timeout, tuple) else (timeout,)
    if None in given:
        return _MAX_TIMEOUT
    known = [float(one) for one in given if isinstance(one, (int, float)) and one > 0]
    return min(max(known), _MAX_TIMEOUT) if known else default


@functools.lru_cache(maxsize=32)
def _exchange(timeout: Timeout, bundle: str | None) -> _core.Exchange:
    connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    ca = None if bundle is None else Path(bundle).read_bytes()
    return _core.Exchange(_WEEK if read is None else read, connect=_WEEK if connect is None else connect, ca=ca)


def trusted() -> str | None:
    """Return the path of a certificate file from the environment variables of `requests`, or `None`."""
    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return named if named and os.path.isfile(named) else None  # noqa: PTH113 - each request asks, and pathlib takes 10 µs


def post(
    url: str, headers: Mapping[str, str], body: bytes, timeout: Timeout, method: str = "POST"
) -> tuple[int, str, list[tuple[str, str]], bytes]:
    """Make a request over a kept-alive connection, without holding the GIL; see `_core.Exchange.request`.

    Raises:
        TransferError: The request has no response.
    """
    sent = {"accept": "*/*", "user-agent": f"taximeter/{_core.__version__}", **headers}
    return _exchange(timeout, trusted()).request(method, url, list(sent.items()), body)
