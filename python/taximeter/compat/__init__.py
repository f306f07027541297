"""The interfaces of five usage-tracking SDKs: code that was written for one of them goes on with another import, or with none.

from taximeter.compat.teer import TeerClient      # for: from teer import TeerClient

taximeter.compat.install("teer")                  # once, before; then `from teer import TeerClient` is this one
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any, Final

from ..meter import FlushReport

__all__ = ["flush", "install", "retry_dead_letters", "stats", "take_over"]

_END_SECONDS: Final = 5.0

_MODULES: Final = {
    "teer": ("", ".__about__", ".http", ".types", ".resources", ".resources.base", ".resources.billing", ".resources.ingest"),
    "tokentally": ("", ".client", ".types"),
    "token_trackr": ("", ".client", ".config", ".metadata", ".models", ".wrappers"),
    "paygent_sdk": ("", ".client", ".models", ".constants"),
    "tokenr": ("",),
}
"""By SDK, the modules that its users import."""


def install(*names: str) -> None:
    """Put modules of this package under the names of the SDKs that they stand for.

    Args:
        names: Of SDKs: `teer`, `tokentally`, `token_trackr`, `paygent_sdk`, `tokenr`.

    Raises:
        ValueError: There is no such SDK here.
        RuntimeError: The original was imported already; call this first.
    """
    for name in names:
        if name not in _MODULES:
            raise ValueError(f"{name!r} is not one of {', '.join(_MODULES)}")
        ours = f"{__name__}.{name}"
        known = sys.modules.get(name)
        if known is not None and known is not sys.modules.get(ours):
            raise RuntimeError(f"{name} was imported already: install() comes before its first import")
        for module in _MODULES[name]:
            sys.modules[f"{name}{module}"] = importlib.import_module(f"{ours}{module}")


def flush(timeout: float = 5.0) -> FlushReport:
    """Wait until what these interfaces were given in the background is delivered, at most `timeout` seconds. Never raises."""
    from ._outbox import all_outboxes  # noqa: PLC0415 - only those who work in the background have any

    seconds = timeout if isinstance(timeout, (int, float)) else 0.0
    deadline = time.monotonic() + seconds
    reports = [outbox.flush(max(0.0, deadline - time.monotonic())) for _, outbox in all_outboxes()]
    return FlushReport(*map(sum, zip(*reports, strict=True))) if reports else FlushReport(0, 0, 0)


def stats() -> list[dict[str, Any]]:
    """What was counted of what goes out in the background, for each account: its `service`, and what `taximeter.stats` has."""
    from ._outbox import all_outboxes  # noqa: PLC0415 - see flush

    return [{"service": name, **outbox.stats()} for name, outbox in all_outboxes()]


def retry_dead_letters() -> int:
    """Send once more what the services of these interfaces refused for good, for the accounts in use; returns how many requests.

    Raises:
        DeliveryError: They cannot be put back, or a service does not take them now; then they are sent later.
    """
    from ._outbox import all_outboxes  # noqa: PLC0415 - see flush

    return sum(outbox.retry_dead_letters() for _, outbox in all_outboxes())


def take_over(service: str, key: str) -> int:
    """Send what was given with another key, one that was mistyped or replaced, with the key of the clients that are there.

    Args:
        service: `teer`, `tokentally`, `token_trackr`, `paygent` or `tokenr`.
        key: The key that events were given with. Events of the same service's address alone are taken over.

    Returns:
        How many requests were sent.

    Raises:
        DeliveryError: The service does not take them now. They are kept, and sent with what is given next.
    """
    from ._outbox import account_of, all_outboxes  # noqa: PLC0415 - see flush

    outboxes = [outbox for name, outbox in all_outboxes() if name == service]
    others = []
    for outbox in outboxes:
        if outbox.service.account == account_of(outbox.service.place, key):
            # What this process itself gave with that key is left from here on, when its delivery has ended.
            outbox.close(_END_SECONDS)
        else:
            others.append(outbox)
    return sum(outbox.take_over(account_of(outbox.service.place, key)) for outbox in others)
