"""The resources of a `TeerClient`."""

from __future__ import annotations

from .billing import BillingResource
from .ingest import Ingest

__all__ = ["BillingResource", "Ingest"]
