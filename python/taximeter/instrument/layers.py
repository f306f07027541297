"""Layers: a client may be called by another library that is metered as well, and is then the one that records."""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["Claim", "current", "restore", "take"]


class Claim:
    """A layer's claim to a call: it records what no client beneath it has recorded.

    It holds within the public function that was called: whatever is asked beneath it is asked before that returns.
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
        """Takes the call, here and for the layers above; false if it was taken."""
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
    """Takes the call of this context, if a layer claims it: a client is about to record it."""
    claim = _current.get()
    if claim is not None:
        claim.take()
