"""Settings: argument > environment > file > default. No other package reads them."""

from __future__ import annotations

from .load import default_state_dir, is_disabled, resolve
from .model import NO_HOME, InitSettings, MeterSettings, Prices, Settings, check_settings

__all__ = [
    "NO_HOME", "InitSettings", "MeterSettings", "Prices", "Settings", "check_settings", "default_state_dir", "is_disabled",
    "resolve",
]  # fmt: skip
