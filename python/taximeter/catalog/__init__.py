"""Price catalogs: `document` (form), `genai` (public data), `merge`, `source` (download), `store` (file), `update`, `background`."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_PLACES"]

MAX_PLACES: Final = 60
"""The most digits of a rate on either side of the decimal point: more than twice what the core accepts."""
