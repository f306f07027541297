"""Reads settings from TOML and JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

from .. import files
from ..errors import ConfigError
from .model import PROJECT

__all__ = ["TOO_DEEP", "load", "named", "text_or_file"]

TOO_DEEP: Final = "nested too deep"


def named(error: ConfigError, source: str, value: Any) -> ConfigError:
    """Return an error that names where its value comes from: the file's path, if the value is one, and else the source."""
    text = os.fspath(value).strip() if isinstance(value, (str, os.PathLike)) else ""
    is_path = bool(text) and not text.startswith(("{", "[", "\ufeff")) and os.path.isfile(os.path.expanduser(text))
    path = os.path.expanduser(text) if is_path else source
    return ConfigError(f"{error} (from {source if path in str(error) else path})")


def load(path: str) -> Mapping[str, Any]:
    """Read a TOML file. Fractional numbers become `Decimal`.

    Raises:
        ConfigError: The file cannot be read. An unreadable `pyproject.toml` reads as empty, because other tools report it.
    """
    name = os.path.basename(path)
    if sys.version_info < (3, 11):
        # Python 3.10 has no TOML parser, and taximeter requires no package.
        try:
            import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        except ImportError:
            if name == PROJECT:
                return {}
            raise ConfigError(f"{path}: Python 3.10 needs the package tomli to read it") from None
    else:
        import tomllib  # noqa: PLC0415 - most processes have no file to read

    try:
        # Rates must be exact decimals. No other setting has fractions.
        return tomllib.loads(files.decode(files.read(path)), parse_float=_decimal)
    except (OSError, ValueError, RecursionError) as error:
        if name == PROJECT:  # other tools report it
            return {}
        why = TOO_DEEP if isinstance(error, RecursionError) else getattr(error, "strerror", None) or error
        if isinstance(error, UnicodeDecodeError):
            why = f"byte {error.start} is not UTF-8; save the file as UTF-8"
        raise ConfigError(f"{path}: {why}") from None


def text_or_file(setting: str, given: str, opening: str | tuple[str, ...]) -> Any:
    """Return what JSON text says, or the TOML or JSON file at a path. Fractional numbers become `Decimal`.

    Args:
        setting: The name of the setting, for errors.
        given: The text or the path.
        opening: How JSON text begins, which no path does.

    Raises:
        ConfigError: The text or the file cannot be read.
    """
    text, path, place = given, os.path.expanduser(given), ""
    try:
        if not text.startswith(opening):
            if not path.endswith(".json"):
                return load(path)
            place = f"{path}: "
            text = files.decode(files.read(path))
        # A binary number such as 0.1 would be another rate or amount.
        return json.loads(text, parse_float=_decimal)
    except OSError as error:
        raise ConfigError(f"{setting}: {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{setting}: {place}byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except ValueError as error:
        raise error if isinstance(error, ConfigError) else ConfigError(f"{setting}: {place}{error}") from None


def _decimal(text: str) -> Any:
    from decimal import Decimal  # noqa: PLC0415 - a slow import, needed for rates only

    return Decimal(text)
