"""Layers: another metered library may call a client. Then only the client records the call."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..budgets.gate import Held

__all__ = ["Claim", "current", "lenders", "restore", "take"]


class Claim:
    """A layer's claim to a call: the layer records it only if no client below has recorded it.

    The claim lasts until the layer's public function returns, because all requests below it are made before that.
    """

    __slots__ = ("held", "is_taken", "layer", "outer")
    layer: str
    outer: Claim | None
    held: tuple[Held, ...]
    """What the layer's requests hold in budgets, which is lent to the clients below."""

    def __init__(self, layer: str) -> None:
        outer = _current.get()
        while outer is not None and outer.layer == layer:
            outer = outer.outer
        self.layer, self.outer = layer, outer
        self.is_taken = False
        self.held = ()
        _current.set(self)

    def take(self) -> bool:
        """Mark the call as recorded, in this and all higher layers. Return false if it already was."""
        was_taken = self.is_taken
        claim: Claim | None = self
        while claim is not None:
            claim.is_taken = True
            claim = claim.outer
        return not was_taken


_current: ContextVar[Claim | None] = ContextVar("taximeter_claim", default=None)
current = _current.get
restore = _current.set


def lenders() -> Iterator[Held]:
    """Yield what the layers above hold, the innermost first."""
    claim = _current.get()
    while claim is not None:
        yield from claim.held
        claim = claim.outer


def take() -> None:
    """Mark the call of this context as recorded, if a layer has a claim. A client calls this before it records the call."""
    claim = _current.get()
    if claim is not None:
        claim.take()
