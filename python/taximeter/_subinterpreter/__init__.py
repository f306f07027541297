"""What a subinterpreter has in place of the extension, which belongs to the main interpreter. Importing this puts it there."""

from __future__ import annotations

from . import guard

__all__ = ["guard"]
