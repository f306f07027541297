"""The exceptions of taximeter.

`price()`, `count_tokens()`, `Ledger`, `init()` and the command line raise them. Metering never raises.
"""

from __future__ import annotations

__all__ = [
    "CatalogError",
    "ConfigError",
    "DeliveryError",
    "LedgerError",
    "TaximeterError",
    "TransferError",
    "UnknownNameError",
    "UsageError",
]


class TaximeterError(Exception):
    """The base class of all exceptions of taximeter."""


class UsageError(TaximeterError, ValueError):
    """Invalid usage. The message names the field and the rule."""


class ConfigError(TaximeterError, ValueError):
    """An invalid setting. The message names the setting, its source and the rule."""


class LedgerError(TaximeterError):
    """The ledger cannot be read or written."""


class CatalogError(TaximeterError):
    """A price catalog that cannot be used. The previous one stays in force."""


class DeliveryError(TaximeterError):
    """A destination does not accept events at the moment. The events are kept."""


class TransferError(TaximeterError):
    """A request without a response.

    Args:
        kind: `url`, `header`, `connect_timeout`, `read_timeout`, `connect`, `broken` or `too_large`.
        reason: The reason in words, without secrets.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class UnknownNameError(TaximeterError, ValueError, KeyError):
    """The name of an unknown encoding or model. The message lists the nearest names.

    `tiktoken` raises `ValueError` for unknown encodings and `KeyError` for unknown models. Code that catches either catches this.
    """

    def __str__(self) -> str:
        # KeyError would put quotes around the message.
        return Exception.__str__(self)
