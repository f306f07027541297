"""`NotRequired`, which Python 3.10 lacks. There, annotations are texts that are not evaluated, so the placeholder is not used."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from typing import NotRequired
else:
    NotRequired = None

__all__ = ["NotRequired"]
