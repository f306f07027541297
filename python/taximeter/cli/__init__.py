"""The command line: what was spent, and how the meter is doing.

Data goes to standard output and everything else to standard error, so that every command can be piped.
"""

from __future__ import annotations

from .main import main

__all__ = ["main"]
