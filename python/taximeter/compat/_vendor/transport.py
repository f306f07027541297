"""How services are asked by those who wait: over connections that are kept alive, by the limits and certificates of `requests`."""

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
    """JSON as the SDKs write it.

    Raises:
        ValueError: There is a number that JSON does not have.
        TypeError: There is something else that it does not have.
    """
    return json.dumps(data, allow_nan=False).encode()


Timeout = float | tuple[float | None, float | None] | None
"""As `requests` has it: seconds for a connection and for each wait for bytes, both in one or apart; `None` for ever."""
# For ever, in seconds.
_WEEK: Final = 7 * 86_400.0
# What a request may take in the background, at most.
_LONGEST: Final = 600.0


def seconds_of(timeout: Any, default: float = 30.0) -> float:
    """A time limit of `requests`' or `httpx`' as one number of seconds, for a request that nobody waits for."""
    given = timeout if isinstance(timeout, tuple) else (timeout,)
    if None in given:
        return _LONGEST
    known = [float(one) for one in given if isinstance(one, (int, float)) and one > 0]
    return min(max(known), _LONGEST) if known else default


@functools.lru_cache(maxsize=32)
def _exchange(timeout: Timeout, bundle: str | None) -> _core.Exchange:
    connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    ca = None if bundle is None else Path(bundle).read_bytes()
    return _core.Exchange(_WEEK if read is None else read, connect=_WEEK if connect is None else connect, ca=ca)


def trusted() -> str | None:
    """A file of certificates, by the variables that users of `requests` have for it."""
    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return named if named and Path(named).is_file() else None


def post(
    url: str, headers: Mapping[str, str], body: bytes, timeout: Timeout, method: str = "POST"
) -> tuple[int, str, list[tuple[str, str]], bytes]:
    """Makes a request over a connection that is kept alive, without the interpreter's lock; see `_core.Exchange.request`.

    Raises:
        TransferError: There is no answer.
    """
    sent = {"accept": "*/*", "user-agent": f"taximeter/{_core.__version__}", **headers}
    return _exchange(timeout, trusted()).request(method, url, list(sent.items()), body)
