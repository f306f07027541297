"""Settings: argument > environment > file > default. No other package reads them."""

from __future__ import annotations

from .load import default_state_dir, is_disabled, resolve
from .model import HOMELESS, Prices, Settings

__all__ = ["HOMELESS", "Prices", "Settings", "default_state_dir", "is_disabled", "resolve"]
