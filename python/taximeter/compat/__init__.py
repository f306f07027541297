"""The interfaces of five usage-tracking SDKs. Code written for one of them needs another import, or only one line at its start.

from taximeter.compat.teer import TeerClient      # instead of: from teer import TeerClient

taximeter.compat.install("teer")                  # once at the start; then `from teer import TeerClient` imports this one
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from types import ModuleType
from typing import Any, Final

from ..meter import FlushReport

__all__ = ["flush", "install", "retry_dead_letters", "stats", "take_over"]

_END_SECONDS: Final = 5.0

_PAYGENT_4: Final = (
    "batch_client", "google_genai_live_sts", "livekit_sts", "meta_tags", "openai_realtime_sts", "speech_to_speech_usage",
    "voice_client", "wrappers", "wrappers.anthropic_wrapper", "wrappers.gemini_wrapper", "wrappers.livekit_hook",
    "wrappers.mistral_wrapper", "wrappers.openai_wrapper", "wrappers.vapi_hook",
)  # fmt: skip
"""The modules that only Paygent 4 has."""
_PAYGENT_4_LAZY: Final = ("wrappers.langchain_wrapper", "wrappers.langgraph_wrapper")
"""Those that import LangChain, which takes most of a second. They are imported when they are used."""
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
_VERSIONS: Final = {"paygent_sdk": {"1": ".v1", "4": ".v4"}}
"""The packages of SDKs that have several versions."""


def install(*names: str, version: str | None = None) -> None:
    """Make the SDKs' names import the modules of this package.

    Args:
        names: SDKs: `teer`, `tokentally`, `token_trackr`, `paygent_sdk`, `tokenr`.
        version: The version of `paygent_sdk`: `"1"`, `"4"`, or more exactly, such as `"4.9.7"`. By default it has the names of both,
            and the arguments of a call decide.

    Raises:
        ValueError: A name is not one of these SDKs, or it has no such version.
        RuntimeError: The original was already imported, or another version. Call this function first.
    """
    modules = {}
    for name in names:
        if name not in _MODULES:
            raise ValueError(f"{name!r} is not one of {', '.join(_MODULES)}")
        modules.update(_modules_of(name, version))
    for name, ours in modules.items():
        known = sys.modules.get(name)
        if known is not None and known is not sys.modules.get(ours):
            raise RuntimeError(f"{name} is already imported, from elsewhere or in another version; call install() before that")
    for name, ours in modules.items():
        is_lazy = ours.endswith(_PAYGENT_4_LAZY)
        sys.modules[name] = _lazily(ours) if is_lazy else importlib.import_module(ours)


def _lazily(name: str) -> ModuleType:
    """Return a module that is executed when it is used."""
    known = sys.modules.get(name)
    spec = None if known else importlib.util.find_spec(name)
    if known or spec is None or spec.loader is None:
        return known or importlib.import_module(name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _modules_of(name: str, version: str | None) -> dict[str, str]:
    """Return the modules of an SDK by the names under which its users import them."""
    ours = f"{__name__}.{name}"
    chosen = ""
    if version is not None:
        known = _VERSIONS.get(name, {})
        chosen = known.get(version.partition(".")[0], "")
        if not chosen:
            raise ValueError(f"{name} has no version {version!r}; it has {' and '.join(known) or 'only one, so leave version out'}")
    found = {f"{name}{module}": f"{ours}{chosen}{module}" for module in _MODULES[name]}
    if name == "paygent_sdk" and chosen != ".v1":
        found |= {f"{name}.{module}": f"{ours}.v4.{module}" for module in (*_PAYGENT_4, *_PAYGENT_4_LAZY)}
    return found


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
    """Return the counts of requests in the background, for each account that was used.

    Returns:
        For each account its `service`, and the same counts as `taximeter.stats`.
    """
    from ._outbox import all_outboxes  # noqa: PLC0415 - see flush

    return [{"service": name, **counts} for name, outbox in all_outboxes() if (counts := outbox.stats())]


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
