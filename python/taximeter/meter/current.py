"""The meter that the functions of `taximeter` share, for packages that `taximeter._default` is above of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .meter import Meter

__all__ = ["get_default", "set_default"]

_default: Meter | None = None


def get_default() -> Meter:
    """The meter that all share."""
    if _default is None:
        raise RuntimeError("import taximeter before its parts")
    return _default


def set_default(meter: Meter) -> None:
    """Makes a meter the one that all share."""
    global _default  # noqa: PLW0603 - there is one
    _default = meter
