"""Price catalogs as documents: `document` (form), `genai` (the public data), `merge`, `source` (download), `update`, `background`."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_PLACES"]

MAX_PLACES: Final = 60
"""Places of a rate: more than twice what the core takes on either side of the point."""
