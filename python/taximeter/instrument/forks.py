"""Counts how often this process and its ancestors were forked, to tell a child's copies of objects from its own."""

from __future__ import annotations

import os

__all__ = ["generation"]

_generation = 0


def _forked() -> None:
    global _generation  # noqa: PLW0603 - one number per process
    _generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def generation() -> int:
    """Return a number that is different in a forked child."""
    return _generation
