"""The exceptions of taximeter.

Only calls that ask for something raise them: `price()`, `count_tokens()`, `Ledger`, `init()` and the command line. Metering never
raises.
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
    """The base of all of them."""


class UsageError(TaximeterError, ValueError):
    """Usage that is no usage: the message names the field and the rule."""


class ConfigError(TaximeterError, ValueError):
    """A setting that cannot be: the message names the setting, where it comes from, and the rule."""


class LedgerError(TaximeterError):
    """The ledger cannot be read or written."""


class CatalogError(TaximeterError):
    """A price catalog that cannot be used; the one in force stays."""


class DeliveryError(TaximeterError):
    """A destination does not take events now; they are kept."""


class TransferError(TaximeterError):
    """A request that has no answer.

    Args:
        kind: `url`, `header`, `connect_timeout`, `read_timeout`, `connect`, `broken` or `too_large`.
        reason: In words, without what is secret.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class UnknownNameError(TaximeterError, ValueError, KeyError):
    """A name of no encoding or no model: the message lists the nearest ones.

    `tiktoken` raises `ValueError` for the one and `KeyError` for the other; code that catches either catches this.
    """

    def __str__(self) -> str:
        # A KeyError would show its message in quotes.
        return Exception.__str__(self)
