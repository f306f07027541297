"""What the SDKs have in common: where their events go, and how they are asked."""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from .. import _core, _default, settings
from ..errors import ConfigError

__all__ = ["Destinations", "Timeout", "dumps", "flush_ledger", "post", "price_of", "record", "seconds_of", "trusted"]

log = logging.getLogger("taximeter")

LEDGER: Final = "ledger"


class Destinations:
    """Where a client's events go: to the SDK's own service, to the ledger, or to both.

    Args:
        vendor: The SDK's name.
        given: `None` for the service alone, a name (the SDK's or `"ledger"`), or a sequence of them.

    Raises:
        ConfigError: It is neither.
    """

    __slots__ = ("to_ledger", "to_vendor")

    def __init__(self, vendor: str, given: str | Sequence[str] | None) -> None:
        names = (vendor,) if given is None else (given,) if isinstance(given, str) else tuple(given)
        if not names or not {*names} <= {vendor, LEDGER}:
            raise ConfigError(f"destination: {given!r} is neither {vendor!r} nor 'ledger', nor both")
        is_enabled = not settings.is_disabled()
        self.to_vendor = vendor in names and is_enabled
        self.to_ledger = LEDGER in names and is_enabled


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


def flush_ledger(timeout: float) -> None:
    """Waits until the ledger has what it was given, at most so many seconds."""
    _default.ledger_meter().flush(timeout)


def record(make: Callable[[], Mapping[str, Any]]) -> _core.Receipt | None:
    """Records an event in the ledger, never failing for it: what the SDK was given may be anything."""
    try:
        return _default.ledger_meter().track(**make())
    except Exception:
        log.warning("taximeter cannot keep what it was given in the ledger", exc_info=log.isEnabledFor(logging.DEBUG))
        return None


def price_of(provider: str, model: str, usage: Mapping[str, int], *, batch: bool = False) -> Decimal | None:
    """What a call costs by the prices here; what has no price, or is no call, has no cost."""
    try:
        return _default.price(model, usage, provider, batch=batch).usd
    except Exception:
        return None
