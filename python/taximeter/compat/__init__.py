"""The interfaces of five usage-tracking SDKs: code that was written for one of them goes on with another import, or with none.

from taximeter.compat.teer import TeerClient      # for: from teer import TeerClient

taximeter.compat.install("teer")                  # once, before; then `from teer import TeerClient` is this one
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

__all__ = ["install"]

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
