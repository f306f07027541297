"""The interfaces of five usage-tracking SDKs. Code written for one of them needs another import, or only one line at its start.

from taximeter.compat.teer import TeerClient      # instead of: from teer import TeerClient

taximeter.compat.install("teer")                  # once at the start; then `from teer import TeerClient` imports this one
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
    "tokentally": ("", "._version", ".client", ".types"),
    "token_trackr": (
        "", ".client", ".config", ".metadata", ".models", ".wrappers", ".wrappers.azure", ".wrappers.bedrock", ".wrappers.gemini",
    ),
    "paygent_sdk": ("", ".client", ".models", ".constants"),
    "tokenr": ("",),
}  # fmt: skip
"""The modules of each SDK that its users import."""


def install(*names: str) -> None:
    """Make the SDKs' names import the modules of this package.

    Args:
        names: SDKs: `teer`, `tokentally`, `token_trackr`, `paygent_sdk`, `tokenr`.

    Raises:
        ValueError: A name is not one of these SDKs.
        RuntimeError: The original was already imported. Call this function first.
    """
    for name in names:
        if name not in _MODULES:
            raise ValueError(f"{name!r} is not one of {', '.join(_MODULES)}")
        ours = f"{__name__}.{name}"
        known = sys.modules.get(name)
        if known is not None and known is not sys.modules.get(ours):
            raise RuntimeError(f"{name} is already imported; call install() before its first import")
        for module in _MODULES[name]:
            sys.modules[f"{name}{module}"] = importlib.import_module(f"{ours}{module}")


def flush(timeout: float = 5.0) -> FlushReport:
    """Wait until the requests of these interfaces in the background are delivered, at most `timeout` seconds. Never raises.

    Returns:
        How many requests were delivered, are pending and were dropped, for all accounts together.
    """
    from ._outbox import all_outboxes  # noqa: PLC0415 - only needed for requests in the background

    seconds = timeout if isinstance(timeout, (int, float)) else 0.0
    deadline = time.monotonic() + seconds
    reports = [outbox.flush(max(0.0, deadline - time.monotonic())) for _, outbox in all_outboxes()]
    return FlushReport(*map(sum, zip(*reports, strict=True))) if reports else FlushReport(0, 0, 0)


def stats() -> list[dict[str, Any]]:
    """Return the counts of requests in the background, for each account: its `service`, and the same counts as `taximeter.stats`."""
    from ._outbox import all_outboxes  # noqa: PLC0415 - see flush

    return [{"service": name, **outbox.stats()} for name, outbox in all_outboxes()]


def retry_dead_letters() -> int:
    """Send the requests that services rejected permanently again, for the accounts in use.

    Returns:
        The number of requests.

    Raises:
        DeliveryError: They cannot be requeued; or a service does not accept them now, and they will be sent later.
    """
    from ._outbox import all_outboxes  # noqa: PLC0415 - see flush

    return sum(outbox.retry_dead_letters() for _, outbox in all_outboxes())


def take_over(service: str, key: str) -> int:
    """Send events that were recorded with another key, such as a mistyped or replaced one, with the key of the current clients.

    Args:
        service: `teer`, `tokentally`, `token_trackr`, `paygent` or `tokenr`.
        key: The key with which events were recorded. Only events for the same URL of the service are sent.

    Returns:
        The number of requests that were sent.

    Raises:
        DeliveryError: The service does not accept them now. They are kept, and sent with the next events.
    """
    from ._outbox import account_of, all_outboxes  # noqa: PLC0415 - see flush

    outboxes = [outbox for name, outbox in all_outboxes() if name == service]
    others = []
    for outbox in outboxes:
        if outbox.service.account == account_of(outbox.service.place, key):
            # Events of this process with that key can be taken over once their delivery has ended.
            outbox.close(_END_SECONDS)
        else:
            others.append(outbox)
    return sum(outbox.take_over(account_of(outbox.service.place, key)) for outbox in others)
