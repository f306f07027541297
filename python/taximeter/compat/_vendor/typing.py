"""`NotRequired`, which Python 3.10 lacks: there annotations are texts, which nobody reads at run time."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from typing import NotRequired
else:
    NotRequired = None

__all__ = ["NotRequired"]
