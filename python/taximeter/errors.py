"""The exceptions of taximeter.

Only calls that ask for something raise them: `price()`, `Ledger`, `init()` and the command line. Metering never raises.
"""

from __future__ import annotations

__all__ = ["CatalogError", "ConfigError", "DeliveryError", "LedgerError", "TaximeterError", "UsageError"]


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
