"""The dashboard: what a ledger says, over HTTP, for reading only."""

from __future__ import annotations

from .access import Access
from .app import Dashboard, app

__all__ = ["Access", "Dashboard", "app"]
