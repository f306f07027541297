"""Layers: another metered library may call a client. Then only the client records the call."""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["Claim", "current", "restore", "take"]


class Claim:
    """A layer's claim to a call: the layer records it only if no client below has recorded it.

    The claim lasts until the layer's public function returns, because all requests below it are made before that.
    """

    __slots__ = ("is_taken", "layer", "outer")
    layer: str
    outer: Claim | None

    def __init__(self, layer: str) -> None:
        outer = _current.get()
        while outer is not None and outer.layer == layer:
            outer = outer.outer
        self.layer, self.outer = layer, outer
        self.is_taken = False
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


def take() -> None:
    """Mark the call of this context as recorded, if a layer has a claim. A client calls this before it records the call."""
    claim = _current.get()
    if claim is not None:
        claim.take()
