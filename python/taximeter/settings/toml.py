"""Reads TOML files."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Final

from .. import files
from ..errors import ConfigError
from .model import PROJECT

__all__ = ["TOO_DEEP", "load"]

TOO_DEEP: Final = "nested too deep"


def load(path: str) -> Mapping[str, Any]:
    """The file at a path. Rates stay decimals.

    Raises:
        ConfigError: It cannot be read. A project's file that cannot be read is empty: another tool reports that.
    """
    name = os.path.basename(path)
    if sys.version_info < (3, 11):
        # Python 3.10 has no TOML reader, and taximeter requires no package.
        try:
            import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        except ImportError:
            if name == PROJECT:
                return {}
            raise ConfigError(f"{name}: Python 3.10 needs the package tomli to read it") from None
    else:
        import tomllib  # noqa: PLC0415 - most starts have no file to read

    try:
        # Rates are decimals and stay so; other settings have no fractions.
        return tomllib.loads(files.decode(files.read(path)), parse_float=_decimal)
    except (OSError, ValueError, RecursionError) as error:
        if name == PROJECT:  # another tool's file, which that tool reports
            return {}
        why = TOO_DEEP if isinstance(error, RecursionError) else getattr(error, "strerror", None) or error
        raise ConfigError(f"{name}: {why}") from None


def _decimal(text: str) -> Any:
    from decimal import Decimal  # noqa: PLC0415 - the first price is not to wait for it

    return Decimal(text)
