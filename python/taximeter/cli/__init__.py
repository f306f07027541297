"""The command line: reports, prices, token counts and the state of the meter.

Data goes to standard output and everything else to standard error, so that every command can be piped.
"""

from __future__ import annotations

from .main import main

__all__ = ["main"]
